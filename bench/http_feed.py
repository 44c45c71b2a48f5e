"""The load over HTTP: signed payments on keep-alive connections, against the gateways' shared port.

Requests are made and signed before anything is measured. Latency is that of one client on an idle machine that asks
for the outcome in the same request (`Prefer: wait=5`); throughput is that of many clients that are content with 202,
each of which waits as long as it is told whenever the mesh is full.

Reports: ``ready``; per phase ``begin``, ``tick`` and ``end``; ``done`` with what each wallet should have gained.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

import uvloop
from redis.asyncio import Redis

from bench.events import BenchFailed, Phase, say, told
from bench.figures import percentile
from bench.http_connection import Answer, Connection, connect
from bench.meter import Meter
from bench.workload import Deltas, Payment, Section, owner
from shared.signing import SignedRequest, sign
from shared.streams import keys
from shared.streams.client import connect as connect_redis

REQUESTS_PER_S_MAX: Final = 6000
"""How many requests are made ready for each second of load; a gateway that answers more runs out of them."""
WAIT_S: Final = 5
RETRY_AFTER_S_MIN: Final = 0.05
_TICK_S: Final = 0.5
_TARGET: Final = "/v1/intents"
ACCEPTED: Final = 202
_DECIDED: Final = 200
_UNAVAILABLE: Final = 503


class Sender(Protocol):
    """Who asks whom, under which key."""

    @property
    def host(self) -> str:
        """Where the gateways are."""

    @property
    def port(self) -> int:
        """Their port."""

    @property
    def key(self) -> str:
        """The service key."""

    @property
    def secret(self) -> str:
        """Its secret."""


@dataclass(frozen=True, slots=True)
class HttpFeedConfig:
    """What an HTTP load process is told."""

    host: str
    port: int
    key: str
    secret: str
    section: str
    seed: str
    wallets: int
    connections: int
    redis_url: str
    partitions: int
    roles: dict[str, list[int]]
    """Whose CPU time is taken: process ids by role."""
    phases: tuple[Phase, ...]
    """A phase with a rate is the idle one: one client, one request after the other."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A payment and the bytes that ask for it."""

    payment: Payment
    request: bytes


@dataclass(slots=True)
class _Tally:
    accepted: int = 0
    busy: int = 0
    began: float = 0.0


class HttpFeed:
    """Asks for payments over HTTP."""

    def __init__(self, config: HttpFeedConfig, redis: Redis) -> None:
        self._config = config
        self._redis = redis
        self._meter = Meter(config.roles)
        self._section = Section(config.section, config.seed, config.wallets)
        self._payments = self._section.payments()
        self._ready: dict[str, deque[_Ready]] = {}
        self._latencies: list[float] = []
        self._stop = asyncio.Event()
        self._tally = _Tally()
        self.accepted = Deltas(config.wallets)

    def prepare(self) -> None:
        """Make and sign every request that any phase may need."""
        for phase in self._config.phases:
            count = int(REQUESTS_PER_S_MAX * (phase.warm_s + phase.seconds))
            wait = phase.rate is not None
            self._ready[phase.name] = deque(self._requests(count // 10 if wait else count, wait=wait))

    async def run(self, phase: Phase) -> None:
        """Carry one phase through; every request that was sent has its answer then."""
        self._stop.clear()
        count = self._config.connections if phase.rate is None else 1
        connections = [await connect(self._config.host, self._config.port) for _ in range(count)]
        ready = self._ready[phase.name]
        try:
            async with asyncio.TaskGroup() as tasks:
                for connection in connections:
                    tasks.create_task(self._client(connection, ready, settled=phase.rate is not None))
                await self._measure(phase)
                self._stop.set()
        finally:
            for connection in connections:
                connection.close()

    async def _measure(self, phase: Phase) -> None:
        await asyncio.sleep(phase.warm_s)
        self._latencies = []
        unfinished, reading = await self._unfinished(), self._meter.read()
        self._tally = tally = _Tally(began=time.monotonic())
        say("begin", phase=phase.name)
        while (left_s := tally.began + phase.seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(_TICK_S, left_s))
            say("tick", settled=tally.accepted, seconds=time.monotonic() - tally.began)
        seconds, accepted, latencies = time.monotonic() - tally.began, tally.accepted, self._latencies
        spent = self._meter.read().since(reading)
        # Nobody who is content with 202 hears of decisions: what was accepted and has left the streams is settled.
        settled = accepted + unfinished - await self._unfinished()
        if not latencies:
            raise BenchFailed(f"nothing was answered within {seconds:.1f} s of {phase.name}")
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

    async def _unfinished(self) -> int:
        """Return how many entries stand in the streams."""
        return sum([await self._redis.xlen(keys.intents(number)) for number in range(self._config.partitions)])

    async def _client(self, connection: Connection, ready: deque[_Ready], *, settled: bool) -> None:
        while not self._stop.is_set():
            if not ready:
                raise BenchFailed("the load ran out of requests made ready")
            asked = ready.popleft()
            began = time.monotonic()
            answer = await connection.ask(asked.request)
            if answer.status == _UNAVAILABLE:
                self._tally.busy += 1
                ready.append(asked)
                await self._pause(max(answer.retry_after_s, RETRY_AFTER_S_MIN))
                continue
            self._latencies.append(time.monotonic() - began)
            _require_taken(answer, settled=settled)
            self._tally.accepted += 1
            self.accepted.add(asked.payment)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _requests(self, count: int, *, wait: bool) -> Iterator[_Ready]:
        timestamp = str(int(time.time()))
        for payment in islice(self._payments, count):
            yield _Ready(payment, signed_request(self._config, self._section, payment, timestamp, wait=wait))


def signed_request(sender: Sender, section: Section, payment: Payment, timestamp: str, *, wait: bool = False) -> bytes:
    """Return the bytes that ask for a payment."""
    body = section.request_body(payment)
    key, user = section.idempotency_key(payment.serial), owner(payment.payer)
    signature = sign(sender.secret.encode(), SignedRequest("POST", _TARGET, timestamp, key, user, body))
    lines = [
        f"POST {_TARGET} HTTP/1.1",
        f"Host: {sender.host}:{sender.port}",
        f"X-Service-Key: {sender.key}",
        f"X-Timestamp: {timestamp}",
        f"X-Signature: {signature}",
        f"X-User-Id: {user}",
        f"Idempotency-Key: {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"Prefer: wait={WAIT_S}"] if wait else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _require_taken(answer: Answer, *, settled: bool) -> None:
    """Refuse any answer but the one expected: a refused payment is quicker, and no payment."""
    if settled:
        if answer.status != _DECIDED or json.loads(answer.body)["state"] != "SETTLED":
            raise BenchFailed(f"not settled in the same request: {answer.status} {answer.body.decode()}")
    elif answer.status != ACCEPTED:
        raise BenchFailed(f"not accepted: {answer.status} {answer.body.decode()}")


async def main() -> None:
    """Run the phases that this process was told."""
    config = told(HttpFeedConfig)
    redis = connect_redis(config.redis_url)
    feed = HttpFeed(config, redis)
    feed.prepare()
    say("ready")
    for phase in config.phases:
        await feed.run(phase)
    await redis.aclose()
    say("done", accepted=feed.accepted.payments, deltas=feed.accepted.by_wallet, refused={})


if __name__ == "__main__":
    uvloop.run(main())
