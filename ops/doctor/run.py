"""One examination: everything at once, each part with a time limit, as far as the stores that answer allow.

What cannot be reached is a finding, and what would have needed it is named as left out. This module must never wait
long for a store that is down, and never let one part's fault hide the others.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ops.doctor.findings import Diagnosis, Finding, Severity, critical
from ops.doctor.mesh import look_at_clocks, look_at_keyring, look_at_ledger, look_at_marks
from ops.doctor.postgres_server import look_at_postgres
from ops.doctor.records import look_at_records
from ops.doctor.redis_server import look_at_redis
from ops.doctor.streams import look_at_streams
from shared.clock import wall_ms
from shared.config import StoreSettings
from shared.db.failures import database
from shared.db.pool import Pool, close_pool, open_pool
from shared.errors import OutcomeUnknown, StoreMismatch, Transient
from shared.ids import PARTITIONS_MAX
from shared.ledger.open import open_ledger
from shared.ledger.port import Ledger
from shared.mesh import Mark, MeshIdentity, read_identity, read_slots
from shared.streams import keys
from shared.streams.client import connect, server

PART_S: Final = 1.5
"""How long one part may take; all run at once."""
_CONNECT_S: Final = 1.0
_CLOSE_S: Final = 0.2
_ORDER: Final = list(Severity)

T = TypeVar("T")


@dataclass(slots=True)
class _Round:
    """One examination under way."""

    settings: StoreSettings
    closing: AsyncExitStack
    clock_ms: Callable[[], int]
    findings: list[Finding] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    pool: Pool | None = None
    redis: Redis | None = None
    identity: MeshIdentity | None = None
    marks: list[Mark] = field(default_factory=list)

    async def connect(self) -> None:
        """Open what can be opened, and find out which mesh this is."""
        await asyncio.gather(self._open_pool(), self._open_redis())
        if self.pool is not None:
            told = await self.part("identity", read_identity(self.pool))
            if told is not None:
                self.identity, mark = told
                self.marks.append(mark)

    async def part(self, name: str, look: Awaitable[T], *, store: str = "") -> T | None:
        """Take one part's look; None if it could not be taken, which is noted."""
        try:
            async with asyncio.timeout(PART_S):
                seen = await look
        except (Transient, OutcomeUnknown, RedisError, OSError) as error:  # TimeoutError is an OSError
            self.left_out.append(name)
            detail = f"could not be looked at: {str(error) or type(error).__name__}"
            self.findings.append(critical("reach", store or name, detail, _start(store)))
            return None
        except StoreMismatch as error:
            self.findings.append(critical("mesh.identity", name, str(error), "paymesh migrate"))
            return None
        self.looked_at.append(name)
        return seen

    async def found(self, name: str, look: Awaitable[list[Finding]]) -> None:
        """Take one part's look, and keep what it found."""
        self.findings += await self.part(name, look) or []

    async def look_at_everything(self) -> None:
        """Look at all parts whose stores are there."""
        kind = self.identity.ledger_kind if self.identity is not None else self.settings.ledger_kind
        parts: list[Coroutine[Any, Any, None]] = [self._ledger(), self._clocks()]
        parts.append(self.found("key ring", look_at_keyring(self.settings, self.pool)))
        if self.pool is not None:
            parts.append(self.found("PostgreSQL settings", look_at_postgres(self.pool, ledger_kind=kind)))
            parts.append(self.found("records", look_at_records(self.pool)))
        else:
            self.left_out += ["PostgreSQL settings", "records"]
        if self.redis is not None:
            parts.append(self.found("Redis settings", look_at_redis(self.redis)))
            parts.append(self._streams(self.redis))
        else:
            self.left_out += ["Redis settings", "streams"]
        await asyncio.gather(*parts)
        if self.identity is not None and self.marks:
            self.findings += look_at_marks(self.identity, self.marks)

    async def _open_pool(self) -> None:
        async def opened() -> Pool:
            with database():
                return await open_pool(
                    self.settings.database_url,
                    max_size=6,
                    application_name="paymesh-doctor",
                    connect_timeout_s=_CONNECT_S,
                    statement_timeout_s=PART_S,
                )

        self.pool = await self.part("PostgreSQL", opened(), store="PostgreSQL")
        if self.pool is not None:
            self.closing.push_async_callback(close_pool, self.pool, patience_s=_CLOSE_S)

    async def _open_redis(self) -> None:
        client = connect(self.settings.redis_url)
        self.closing.push_async_callback(client.aclose)

        async def answers() -> bool:
            with server():
                return bool(await client.ping())

        if await self.part("Redis", answers(), store="Redis"):
            self.redis = client

    async def _ledger(self) -> None:
        needs_pool = self.settings.ledger_kind == "postgres"
        if needs_pool and self.pool is None:
            self.left_out.append("ledger")
            return
        look = look_at_ledger(self._open_ledger, self.settings, self.identity)
        told = await self.part("ledger", look, store="ledger")
        if told is not None:
            found, mark = told
            self.findings += found
            self.marks += [mark] if mark is not None else []

    def _open_ledger(self) -> Ledger:
        ledger = open_ledger(
            pool=self.pool,  # type: ignore[arg-type]  # TigerBeetle takes none
            tigerbeetle_addresses=self.settings.tigerbeetle_addresses,
            tigerbeetle_cluster_id=self.settings.tigerbeetle_cluster_id,
            timeout_s=PART_S - 0.2,
        )
        self.closing.push_async_callback(ledger.close)
        return ledger

    async def _clocks(self) -> None:
        await self.found("clocks", look_at_clocks(self.pool, self.redis, clock_ms=self.clock_ms))

    async def _streams(self, redis: Redis) -> None:
        if self.identity is not None:
            marks = await self.part("marks", read_slots(redis, self.identity.slots))
            self.marks += marks or []
            partitions, psps = self.identity.partitions, self.identity.psps
        else:
            # Without the database nobody says how many streams there are: their marks do, and PSPs stay unknown.
            self.left_out.append("streams of PSPs")
            partitions, psps = await self.part("marks", _marked(redis)) or 0, ()
        await self.found("streams", look_at_streams(redis, partitions=partitions, psps=psps))


