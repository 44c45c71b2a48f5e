"""Workers for tests: quick ones, with a handler that notes its calls and follows a rule per entry."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from shared.streams import dead_letters, keys
from shared.streams.metrics import StreamMetrics
from shared.streams.worker import Done, Entry, Handler, Verdict, Worker, WorkerClients, WorkerSettings
from tests.integration.streams.scene import GROUP, RESULTS, STREAM, add, envelope_fields, names, stream_entries
from tests.waiting import until

QUICK = WorkerSettings(
    idle_ms=800,
    block_ms=30,
    reclaim_ms=50,
    promote_ms=30,
    pause_ms_max=200,
    drain_timeout_ms=3_000,
    hold_max_ms=60_000,
)

Rule = Callable[[Entry], Awaitable[Verdict]]


def finished(entry: Entry) -> Done:
    """Return the verdict that leaves one result per finished entry, to be counted."""
    return Done(append=((RESULTS, {b"id": entry.fields[b"id"]}),))


@dataclass
class Recorder:
    """A handler that notes which entries it got together; `rules` say what becomes of some of them by name."""

    rules: dict[str, Rule] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)

    async def __call__(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Judge a batch."""
        self.calls.append(names(entries))
        verdicts: list[Verdict] = []
        for entry in entries:
            rule = self.rules.get(entry.fields[b"id"].decode())
            verdicts.append(finished(entry) if rule is None else await rule(entry))
        return verdicts

    def runs(self, name: str) -> int:
        """Return how often an entry was handed over."""
        return sum(name in call for call in self.calls)


@dataclass
class Hired:
    """A running worker."""

    worker: Worker
    task: asyncio.Task[None]
    stop: asyncio.Event
    metrics: StreamMetrics

    def counted(self, name: str, **labels: str) -> float:
        """Return a counter's value."""
        value = 0.0
        for family in getattr(self.metrics, name).collect():
            for sample in family.samples:
                if sample.name.endswith("_total") and labels.items() <= sample.labels.items():
                    value += sample.value
        return value

    async def leave(self) -> None:
        """Ask the worker to stop and wait until it has."""
        self.stop.set()
        await self.task


@asynccontextmanager
async def hired(
    url: str,
    consumer: str,
    handler: Handler,
    *,
    settings: WorkerSettings = QUICK,
    stream: str = STREAM,
    alone: asyncio.Lock | None = None,
) -> AsyncIterator[Hired]:
    """Run a worker until the block ends; what `run` raises is raised there unless the test has taken it."""
    clients = WorkerClients.open(url)
    metrics = StreamMetrics()
    worker = Worker(
        clients=clients,
        stream=stream,
        group=GROUP,
        consumer=consumer,
        handler=handler,
        settings=settings,
        metrics=metrics,
        alone=alone,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    crew = Hired(worker, task, stop, metrics)
    try:
        yield crew
        if not task.done():
            await crew.leave()
    finally:
        task.cancel()
        await asyncio.wait({task})
        await clients.aclose()


async def results(client: Redis) -> list[str]:
    """Return the names of all finished entries, as often as they were finished."""
    return [fields[b"id"].decode() for _, fields in await stream_entries(client, RESULTS)]


async def finish_all(client: Redis, *, timeout_s: float = 30) -> None:
    """Wait until nothing is left to do."""

    async def empty() -> Any:
        async with client.pipeline(transaction=True) as pipeline:  # both at one moment: a retry moves between them
            pipeline.xlen(STREAM)
            pipeline.zcard(keys.delay(STREAM))
            return not any(await pipeline.execute())

    await until(empty, "an empty stream", timeout_s=timeout_s)


async def reasons(client: Redis) -> dict[str, str]:
    """Return the dead letters: name → reason."""
    return {record.id: record.reason for record in await dead_letters.read_page(client, STREAM)}


async def self_named(client: Redis, start: int, count: int) -> list[str]:
    """Add entries with names of their own."""
    named = [f"n{start + number}" for number in range(count)]
    for name in named:
        await add(client, envelope_fields(name))
    return named
