"""The section about rates: what a key feels of another one that sends ten times what it may.

A bystander posts payments over HTTP at a steady rate, each timed from due to answered. Once it is alone; once another
key posts beside it what its rate allows; once that key storms, and its rate lets a tenth through. All are measured in
every round, in an order that turns, and every payment that was accepted, of either key, must settle once.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bench.events import BenchFailed, Child, Event, Phase, child
from bench.meter import OTHERS
from bench.sections import Show, calm, now_id
from bench.stage import PERMISSIONS, Stage
from bench.steady_feed import TOO_MANY, SteadyFeedConfig
from bench.verify import read_books, verify
from ops.keys import NewSecret, create_key

BYSTANDER_PER_S: Final = 100
LIMIT_PER_S: Final = 100
TIMES: Final = 10
"""How many times its rate the storm sends."""
_CONNECTIONS: Final = 32
_STORM: Final = "storm"
_STORM_S_MAX: Final = 600.0


class Beside(StrEnum):
    """Who else is there while the bystander is measured."""

    NOBODY = "nobody"
    LIMIT = "limit"
    """A key that sends what it may, evenly."""
    STORM = "storm"
    """A key that sends ten times what it may."""


@dataclass(frozen=True, slots=True)
class RatesMeasured:
    """What the bystander saw, and what became of the storm beside it.

    Attributes:
        accepted: the bystander's payments, all of them.
        cpu_s: CPU seconds by role.
        others_cores: how many cores were busy on average with something that is not ours.
        other: answers to the other key by status; empty where there was none.
        other_seconds: how long those were counted.
    """

    seconds: float
    accepted: int
    p50_ms: float
    p99_ms: float
    cpu_s: Mapping[str, float]
    others_cores: float
    other: Mapping[str, int]
    other_seconds: float


RatesRound = Mapping[Beside, RatesMeasured]


@dataclass(frozen=True, slots=True)
class RatesRun:
    """All rounds, and at which rates."""

    bystander_per_s: int
    limit_per_s: int
    storm_per_s: int
    rounds: Sequence[RatesRound]


async def measure_rates(stage: Stage, show: Show) -> RatesRun:
    """Measure every round, and prove after each that nothing was lost or made twice.

    Raises:
        BenchFailed: something could not be measured, or the books are wrong afterwards.
    """
    permissions = {**PERMISSIONS, "rate": {"requests": LIMIT_PER_S, "per_s": 1}}
    ring = stage.stores.settings.keyring()
    storm = await create_key(
        stage.stores.pool, ring, key=_STORM, owner="the storm", permissions=permissions, actor="bench"
    )
    options = stage.options
    async with (
        stage.services("orchestrator", options.orchestrators) as orchestrators,
        stage.services("gateway", options.gateways) as gateways,
    ):
        section = _Section(stage, storm, {"orchestrator": orchestrators, "gateway": gateways}, show)
        rounds = [await section.round(number) for number in range(1, options.rounds + 1)]
    return RatesRun(BYSTANDER_PER_S, LIMIT_PER_S, LIMIT_PER_S * TIMES, rounds)


def turned(number: int) -> list[Beside]:
    """Return the cases of a round, in an order that turns with its number, and every second round backwards."""
    order = [*Beside]
    shift = (number - 1) % len(order)
    moved = [*order[shift:], *order[:shift]]
    return moved if number % 2 else moved[::-1]


@dataclass(frozen=True, slots=True)
class _Section:
    stage: Stage
    storm: NewSecret
    roles: Mapping[str, list[int]]
    show: Show

    async def round(self, number: int) -> RatesRound:
        """Measure the bystander alone, beside a key within its limit and beside a storm."""
        return {beside: await self._measure(number, beside) for beside in turned(number)}

    async def _measure(self, number: int, beside: Beside) -> RatesMeasured:
        stage = self.stage
        await calm(stage)
        before, since = await read_books(stage), now_id()
        name, options = f"{beside}-{number}", stage.options
        phase = Phase(name, BYSTANDER_PER_S, options.warm_s, options.seconds)
        ended: Event = {"statuses": {}, "seconds": 0.0}
        stormed: Event | None = None
        async with self._storming(name, phase, beside) as storm:
            roles = self.roles if storm is None else {**self.roles, _STORM: [storm.pid]}
            config = self._config(f"bystander-{name}", stage.key, phase, roles)
            async with child("bench.steady_feed", config, logs=stage.logs, name="bystander") as load:
                end, last = await self._follow(load, f"round {number} · beside {beside}", phase)
            if storm is not None:
                storm.ask_to_stop()
                ended, stormed = await storm.until("end"), await storm.until("done")
        await stage.drained()
        deltas = last["deltas"]
        accepted = last["accepted"]
        if stormed is not None:
            if beside is Beside.STORM and not ended["statuses"].get(str(TOO_MANY)):
                raise BenchFailed("a storm of which nothing was refused")
            deltas = [one + other for one, other in zip(deltas, stormed["deltas"], strict=True)]
            accepted += stormed["accepted"]
        await verify(stage, before=before, since=since, accepted=accepted, deltas=deltas)
        return _measured(end, ended)

    @asynccontextmanager
    async def _storming(self, name: str, phase: Phase, beside: Beside) -> AsyncIterator[Child | None]:
        """Run the other key until it is told to stop."""
        if beside is Beside.NOBODY:
            yield None
            return
        rate = LIMIT_PER_S * (TIMES if beside is Beside.STORM else 1)
        endless = replace(phase, rate=rate, seconds=_STORM_S_MAX)
        config = replace(self._config(f"storm-{name}", self.storm, endless, {}), refusable=True)
        async with child("bench.steady_feed", config, logs=self.stage.logs, name="storm") as storm:
            await storm.until("begin")
            yield storm

    async def _follow(self, load: Child, title: str, phase: Phase) -> tuple[Event, Event]:
        end: Event | None = None
        async for event in load.events():
            match event["event"]:
                case "begin":
                    self.show.begin(title, phase.seconds)
                case "tick":
                    self.show.tick(event["seconds"], event["settled"] / event["seconds"])
                case "end":
                    end = event
                case "done" if end is not None:
                    return end, event
        raise BenchFailed(f"{title}: the load ended early")

    def _config(self, section: str, key: NewSecret, phase: Phase, roles: Mapping[str, list[int]]) -> SteadyFeedConfig:
        stage = self.stage
        return SteadyFeedConfig(
            host="127.0.0.1",
            port=stage.gateway_port,
            key=key.key,
            secret=key.secret,
            section=section,
            seed=str(stage.options.seed),
            wallets=stage.options.wallets,
            connections=_CONNECTIONS,
            refusable=False,
            roles={**stage.servers, **roles},
            phases=(phase,),
        )


def _measured(end: Event, other: Event) -> RatesMeasured:
    spent = dict(end["cpu_s"])
    others = spent.pop(OTHERS)
    return RatesMeasured(
        seconds=end["seconds"],
        accepted=sum(end["statuses"].values()),
        p50_ms=end["p50_ms"],
        p99_ms=end["p99_ms"],
        cpu_s=spent,
        others_cores=others / end["seconds"],
        other=other["statuses"],
        other_seconds=other["seconds"],
    )