async def examine(settings: StoreSettings, *, clock_ms: Callable[[], int] = wall_ms) -> Diagnosis:
    """Look at everything once; takes two seconds at most, whatever is down.

    Args:
        settings: where the stores are.
        clock_ms: this host's clock, unix ms.
    """
    began = time.monotonic()
    async with AsyncExitStack() as closing:
        under_way = _Round(settings, closing, clock_ms)
        await under_way.connect()
        await under_way.look_at_everything()
    found = sorted(under_way.findings, key=lambda each: (_ORDER.index(each.severity), each.check, each.subject))
    return Diagnosis(
        findings=tuple(found),
        looked_at=tuple(sorted(set(under_way.looked_at))),
        left_out=tuple(sorted(set(under_way.left_out))),
        seconds=round(time.monotonic() - began, 3),
    )


async def _marked(redis: Redis) -> int:
    """Return how many partitions carry a mark, from the first on."""
    marks = await read_slots(redis, map(keys.slot, range(PARTITIONS_MAX)))
    return next((number for number, mark in enumerate(marks) if mark.mesh is None), PARTITIONS_MAX)


def _start(store: str) -> str:
    return {
        "PostgreSQL": 'pg_isready -d "$DATABASE_URL"; then start the server, or mend DATABASE_URL',
        "Redis": 'redis-cli -u "$REDIS_URL" PING; then start the server, or mend REDIS_URL',
        "ledger": "start the replicas that TIGERBEETLE_ADDRESSES names, or mend it",
    }.get(store, "paymesh doctor")
