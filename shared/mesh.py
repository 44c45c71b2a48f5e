"""Mesh identity: PostgreSQL, Redis and the ledger belong together, and none of them has lost its recent past.

`install` writes a random id, once, into all three; `verify` compares them at every start; `tick` advances a counter
in all three, every `TICK_S` seconds by the reconciler. A store that was swapped, emptied or restored from an older
copy then contradicts the others, and the start ends with a `StoreMismatch` that names it.

==========  ====================================================================================
store       what it carries
==========  ====================================================================================
PostgreSQL  the row of `pm.mesh`: id, ledger kind, epoch, number of partitions, tick, what the mesh is for
Redis       per slot the hash `mesh.{slot}`: id, epoch, tick; a slot per partition, and one per registered PSP
ledger      an account that names the mesh, and one transfer of one unit per tick
==========  ====================================================================================

A tick first mends what a crash of the last one left behind, then advances the ledger, Redis and PostgreSQL, in this
order and by one; whoever repeats a tick, or wakes up in the middle of one, changes nothing. Two healthy stores
therefore differ by one tick, or by two while one is under way. The tolerance is `LAG_TICKS_MAX`: a loss of no more
than that (30 s) goes unnoticed here, and is what synchronous replication and fsync are for.

The mark of a PSP's slot is what permits are won against: without it adapters only inquire, since a store that lost
the mark has lost the permits too. It is made once, when the PSP is registered, before anything is sent to it.

This module must never mend a store that lags beyond the tolerance, and never create a mark that was there before.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol
from uuid import UUID

import asyncpg
from asyncpg import exceptions as pg
from asyncpg.pool import PoolConnectionProxy
from redis.asyncio import Redis

from shared.config import Environment
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import StoreMismatch
from shared.streams import keys
from shared.streams.client import server
from shared.streams.script import Script

if TYPE_CHECKING:
    Connection = PoolConnectionProxy[asyncpg.Record]
else:
    Connection = PoolConnectionProxy

TICK_S: Final = 10.0
"""How often the reconciler ticks."""
LAG_TICKS_MAX: Final = 3
"""How many ticks a healthy store may lie behind another."""

LedgerKind = Literal["tigerbeetle", "postgres"]

_CLAIM: Final = Script("mesh_claim")
_TICK: Final = Script("mesh_tick")
_RAISE: Final = Script("mesh_raise")
_READ: Final = """
SELECT id, epoch, ledger_kind, partitions, tick, ARRAY(SELECT psp FROM pm.psp ORDER BY psp) AS psps FROM pm.mesh
"""
_INSERT: Final = """
INSERT INTO pm.mesh (id, ledger_kind, partitions, environment) VALUES ($1, $2, $3, $4)
ON CONFLICT (singleton) DO NOTHING
"""
_CURE: Final = (
    "Stop here: money may have moved that it does not know of. Point the settings at the right server, or restore "
    "its newest copy; if that is lost, `paymesh recover` leads back; a development mesh starts afresh with `make clean`"
)


@dataclass(frozen=True, slots=True)
class MeshIdentity:
    """Who this mesh is, as PostgreSQL says."""

    id: UUID
    epoch: int
    ledger_kind: LedgerKind
    partitions: int
    psps: tuple[str, ...] = ()

    @property
    def slots(self) -> tuple[str, ...]:
        """The hash tags that carry a mark."""
        return (*map(keys.slot, range(self.partitions)), *self.psps)

    @property
    def token(self) -> str:
        """What accept compares with its slot: ``<mesh id>:<epoch>``."""
        return f"{self.id}:{self.epoch}"


@dataclass(frozen=True, slots=True)
class Mark:
    """What one store says: `mesh` is None where it carries nothing, `epoch` where it keeps none."""

    store: str
    mesh: UUID | None
    epoch: int | None
    tick: int


class LedgerMark(Protocol):
    """The ledger's half, implemented by `shared.ledger.mesh_mark`, so that a gateway carries no ledger client."""

    async def read(self) -> Mark:
        """Return what the ledger carries."""
        ...

    async def claim(self, mesh: UUID) -> UUID:
        """Name the mesh in the ledger unless one is named there already; return the one that stands."""
        ...

    async def advance(self, mesh: UUID, *, since: int, until: int) -> None:
        """Book the ticks after `since` up to `until`; ticks that are booked already stay as they are."""
        ...


