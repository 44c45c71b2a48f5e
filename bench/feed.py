"""The load on the streams: payments through the accept script, as gateways offer them, and what became of each.

A process of its own, so that what it costs is known and is nobody else's. It builds entries on the fly from
templates, keeps several accepts in flight, honours BUSY, and hears every decision. Latency is taken at a steady rate
of random arrivals, from the moment at which a payment was due (a late load must not flatter the mesh); throughput
with as many payments under way as the window takes.

Reports: ``ready``; per phase ``begin``, ``tick`` and ``end``; ``done`` with what each wallet should have gained.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from random import Random
from secrets import randbits
from typing import Final

import uvloop
from redis.asyncio import Redis

from bench.events import BenchFailed, Phase, say, told
from bench.figures import percentile
from bench.hints import listening
from bench.meter import Meter
from bench.workload import WAITER, Deltas, Payment, Section, owner
from shared.contracts import Envelope, Kind
from shared.ids import intent_id
from shared.streams import keys
from shared.streams.accept import AcceptEntry, AcceptStatus, Admission, accept
from shared.streams.client import connect
from shared.streams.verdicts import ENTRIES_MAX

ACCEPTS_PER_PARTITION: Final = 2
"""Accepts in flight for each partition under full load."""
BUSY_PAUSE_S: Final = 0.01
SETTLE_TIMEOUT_S: Final = 60.0
_TICK_S: Final = 0.5
_DUE_POLL_S: Final = 0.001
_DEDUPE_TTL_MS: Final = 3_600_000
_ID_CHARS: Final = 36


@dataclass(frozen=True, slots=True)
class FeedConfig:
    """What a load process is told."""

    redis_url: str
    epoch: str
    partitions: int
    section: str
    seed: str
    wallets: int
    length_max: int
    """The admission limit of each partition, which is also how many payments the load keeps under way there."""
    roles: dict[str, list[int]]
    """Whose CPU time is taken: process ids by role."""
    phases: tuple[Phase, ...]


@dataclass(slots=True)
class _Tally:
    """What has been counted since the measured time began."""

    settled: int = 0
    busy: int = 0
    began: float = 0.0


class Feed:
    """Offers payments and follows each until it is decided."""

    def __init__(self, config: FeedConfig, client: Redis) -> None:
        self._config = config
        self._client = client
        self._section = Section(config.section, config.seed, config.wallets)
        self._payments = self._section.payments()
        self._admission = Admission(config.epoch, config.length_max, memory_full=False, dedupe_ttl_ms=_DEDUPE_TTL_MS)
        self._due: dict[bytes, tuple[float, int]] = {}
        self._waiting = [0] * config.partitions
        self._again: deque[Payment] = deque()
        self._room = asyncio.Event()
        self._stopping = False
        self._measuring = False
        self._meter = Meter(config.roles)
        self._latencies: list[float] = []
        self._accepted: list[Payment] = []
        self._fault = ""
        self.tally = _Tally()
        self.refused: dict[str, int] = {}

    def heard(self, messages: list[bytes]) -> None:
        """Take decisions."""
        now = time.monotonic()
        pop, keep, waiting = self._due.pop, self._latencies.append, self._waiting
        for message in messages:
            expected = pop(message[:_ID_CHARS], None)
            if expected is None:
                self._fault = f"a decision that nobody waits for, or the second one: {message.decode()}"
                continue
            if message[_ID_CHARS + 1 :] != b"SETTLED":
                state = message[_ID_CHARS + 1 :].decode()
                self.refused[state] = self.refused.get(state, 0) + 1
            due, partition = expected
            waiting[partition] -= 1
            if self._measuring:
                keep(now - due)
        self.tally.settled += len(messages)
        self._room.set()

    async def run(self, phase: Phase) -> None:
        """Carry one phase through, until everything it offered is decided."""
        self._stopping = False
        partitions = range(self._config.partitions)
        if phase.rate is None:
            lanes = [self._closed(partition) for partition in partitions for _ in range(ACCEPTS_PER_PARTITION)]
        else:
            arrivals: list[deque[float]] = [deque() for _ in partitions]
            lanes = [self._open(partition, arrivals[partition]) for partition in partitions]
            lanes.append(self._arrive(phase.rate, arrivals))
        async with asyncio.TaskGroup() as tasks:
            for lane in lanes:
                tasks.create_task(lane)
            await self._measure(phase)
            self._stopping = True
            self._room.set()
        await self._settled()

    def done(self) -> Deltas:
        """Return what the accepted payments should have done."""
        deltas = Deltas(self._config.wallets)
        for payment in self._accepted:
            deltas.add(payment)
        return deltas

    async def _measure(self, phase: Phase) -> None:
        await asyncio.sleep(phase.warm_s)
        self._latencies = []
        self._measuring = True
        reading = self._meter.read()
        self.tally = tally = _Tally(began=time.monotonic())
        say("begin", phase=phase.name)
        while (left_s := tally.began + phase.seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(_TICK_S, left_s))
            say("tick", settled=tally.settled, seconds=time.monotonic() - tally.began)
            self._check()
        self._measuring = False
        seconds, settled, latencies = time.monotonic() - tally.began, tally.settled, self._latencies
        spent = self._meter.read().since(reading)
        if not latencies:
            raise BenchFailed(f"nothing was settled within {seconds:.1f} s of {phase.name}")
        say(
            "end",
            phase=phase.name,
            seconds=seconds,
            settled=settled,
            busy=tally.busy,
            cpu_s=spent,
            p50_ms=percentile(latencies, 0.5) * 1000,
            p99_ms=percentile(latencies, 0.99) * 1000,
        )

    async def _settled(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                while self._due:
                    self._room.clear()
                    await self._room.wait()
        self._check()
        if self._due:
            raise BenchFailed(f"{len(self._due)} accepted payments were not decided in {SETTLE_TIMEOUT_S:.0f} s")

    def _check(self) -> None:
        if self._fault:
            raise BenchFailed(self._fault)

    async def _closed(self, partition: int) -> None:
        """Offer full batches for as long as the partition's share of the window has room."""
        window = self._config.length_max
        while not self._stopping:
            if self._waiting[partition] + ENTRIES_MAX > window:
                self._room.clear()
                await self._room.wait()
                continue
            now = time.monotonic()
            await self._offer(partition, list(self._next(ENTRIES_MAX)), [now] * ENTRIES_MAX)

    async def _open(self, partition: int, arrivals: deque[float]) -> None:
        """Offer what is due, one accept at a time, as a gateway's door does."""
        while not self._stopping:
            if not arrivals:
                await asyncio.sleep(_DUE_POLL_S)
                continue
            due = [arrivals.popleft() for _ in range(min(len(arrivals), ENTRIES_MAX))]
            await self._offer(partition, list(self._next(len(due))), due)

    async def _arrive(self, rate: int, arrivals: Sequence[deque[float]]) -> None:
        """Let payments fall due, at random moments, on random partitions."""
        rng = Random(f"{self._config.seed} {self._config.section} arrivals")
        due = time.monotonic()
        while not self._stopping:
            now = time.monotonic()
            while due <= now:
                arrivals[int(rng.random() * len(arrivals))].append(due)
                due += rng.expovariate(rate)
            await asyncio.sleep(_DUE_POLL_S)

    async def _offer(self, partition: int, payments: Sequence[Payment], due: Sequence[float]) -> None:
        entries = [self._entry(partition, payment) for payment in payments]
        ids = [entry.envelope.id.encode() for entry in entries]
        # Expected before it is offered: the decision may be quicker than the accept's own reply.
        self._due.update((number, (at, partition)) for number, at in zip(ids, due, strict=True))
        self._waiting[partition] += len(ids)
        results = await accept(self._client, partition=partition, entries=entries, admission=self._admission)
        busy = False
        for number, result in enumerate(results):
            if result.status is AcceptStatus.ACCEPTED:
                self._accepted.append(payments[number])
            elif result.status is AcceptStatus.BUSY:
                busy = True
                del self._due[ids[number]]
                self._waiting[partition] -= 1
                self._again.append(payments[number])
            else:
                raise BenchFailed(f"a payment was answered {result.status}")
        if busy:
            self.tally.busy += 1
            await asyncio.sleep(BUSY_PAUSE_S)

    def _next(self, count: int) -> Iterator[Payment]:
        """Give the next payments, those first that were refused for being too many."""
        while count and self._again:
            count -= 1
            yield self._again.popleft()
        yield from islice(self._payments, count)

    def _entry(self, partition: int, payment: Payment) -> AcceptEntry:
        section = self._section
        number = str(intent_id(time.time_ns() // 1000, partition, randbits(38)))
        return AcceptEntry(
            Envelope(Kind.INTENT, number, section.entry_body(payment)),
            keys.idem(partition, section.name, section.idempotency_key(payment.serial)),
            (f"bench:{payment.serial:064x}",),
            f"{section.name}:{owner(payment.payer)}",
        )


async def main() -> None:
    """Run the phases that this process was told."""
    config = told(FeedConfig)
    client = connect(config.redis_url)
    feed = Feed(config, client)
    try:
        async with listening(config.redis_url, WAITER, feed.heard):
            say("ready")
            for phase in config.phases:
                await feed.run(phase)
    finally:
        await client.aclose()
    deltas = feed.done()
    say("done", accepted=deltas.payments, deltas=deltas.by_wallet, refused=feed.refused)


if __name__ == "__main__":
    uvloop.run(main())
