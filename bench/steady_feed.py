"""A key that posts at a steady rate over HTTP: signed payments at random times, each timed from when it was due.

Arrivals do not wait for answers, so that a gateway that stalls is charged with everybody who came meanwhile. Each
request is made and signed before it is due. SIGTERM ends a phase early, and all is reported as if it had ended.

Reports: ``ready``; per phase ``begin``, ``tick`` and ``end`` with latencies and answers by status; ``done`` with what
each wallet should have gained.
"""

import asyncio
import signal
import time
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

import uvloop

from bench.events import BenchFailed, Phase, say, told
from bench.figures import percentile
from bench.http_connection import Connection, connect
from bench.http_feed import ACCEPTED, signed_request
from bench.meter import Meter
from bench.workload import Deltas, Payment, Section

TOO_MANY: Final = 429
_TICK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class SteadyFeedConfig:
    """What a steady load is told; `rate` is that of its phases, and `refusable` says that 429 is an answer."""

    host: str
    port: int
    key: str
    secret: str
    section: str
    seed: str
    wallets: int
    connections: int
    refusable: bool
    roles: dict[str, list[int]]
    """Whose CPU time is taken: process ids by role."""
    phases: tuple[Phase, ...]


class SteadyFeed:
    """Asks for payments, whatever becomes of those before."""

    def __init__(self, config: SteadyFeedConfig) -> None:
        self._config = config
        self._meter = Meter(config.roles)
        self._section = Section(config.section, config.seed, config.wallets)
        self._random = Random(f"{config.seed} {config.section} arrivals")
        self._payments = self._section.payments()
        self._stopped = False
        self._free: asyncio.Queue[Connection] = asyncio.Queue()
        self._latencies: list[float] = []
        self._statuses: Counter[int] = Counter()
        self.accepted = Deltas(config.wallets)

    def stop(self) -> None:
        """Have whatever phase runs end within moments."""
        self._stopped = True

    async def run(self) -> None:
        """Carry every phase through; every request that was sent has its answer then."""
        connections = [await connect(self._config.host, self._config.port) for _ in range(self._config.connections)]
        for connection in connections:
            self._free.put_nowait(connection)
        try:
            for phase in self._config.phases:
                async with asyncio.TaskGroup() as tasks:
                    await self._phase(phase, tasks)
        finally:
            for connection in connections:
                connection.close()

    async def _phase(self, phase: Phase, tasks: asyncio.TaskGroup) -> None:
        rate = phase.rate or 0
        await self._arrive(rate, phase.warm_s, tasks)
        self._latencies, self._statuses = [], Counter()
        reading = self._meter.read()
        say("begin", phase=phase.name)
        began = time.monotonic()
        while (left_s := began + phase.seconds - time.monotonic()) > 0 and not self._stopped:
            await self._arrive(rate, min(_TICK_S, left_s), tasks)
            say("tick", settled=len(self._latencies), seconds=time.monotonic() - began)
        if not self._latencies:
            raise BenchFailed(f"nothing was answered within {phase.seconds:.1f} s of {phase.name}")
        say(
            "end",
            phase=phase.name,
            seconds=time.monotonic() - began,
            cpu_s=self._meter.read().since(reading),
            statuses={str(status): count for status, count in self._statuses.items()},
            p50_ms=percentile(self._latencies, 0.5) * 1000,
            p99_ms=percentile(self._latencies, 0.99) * 1000,
        )

    async def _arrive(self, rate: int, seconds: float, tasks: asyncio.TaskGroup) -> None:
        """Send for so long, at random times of that rate; one that is late is sent at once and charged the delay."""
        due = time.monotonic()
        ends = due + seconds
        while (due := due + self._random.expovariate(rate)) < ends:
            payment = next(self._payments)
            request = signed_request(self._config, self._section, payment, str(int(time.time())))
            if (early_s := due - time.monotonic()) > 0:
                await asyncio.sleep(early_s)
            tasks.create_task(self._ask(payment, request, due))
        if (early_s := ends - time.monotonic()) > 0:
            await asyncio.sleep(early_s)

    async def _ask(self, payment: Payment, request: bytes, due: float) -> None:
        connection = await self._free.get()
        answer = await connection.ask(request)
        self._free.put_nowait(connection)
        self._latencies.append(time.monotonic() - due)
        self._statuses[answer.status] += 1
        if answer.status == ACCEPTED:
            self.accepted.add(payment)
        elif not (self._config.refusable and answer.status == TOO_MANY):
            raise BenchFailed(f"not accepted: {answer.status} {answer.body.decode()}")


async def main() -> None:
    """Run the phases that this process was told."""
    config = told(SteadyFeedConfig)
    feed = SteadyFeed(config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, feed.stop)
    say("ready")
    await feed.run()
    say("done", accepted=feed.accepted.payments, deltas=feed.accepted.by_wallet, refused={})


if __name__ == "__main__":
    uvloop.run(main())