async def install(
    *,
    pool: Pool,
    redis: Redis,
    ledger: LedgerMark,
    ledger_kind: LedgerKind,
    partitions: int,
    new_id: UUID,
    environment: Environment = "production",
) -> MeshIdentity:
    """Make the three stores one mesh, or verify that they are one; safe to repeat and to interrupt.

    `partitions`, `new_id` (a random UUID) and `environment` count only the first time.

    Raises:
        StoreMismatch: a store belongs to another mesh, or has lost what it carried.
        Transient, OutcomeUnknown: a store is out of reach; install again.
    """
    others = [*await _read_redis(redis, map(keys.slot, range(partitions))), await ledger.read()]
    found = await _read_postgres(pool)
    if found is None:
        # Read after the others: an installation that runs at the same time starts with PostgreSQL.
        _refuse_used_stores(others)
        with database():
            await pool.execute(_INSERT, new_id, ledger_kind, partitions, environment)
        found = await _read_postgres(pool)
    identity, mark = _present(found)
    if mark.tick == 0:
        # The first tick, PostgreSQL last, ends the installation; until then claims are repeated, after it never.
        await _claim(identity, redis, ledger)
        await tick(pool=pool, redis=redis, ledger=ledger)
    return await verify(pool=pool, redis=redis, ledger=ledger, ledger_kind=ledger_kind)


async def verify(
    *, pool: Pool, redis: Redis, ledger: LedgerMark | None, ledger_kind: LedgerKind | None
) -> MeshIdentity:
    """Compare the stores and return who this mesh is; gateways, which hold no ledger client, pass None for both.

    Raises:
        StoreMismatch: naming every store that does not belong, and what to do.
        Transient, OutcomeUnknown: a store is out of reach.
    """
    identity, mark = _present(await _read_postgres(pool))
    if mark.tick == 0:
        raise StoreMismatch("PostgreSQL: the mesh was never completely installed; run `paymesh migrate` again")
    if ledger_kind is not None and ledger_kind != identity.ledger_kind:
        raise StoreMismatch(_other_kind(identity.ledger_kind))
    marks = [mark, *await _read_redis(redis, identity.slots)]
    if ledger is not None:
        marks.append(await ledger.read())
    compare(identity, marks)
    return identity


async def tick(*, pool: Pool, redis: Redis, ledger: LedgerMark) -> int:
    """Advance the counter of all three stores by one and return it; several at once do no harm.

    Raises:
        StoreMismatch: a store no longer belongs, or lags beyond the tolerance; nothing was mended.
        Transient, OutcomeUnknown: a store is out of reach; the next tick mends what this one left.
    """
    identity, mark = _present(await _read_postgres(pool))
    books = await ledger.read()
    marks = [mark, *await _read_redis(redis, identity.slots), books]
    compare(identity, marks)
    newest = max(seen.tick for seen in marks)
    if any(seen.tick < newest for seen in marks):
        await _advance(identity, pool, redis, ledger, since=books.tick, until=newest)
    await _advance(identity, pool, redis, ledger, since=newest, until=newest + 1)
    return newest + 1


async def grow(*, pool: Pool, redis: Redis, partitions: int) -> MeshIdentity:
    """Add intent streams; their number only grows, since ids and idempotency keys lie in the ones there are.

    The new slots are marked first, at the present tick, and the count is raised last: a crash between leaves marks
    that nobody looks at, and a process that still knows the old count goes on as before.

    Raises:
        StoreMismatch: the stores do not belong together, or a new slot carries another mesh's mark.
        Transient, OutcomeUnknown: a store is out of reach; grow again.
    """
    identity = await verify(pool=pool, redis=redis, ledger=None, ledger_kind=None)
    if partitions <= identity.partitions:
        return identity
    _, mark = _present(await _read_postgres(pool))
    for partition in range(partitions):
        await _mark(redis, keys.slot(partition), identity, mark.tick)
    with database():
        await pool.execute("UPDATE pm.mesh SET partitions = $1 WHERE partitions < $1", partitions)
    return await verify(pool=pool, redis=redis, ledger=None, ledger_kind=None)


