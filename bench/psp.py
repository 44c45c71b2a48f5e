"""The section about PSPs: what payments between wallets feel of a PSP that is slow, or dead for a minute.

Payments arrive at a steady share of what the mesh sustains, and each is timed. Once nobody withdraws; then withdrawals
go to a PSP that begins to answer after twice the adapter's time-out when the measured time begins; then to one that
refuses connections from that moment on. Who suffers is compared within a round, whose order turns.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.events import BenchFailed, Event, Phase, child
from bench.feed import FeedConfig
from bench.psp_stage import WALLETS, PspStand, psp_stand
from bench.sections import Measured, Show, calm, now_id, read_measured
from bench.stage import Say, Stage
from bench.verify import read_books, verify
from bench.withdrawals import WithdrawalsConfig

_RATE_STEP: Final = 50


class Weather(StrEnum):
    """How the PSP is while payments are measured."""

    CALM = "calm"
    """Nobody withdraws."""
    SLOW = "slow"
    """Withdrawals go to a PSP that answers after the adapter has given up."""
    DEAD = "dead"
    """Withdrawals go to a PSP that refuses connections."""


@dataclass(frozen=True, slots=True)
class PspMeasured:
    """Payments between wallets in one weather, and what became of the withdrawals by the end of it."""

    payments: Measured
    withdrawals: Mapping[str, int]


_LENGTH: Final = {Weather.CALM: 1 / 3, Weather.SLOW: 1 / 2, Weather.DEAD: 1.0}
"""How long each is measured, as a share of the longest."""

Storm = Callable[[], Awaitable[None]]
PspRound = Mapping[Weather, PspMeasured]


@dataclass(frozen=True, slots=True)
class PspRun:
    """All rounds; `rate` is how many payments were offered a second."""

    capacity: float
    rate: int
    rounds: Sequence[PspRound]


async def measure_psp(stage: Stage, show: Show, say: Say) -> PspRun:
    """Measure every round, and hold the PSP's books against the database at the end.

    Raises:
        BenchFailed: something could not be measured, or money was lost or moved twice.
    """
    async with stage.services("orchestrator", stage.options.orchestrators) as pids, psp_stand(stage, say) as stand:
        section = _Section(stand, {"orchestrator": pids, **stand.roles}, show)
        capacity = (await section.payments("psp-capacity", _capacity_phase(stage))).per_s
        rate = max(_RATE_STEP, int(stage.options.share * capacity) // _RATE_STEP * _RATE_STEP)
        rounds = [await section.round(number, rate) for number in range(1, stage.options.rounds + 1)]
        await stand.verify()
    return PspRun(capacity, rate, rounds)


def turned(number: int) -> list[Weather]:
    """Return the weathers of a round, in an order that turns with its number."""
    shift = (number - 1) % len(Weather)
    order = [*Weather]
    return [*order[shift:], *order[:shift]]


def _capacity_phase(stage: Stage) -> Phase:
    return Phase("capacity", None, stage.options.warm_s, stage.options.latency_s)


@dataclass(frozen=True, slots=True)
class _Section:
    """Payments between wallets, and withdrawals beside them."""

    stand: PspStand
    roles: Mapping[str, list[int]]
    show: Show

    async def round(self, number: int, rate: int) -> PspRound:
        """Measure every weather once."""
        return {weather: await self.measure(weather, number, rate) for weather in turned(number)}

    async def measure(self, weather: Weather, number: int, rate: int) -> PspMeasured:
        """Measure one weather, and wait until it has cleared up."""
        options, stand, since = self.stand.stage.options, self.stand, now_id()
        seconds = options.storm_s * _LENGTH[weather]
        phase = Phase(weather, rate, options.warm_s, seconds)
        storms: Mapping[Weather, Storm] = {Weather.SLOW: stand.be_slow, Weather.DEAD: lambda: stand.be_dead(seconds)}
        measured = await self.payments(f"psp-{weather}-{number}", phase, storm=storms.get(weather))
        became = await stand.withdrawals(since)
        await stand.be_well()
        await stand.decided(since)
        return PspMeasured(measured, became)

    async def payments(self, name: str, phase: Phase, *, storm: Storm | None = None) -> Measured:
        """Measure payments in one phase, and prove that none was lost.

        Args:
            name: keeps their keys apart from every other section's.
            phase: how many, for how long.
            storm: comes over the PSP, to which withdrawals go, as the measured time begins.
        """
        stage = self.stand.stage
        await calm(stage)
        before, since = await read_books(stage), now_id()
        if storm is None:
            measured, last = await self._follow(name, phase, self.roles, _nothing)
        else:
            async with self._withdrawals(f"{name}-out") as pid:
                measured, last = await self._follow(name, phase, {**self.roles, "withdrawals": [pid]}, storm)
        if last["refused"]:
            raise BenchFailed(f"payments that can be made were refused: {last['refused']}")
        await stage.drained()
        await verify(stage, before=before, since=since, accepted=last["accepted"], deltas=last["deltas"])
        return measured

    async def _follow(
        self, name: str, phase: Phase, roles: Mapping[str, list[int]], begun: Storm
    ) -> tuple[Measured, Event]:
        found: list[Measured] = []
        async with child("bench.feed", self._feed(name, phase, roles), logs=self.stand.stage.logs, name="feed") as load:
            async for event in load.events():
                match event["event"]:
                    case "begin":
                        self.show.begin(name, phase.seconds)
                        await begun()
                    case "tick":
                        self.show.tick(event["seconds"], event["settled"] / event["seconds"])
                    case "end":
                        found.append(read_measured(event))
                    case "done":
                        return found[0], event
        raise BenchFailed(f"{name}: the load ended early")

    def _feed(self, name: str, phase: Phase, roles: Mapping[str, list[int]]) -> FeedConfig:
        stage = self.stand.stage
        return FeedConfig(
            redis_url=stage.stack.stores.redis_url,
            epoch=stage.mesh.token,
            partitions=stage.mesh.partitions,
            section=name,
            seed=str(stage.options.seed),
            wallets=stage.options.wallets,
            length_max=stage.options.window // stage.mesh.partitions,
            roles={**stage.servers, **roles},
            phases=(phase,),
        )

    @asynccontextmanager
    async def _withdrawals(self, name: str) -> AsyncIterator[int]:
        """Offer withdrawals for the length of the block; give the id of the process that does."""
        stage = self.stand.stage
        config = WithdrawalsConfig(
            redis_url=stage.stack.stores.redis_url,
            epoch=stage.mesh.token,
            partitions=stage.mesh.partitions,
            section=name,
            keyring_file=str(stage.stack.stores.keyring_file),
            first_wallet=self.stand.first_wallet,
            wallets=WALLETS,
            rate=stage.options.withdrawals,
        )
        async with child("bench.withdrawals", config, logs=stage.logs, name="withdrawals") as offered:
            await offered.until("ready")
            yield offered.pid
            offered.ask_to_stop()
            await offered.until("done")


async def _nothing() -> None:
    """Leave the PSP as it is."""
