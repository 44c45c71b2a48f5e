"""The mesh itself: do the stores belong together, do their clocks agree, does the key ring open what it should."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg
from redis.asyncio import Redis

from ops.doctor.findings import Finding, critical, note, warning
from shared.clock import wall_ms
from shared.config import BadConfig, StoreSettings
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ledger.mesh_mark import TickingLedger
from shared.ledger.port import Ledger
from shared.mesh import Mark, MeshIdentity, faults_of
from shared.sealing import BadKeyRing, KeyRing
from shared.streams.client import command, server

SKEW_MS_MAX: Final = 1_000
"""How far clocks may differ; at 5 s the door refuses every id."""
_REFUSED_MS: Final = 4_000
_RECOVER: Final = "paymesh recover"
_CLOCK: Final = "chronyc makestep"
_CONNECT_S: Final = 0.5
_KEYS_MAX: Final = 10_000
_SELECT_SECRETS: Final = (
    "SELECT id, secret, previous_secret FROM pm.service_key WHERE disabled_at IS NULL ORDER BY id LIMIT $1"
)


def look_at_marks(identity: MeshIdentity, marks: Sequence[Mark]) -> list[Finding]:
    """Compare the marks of those stores that could be read."""
    return [critical("mesh.marks", fault.split(" ", 1)[0], fault, _RECOVER) for fault in faults_of(identity, marks)]


async def look_at_ledger(
    open_ledger: Callable[[], Ledger], settings: StoreSettings, identity: MeshIdentity | None
) -> tuple[list[Finding], Mark | None]:
    """Ask whether the ledger is the mesh's kind and answers; return its mark too.

    Raises:
        Transient, OutcomeUnknown, OSError: it does not.
    """
    if identity is not None and settings.ledger_kind != identity.ledger_kind:
        detail = f"the mesh keeps its books in {identity.ledger_kind}, these settings name {settings.ledger_kind}"
        mend = (
            "export TIGERBEETLE_ADDRESSES=…" if identity.ledger_kind == "tigerbeetle" else "unset TIGERBEETLE_ADDRESSES"
        )
        return [critical("ledger.kind", settings.ledger_kind, detail, mend)], None
    if settings.tigerbeetle_addresses:
        await _any_answers(settings.tigerbeetle_addresses.split(","))
    try:
        return [], await TickingLedger(open_ledger()).read()
    except (asyncpg.UndefinedFunctionError, asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return [], None  # Its migrations are pending, which is a finding of its own.


async def look_at_clocks(
    pool: Pool | None, redis: Redis | None, *, clock_ms: Callable[[], int] = wall_ms
) -> list[Finding]:
    """Compare this host's clock with those of the stores.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach.
    """
    found: list[Finding] = []
    offsets: dict[str, int] = {}
    if redis is not None:
        with server():
            offsets["Redis"] = await _offset_ms(lambda: _redis_ms(redis), clock_ms)
    if pool is not None:
        with database():
            offsets["PostgreSQL"] = await _offset_ms(lambda: _postgres_ms(pool), clock_ms)
    for name, offset in offsets.items():
        found += _skew(f"this host and {name}", offset)
    if {"Redis", "PostgreSQL"} <= offsets.keys():
        found += _skew("Redis and PostgreSQL", offsets["PostgreSQL"] - offsets["Redis"])
    return found


async def look_at_keyring(settings: StoreSettings, pool: Pool | None) -> list[Finding]:
    """Ask whether the ring can be read, and opens every service key's secret.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    try:
        ring = settings.keyring()
    except BadConfig as error:
        return [note("keyring.absent", "key ring", f"it was not looked at: {error}")]
    except (BadKeyRing, OSError) as error:
        return [critical("keyring.unreadable", "key ring", str(error), "paymesh keys generate k1")]
    return [] if pool is None else await _secrets(ring, pool)


async def _secrets(ring: KeyRing, pool: Pool) -> list[Finding]:
    try:
        with database():
            rows = await pool.fetch(_SELECT_SECRETS, _KEYS_MAX)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return []
    found = []
    for row in rows:
        sealed = [text for text in (row["secret"], row["previous_secret"]) if text is not None]
        missing = sorted({text.partition(":")[0] for text in sealed} - {key.id for key in ring.keys})
        if missing:
            detail = f"its secret is sealed under {', '.join(missing)}, which this ring does not hold"
            mend = f"put {', '.join(missing)} back into PAYMESH_KEYRING_FILE, or paymesh keys rotate {row['id']}"
            found.append(critical("keyring.key", row["id"], detail, mend))
    return found


def _skew(between: str, offset_ms: int) -> list[Finding]:
    if abs(offset_ms) < SKEW_MS_MAX:
        return []
    say = critical if abs(offset_ms) >= _REFUSED_MS else warning
    return [say("clocks.skew", between, f"the clocks differ by {abs(offset_ms) / 1000:.1f} s", _CLOCK)]


async def _offset_ms(ask: Callable[[], Awaitable[int]], clock_ms: Callable[[], int]) -> int:
    """Return how far another clock is ahead of ours; half of what asking took is the error."""
    before, began = clock_ms(), time.monotonic()
    theirs = await ask()
    return theirs - before - round((time.monotonic() - began) * 500)


async def _redis_ms(redis: Redis) -> int:
    seconds, micros = await command(redis, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def _postgres_ms(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000"))


async def _any_answers(addresses: Sequence[str]) -> None:
    """Knock at the replicas: a client that nobody answers would wait for much longer."""
    refused: OSError = ConnectionRefusedError("no replica of TigerBeetle answers")
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, writer = await asyncio.open_connection(host or "127.0.0.1", int(port))
        except (OSError, TimeoutError):
            continue
        writer.close()
        await writer.wait_closed()
        return
    raise refused
