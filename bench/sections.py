"""The measured sections: the mesh, the bare pipeline, the mesh over HTTP; each with its latency and its throughput."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from bench.bare import BareConfig
from bench.events import BenchFailed, Child, Event, Phase, child
from bench.feed import FeedConfig
from bench.http_feed import HttpFeedConfig
from bench.meter import OTHERS
from bench.stage import Stage
from bench.verify import read_books, verify
from shared.errors import violated
from shared.ids import IntentId, intent_id

LATENCY: Final = "latency"
THROUGHPUT: Final = "throughput"
_VACUUM_TIMEOUT_S: Final = 60.0


class Pipeline(StrEnum):
    """What is measured."""

    MESH = "mesh"
    """Orchestrators, fed through the accept script."""
    BARE = "bare"
    """The same work without the thinking, fed the same way."""
    HTTP = "http"
    """The whole mesh: gateways and orchestrators, fed over HTTP."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One phase, measured: how many intents settled in how many seconds, at which latency, at whose expense.

    Attributes:
        cpu_us: CPU time per settled intent by role, µs.
        others_cores: how many cores were busy on average with something that is not ours.
        busy: how often the load was turned away for being too much.
    """

    seconds: float
    settled: int
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]
    others_cores: float
    busy: int

    @property
    def per_s(self) -> float:
        """Settled intents a second."""
        return self.settled / self.seconds

    @property
    def cpu_total_us(self) -> float:
        """CPU time per settled intent of everybody together, µs."""
        return sum(self.cpu_us.values())


@dataclass(frozen=True, slots=True)
class SectionResult:
    """One section of one round."""

    pipeline: Pipeline
    accepted: int
    latency: Measured
    throughput: Measured


@dataclass(slots=True)
class Show:
    """Whom to tell how far it is."""

    begin: Callable[[str, float], None]
    tick: Callable[[float, float], None]
    """Seconds into the phase, settled a second."""


async def _follow(
    load: Child, phases: Mapping[str, Phase], title: str, show: Show
) -> tuple[dict[str, Measured], Event]:
    """Follow a load to its end; return what it measured by phase, and its last word."""
    measured: dict[str, Measured] = {}
    async for event in load.events():
        match event["event"]:
            case "begin":
                show.begin(f"{title} {event['phase']}", phases[event["phase"]].seconds)
            case "tick":
                show.tick(event["seconds"], event["settled"] / event["seconds"])
            case "end":
                measured[event["phase"]] = read_measured(event)
            case "done":
                return measured, event
    raise BenchFailed(f"{title}: the load ended early")


def read_measured(event: Event) -> Measured:
    """Read what a load says at the end of a phase.

    Raises:
        BenchFailed: nothing settled.
    """
    settled, seconds, spent = event["settled"], event["seconds"], dict(event["cpu_s"])
    if settled <= 0:
        raise BenchFailed(f"nothing settled in {event['phase']}")
    others = spent.pop(OTHERS)
    return Measured(
        seconds=seconds,
        settled=settled,
        p50_ms=event["p50_ms"],
        p99_ms=event["p99_ms"],
        cpu_us={role: spent_s * 1e6 / settled for role, spent_s in spent.items()},
        others_cores=others / seconds,
        busy=event["busy"],
    )


async def measure(stage: Stage, pipeline: Pipeline, number: int, show: Show) -> SectionResult:
    """Measure one section of round `number`, and prove that it lost nothing.

    Raises:
        BenchFailed: it could not be measured, or the books are wrong afterwards.
    """
    await calm(stage)
    before, since = await read_books(stage), now_id()
    phases = _phases(stage, pipeline)
    async with _workers(stage, pipeline) as roles, _load(stage, pipeline, number, phases, roles) as load:
        named = {phase.name: phase for phase in phases}
        measured, last = await _follow(load, named, f"round {number} · {pipeline}", show)
        await stage.drained()
    if last["refused"]:
        raise BenchFailed(f"payments that can be made were refused: {last['refused']}")
    await verify(stage, before=before, since=since, accepted=last["accepted"], deltas=last["deltas"])
    return SectionResult(pipeline, last["accepted"], measured[LATENCY], measured[THROUGHPUT])


def now_id() -> IntentId:
    """Return the least id of an intent that is accepted from now on."""
    return intent_id(time.time_ns() // 1000, 0, 0)


async def calm(stage: Stage) -> None:
    """Give every section the same start: no dead rows, fresh statistics, nothing left to write back."""
    for statement in ("VACUUM (ANALYZE)", "CHECKPOINT"):
        await stage.stores.pool.execute(statement, timeout=_VACUUM_TIMEOUT_S)


@asynccontextmanager
async def _workers(stage: Stage, pipeline: Pipeline) -> AsyncIterator[dict[str, list[int]]]:
    """Run the processes that do the work; give their ids by role."""
    options = stage.options
    async with AsyncExitStack() as running:
        match pipeline:
            case Pipeline.MESH:
                orchestrators = stage.services("orchestrator", options.orchestrators)
                yield {"orchestrator": await running.enter_async_context(orchestrators)}
            case Pipeline.BARE:
                pids = [await running.enter_async_context(_bare(stage, n)) for n in range(options.orchestrators)]
                yield {"orchestrator": pids}
            case Pipeline.HTTP:
                orchestrators = stage.services("orchestrator", options.orchestrators)
                gateways = stage.services("gateway", options.gateways)
                yield {
                    "orchestrator": await running.enter_async_context(orchestrators),
                    "gateway": await running.enter_async_context(gateways),
                }
            case _:
                assert_never(pipeline)


@asynccontextmanager
async def _bare(stage: Stage, number: int) -> AsyncIterator[int]:
    stores = stage.stack.stores
    name = f"bare-{number}"
    config = BareConfig(
        redis_url=stores.redis_url,
        database_url=stores.database_url,
        tigerbeetle_addresses=stores.tigerbeetle_addresses,
        partitions=stage.mesh.partitions,
        name=name,
    )
    async with child("bench.bare", config, logs=stage.logs, name=name) as bare:
        await bare.until("ready")
        yield bare.pid


def _load(
    stage: Stage, pipeline: Pipeline, number: int, phases: tuple[Phase, ...], roles: dict[str, list[int]]
) -> AbstractAsyncContextManager[Child]:
    """Describe the process that offers the payments of a section."""
    options, stores = stage.options, stage.stack.stores
    section, seed = f"{pipeline}-{number}", str(options.seed)
    if pipeline is not Pipeline.HTTP:
        feed = FeedConfig(
            redis_url=stores.redis_url,
            epoch=stage.mesh.token,
            partitions=stage.mesh.partitions,
            section=section,
            seed=seed,
            wallets=options.wallets,
            length_max=options.window // stage.mesh.partitions,
            roles={**stage.servers, **roles},
            phases=phases,
        )
        return child("bench.feed", feed, logs=stage.logs, name="feed")
    http_feed = HttpFeedConfig(
        host="127.0.0.1",
        port=stage.gateway_port or violated("a gateway without a port"),
        key=stage.key.key,
        secret=stage.key.secret,
        section=section,
        seed=seed,
        wallets=options.wallets,
        connections=options.connections,
        redis_url=stores.redis_url,
        partitions=stage.mesh.partitions,
        roles={**stage.servers, **roles},
        phases=phases,
    )
    return child("bench.http_feed", http_feed, logs=stage.logs, name="http-feed")


def _phases(stage: Stage, pipeline: Pipeline) -> tuple[Phase, ...]:
    options = stage.options
    # Over HTTP, latency is that of an idle machine: one client, one request after the other.
    rate = 1 if pipeline is Pipeline.HTTP else options.rate
    return (
        Phase(LATENCY, rate, options.warm_s, options.latency_s),
        Phase(THROUGHPUT, None, options.warm_s, options.seconds),
    )