@asynccontextmanager
async def psp_marked(*, pool: Pool, redis: Redis, psp: str) -> AsyncIterator[Connection]:
    """Open the transaction in which a PSP enters the register, its slot marked at the present tick.

    Until the PSP stands in the register, nothing can have been sent to it, so its mark is nobody's proof and may be
    made. Afterwards a mark that is missing is a loss, and refused like any other. The row of the mesh stays locked
    meanwhile: ticks wait, so that the new mark cannot fall behind before anybody looks after it.

    Raises:
        StoreMismatch: the stores do not belong together, or the slot carries another mesh's mark.
        Transient, OutcomeUnknown: a store is out of reach; begin again.
    """
    await verify(pool=pool, redis=redis, ledger=None, ledger_kind=None)
    with database():
        async with pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(f"{_READ} FOR UPDATE")
            identity, mark = _present(None if row is None else _parsed(row))
            if psp not in identity.psps:
                await _mark(redis, psp, identity, mark.tick)
            yield connection


async def _mark(redis: Redis, slot: str, identity: MeshIdentity, since: int) -> None:
    with server():
        # A restored database has forgotten slots that it added: theirs carry a mark of an epoch before the recovery.
        stands = await _RAISE.run(redis, [keys.mesh(slot)], [str(identity.id), identity.epoch, since])
    if not stands:
        raise StoreMismatch(f"{_named(slot)} carries the mark of another mesh, or of a later epoch. {_CURE}")


def compare(identity: MeshIdentity, marks: Sequence[Mark]) -> None:
    """Refuse stores that contradict the identity or lag behind the newest; pure.

    Raises:
        StoreMismatch: one sentence per store at fault, and what to do.
    """
    faults = faults_of(identity, marks)
    if faults:
        raise StoreMismatch(f"{'; '.join(faults)}. {_CURE}")


def faults_of(identity: MeshIdentity, marks: Sequence[Mark]) -> list[str]:
    """Return what is wrong with each store, a sentence each; pure."""
    newest = max(marks, key=lambda mark: mark.tick)
    return [fault for mark in marks for fault in _faults(identity, mark, newest)]


async def read_identity(pool: Pool) -> tuple[MeshIdentity, Mark]:
    """Return who this mesh is, and PostgreSQL's own mark.

    Raises:
        StoreMismatch: this database belongs to no mesh.
        Transient, OutcomeUnknown: it is out of reach.
    """
    return _present(await _read_postgres(pool))


async def read_environment(pool: Pool) -> Environment:
    """Return what the mesh is for, as its first installation said; production, where nobody has said anything.

    Raises:
        Transient, OutcomeUnknown: PostgreSQL is out of reach.
    """
    with database():
        try:
            found: Environment | None = await pool.fetchval("SELECT environment FROM pm.mesh")
        except (pg.UndefinedTableError, pg.UndefinedColumnError, pg.InvalidSchemaNameError):
            return "production"
    return found or "production"


async def read_slots(redis: Redis, slots: Iterable[str]) -> list[Mark]:
    """Return the marks of slots, in order.

    Raises:
        Transient, OutcomeUnknown: Redis is out of reach.
    """
    return await _read_redis(redis, slots)


