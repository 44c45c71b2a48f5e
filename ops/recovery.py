"""The way back after a store was lost or restored: which one lags, what would be done, and doing it.

The ledger is what everything else is held against: it is never mended here. A recovery raises the mesh's epoch, so
that every permit and job of the past can only be inquired about; closes the door until the reconciler has explained
every transfer since the oldest store's last tick; marks all slots anew, PSPs' too; and has every PSP asked about what
is open. Nothing is deleted, nothing is decided.

This module must never touch a store of another mesh, and never let an epoch be used twice.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from ops.audit import audit
from ops.refusals import Refused
from ops.statements import statement
from ops.stores import OpenStores
from shared import intake
from shared.db.failures import database
from shared.errors import BadInput, StoreMismatch
from shared.ids import PARTITIONS_MAX
from shared.ledger.mesh_mark import TickingLedger
from shared.mesh import LAG_TICKS_MAX, Mark, MeshIdentity, faults_of, read_identity, read_slots
from shared.streams import keys
from shared.streams.client import server
from shared.streams.script import Script

ACTION: Final = "mesh.recover"
"""What the audit log calls it; its detail is what the reconciler goes by."""
_RAISE: Final = Script("mesh_raise")
_LAST: Final = "SELECT detail FROM pm.audit_log WHERE action = $1 ORDER BY id DESC LIMIT 1"
_ADOPT: Final = """
UPDATE pm.mesh SET epoch = $1, partitions = greatest(partitions, $2), tick = greatest(tick, $3) WHERE epoch = $4
RETURNING 1
"""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is wrong with the stores, and what a recovery would do.

    Attributes:
        identity: who the mesh is, as PostgreSQL says.
        faults: a sentence per store that lags, was emptied, or is of an older epoch.
        refusals: why nothing can be recovered here; empty where it can.
        epoch: the one that would be raised to.
        partitions: how many there are; a restored database may have forgotten some.
        tick: the newest of any store.
        since_ns: the ledger's time from which every transfer has to be explained.
        redis_lost: a slot lost its mark, and with it permits, jobs and results.
        database_restored: PostgreSQL forgot what it knew since.
        planned: intents that are only planned; they are carried out, and their PSPs only asked.
        at_psps: intents whose PSP is asked anew.
        unsent: jobs in the outbox, which become questions.
        cancellations: sent again, where Redis lost them.
    """

    identity: MeshIdentity
    faults: tuple[str, ...]
    refusals: tuple[str, ...]
    epoch: int
    partitions: int
    tick: int
    since_ns: int
    redis_lost: bool
    database_restored: bool
    planned: int
    at_psps: int
    unsent: int
    cancellations: int


async def look(stores: OpenStores) -> Outlook:
    """Look at all three stores.

    Raises:
        StoreMismatch: the database belongs to no mesh: restore its newest copy first, however old.
        Transient, OutcomeUnknown: a store is out of reach; a recovery needs all of them.
    """
    identity, database_mark = await read_identity(stores.pool)
    if identity.ledger_kind != stores.settings.ledger_kind:
        raise StoreMismatch(f"this mesh keeps its books in {identity.ledger_kind}; mend TIGERBEETLE_ADDRESSES first")
    ledger = TickingLedger(stores.ledger())
    books = await ledger.read()
    partitions = await _partitions(stores, identity)
    slots = await read_slots(stores.redis, (*map(keys.slot, range(partitions)), *identity.psps))
    marks = [database_mark, *slots, books]
    tick = max(mark.tick for mark in marks)
    with database():
        left = await stores.pool.fetchrow(statement("recovery_left"))
    return Outlook(
        identity=identity,
        faults=tuple(faults_of(identity, marks)),
        refusals=tuple(_refusals(identity, database_mark, slots, books, tick)),
        epoch=max(identity.epoch, *(mark.epoch or 0 for mark in slots)) + 1,
        partitions=partitions,
        tick=tick,
        since_ns=await _since_ns(stores, ledger, identity, database_mark.tick),
        redis_lost=any(mark.mesh is None or tick - mark.tick > LAG_TICKS_MAX for mark in slots),
        database_restored=tick - database_mark.tick > LAG_TICKS_MAX,
        **dict(left or {}),
    )