def _faults(identity: MeshIdentity, mark: Mark, newest: Mark) -> Iterator[str]:
    lag = newest.tick - mark.tick
    if mark.mesh is None:
        yield f"{mark.store} carries no mark of mesh {identity.id}: it was emptied, or is another server"
    elif mark.mesh != identity.id:
        yield f"{mark.store} belongs to mesh {mark.mesh}, while PostgreSQL belongs to mesh {identity.id}"
    elif mark.epoch is not None and mark.epoch != identity.epoch:
        yield f"{mark.store} is in epoch {mark.epoch}, while PostgreSQL is in epoch {identity.epoch}"
    elif lag > LAG_TICKS_MAX:
        yield (
            f"{mark.store} lags {lag} ticks (about {lag * TICK_S:.0f} s) behind {newest.store}: "
            "it was restored from an older copy"
        )


def _other_kind(kept: LedgerKind) -> str:
    if kept == "tigerbeetle":
        return (
            "ledger: this mesh keeps its books in TigerBeetle, and this process was given PostgreSQL for them; "
            "set TIGERBEETLE_ADDRESSES (or put the tigerbeetle server back on PATH)"
        )
    return (
        "ledger: this mesh keeps its books in PostgreSQL, and this process was given TigerBeetle for them; "
        "unset TIGERBEETLE_ADDRESSES, or start a new mesh on empty stores (`make clean`, in development)"
    )


def _present(found: tuple[MeshIdentity, Mark] | None) -> tuple[MeshIdentity, Mark]:
    if found is None:
        raise StoreMismatch("PostgreSQL: this database belongs to no mesh; run `paymesh migrate`, or mend DATABASE_URL")
    return found


async def _read_postgres(pool: Pool) -> tuple[MeshIdentity, Mark] | None:
    with database():
        try:
            row = await pool.fetchrow(_READ)
        except (pg.UndefinedTableError, pg.InvalidSchemaNameError):
            return None
    return None if row is None else _parsed(row)


def _parsed(row: asyncpg.Record) -> tuple[MeshIdentity, Mark]:
    identity = MeshIdentity(row["id"], row["epoch"], row["ledger_kind"], row["partitions"], tuple(row["psps"]))
    return identity, Mark("PostgreSQL", identity.id, identity.epoch, row["tick"])


async def _read_redis(redis: Redis, slots: Iterable[str]) -> list[Mark]:
    with server():
        return [await _read_slot(redis, slot) for slot in slots]


async def _read_slot(redis: Redis, slot: str) -> Mark:
    mesh, epoch, counted = await redis.execute_command("HMGET", keys.mesh(slot), "id", "epoch", "tick")
    if mesh is None or epoch is None or counted is None:
        return Mark(_named(slot), None, None, 0)
    return Mark(_named(slot), UUID(mesh.decode()), int(epoch), int(counted))


def _named(slot: str) -> str:
    return f"Redis (slot {slot})"


def _refuse_used_stores(others: Sequence[Mark]) -> None:
    """Refuse an empty PostgreSQL beside stores that have a past: theirs is the mesh that lost its database."""
    for mark in others:
        if mark.mesh is not None:
            raise StoreMismatch(
                f"PostgreSQL has no mesh, while {mark.store} belongs to mesh {mark.mesh}: "
                f"the database was emptied, or is another server. {_CURE}"
            )


async def _claim(identity: MeshIdentity, redis: Redis, ledger: LedgerMark) -> None:
    """Mark what carries no mark yet; the tick that follows compares what stands there."""
    await ledger.claim(identity.id)
    with server():
        for slot in identity.slots:
            await _CLAIM.run(redis, [keys.mesh(slot)], [str(identity.id), identity.epoch])


async def _advance(
    identity: MeshIdentity, pool: Pool, redis: Redis, ledger: LedgerMark, *, since: int, until: int
) -> None:
    await ledger.advance(identity.id, since=since, until=until)
    with server():
        for slot in identity.slots:
            if not await _TICK.run(redis, [keys.mesh(slot)], [str(identity.id), identity.epoch, until]):
                raise StoreMismatch(f"{_named(slot)} lost its mark, or its epoch, while the mesh was running. {_CURE}")
    with database():
        await pool.execute("UPDATE pm.mesh SET tick = $1 WHERE tick < $1", until)