async def recover(stores: OpenStores, *, reason: str, actor: str, anyway: bool = False) -> Outlook:
    """Raise the epoch, close the door, mark the slots; safe to interrupt, and to repeat: each time is a new epoch.

    Raises:
        BadInput: nothing is wrong (unless `anyway`), or somebody else recovers at this moment; no reason.
        StoreMismatch: nothing can be recovered here; see `Outlook.refusals`.
        Transient, OutcomeUnknown: a store is out of reach; recover again.
    """
    if not reason.strip():
        raise BadInput("say why: --reason", code="no_reason")
    outlook = await look(stores)
    if outlook.refusals:
        raise StoreMismatch("; ".join(outlook.refusals))
    if not outlook.faults and not anyway:
        raise Refused("the stores agree: there is nothing to recover; see --anyway", code="nothing_to_recover")
    await _decide(stores, outlook, reason=reason, actor=actor)
    # From here on nothing is accepted, and nothing of the past can be submitted; a crash leaves the marks behind, no
    # process starts without them, and recovering again makes them.
    await _mark(stores, outlook)
    return outlook


async def _decide(stores: OpenStores, outlook: Outlook, *, reason: str, actor: str) -> None:
    """Write down everything that the database has to say about it, in one transaction."""
    detail: dict[str, Any] = {
        "epoch": outlook.epoch,
        "since_ns": outlook.since_ns,
        "faults": outlook.faults,
        "redis_lost": outlook.redis_lost,
        "database_restored": outlook.database_restored,
    }
    with database():
        async with stores.pool.acquire() as connection, connection.transaction():
            adopted = await connection.fetchval(
                _ADOPT, outlook.epoch, outlook.partitions, outlook.tick, outlook.identity.epoch
            )
            if not adopted:
                raise Refused("somebody else recovers this mesh; look again", code="recovering")
            await intake.close(connection, intake.Why.RECOVER, reason=reason, by=actor)
            if outlook.redis_lost:
                await connection.execute(statement("recovery_resend"))
            await connection.execute(statement("recovery_ask"))
            await audit(connection, actor=actor, action=ACTION, target="mesh", reason=reason, detail=detail)


async def _mark(stores: OpenStores, outlook: Outlook) -> None:
    ledger, identity = TickingLedger(stores.ledger()), outlook.identity
    books = await ledger.read()
    await ledger.advance(identity.id, since=books.tick, until=max(books.tick, outlook.tick))
    for slot in (*map(keys.slot, range(outlook.partitions)), *identity.psps):
        with server():
            words: list[str | bytes | int] = [str(identity.id), outlook.epoch, outlook.tick]
            stands = await _RAISE.run(stores.redis, [keys.mesh(slot)], words)
        if not stands:
            raise StoreMismatch(f"Redis (slot {slot}) was marked by another recovery meanwhile; recover again")


async def _partitions(stores: OpenStores, identity: MeshIdentity) -> int:
    """Return how many partitions there are: a restored database may not know those that were added since."""
    marks = await read_slots(stores.redis, map(keys.slot, range(PARTITIONS_MAX)))
    marked = [number for number, mark in enumerate(marks, start=1) if mark.mesh == identity.id]
    return max([identity.partitions, *marked])


async def _since_ns(stores: OpenStores, ledger: TickingLedger, identity: MeshIdentity, tick: int) -> int:
    """Return when, by the ledger's clock, the database heard its last tick; earlier, if a recovery is under way."""
    since_ns = await ledger.booked_at_ns(identity.id, tick) or 0
    if any(closure.why is intake.Why.RECOVER for closure in await intake.closures(stores.pool)):
        with database():
            before = await stores.pool.fetchval(_LAST, ACTION)
        if before is not None:
            since_ns = min(since_ns, int(json.loads(before)["since_ns"]))
    return since_ns


def _refusals(identity: MeshIdentity, database_mark: Mark, slots: list[Mark], books: Mark, tick: int) -> list[str]:
    refusals = [
        f"{mark.store} belongs to mesh {mark.mesh}: point REDIS_URL at this mesh's server"
        for mark in slots
        if mark.mesh not in (None, identity.id)
    ]
    if database_mark.tick == 0:
        refusals.append("the mesh was never completely installed; run `paymesh migrate`")
    if books.mesh != identity.id:
        whose = "of no mesh" if books.mesh is None else f"of mesh {books.mesh}"
        refusals.append(f"the ledger is {whose}: nothing replaces the books; restore their newest copy")
    elif tick - books.tick > LAG_TICKS_MAX:
        refusals.append(f"the ledger lags {tick - books.tick} ticks: nothing replaces the books; restore a newer copy")
    return refusals
