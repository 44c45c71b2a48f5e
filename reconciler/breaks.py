"""Breaks: differences between ledger, database and PSP, noted once however often they are seen, and closed on record.

::

    OPEN → EXPLAINED    somebody said why both sides are right as they stand
         → RESOLVED     the difference is gone, or was mended; seen again, the break opens again
         → WRITTEN_OFF  somebody bears it

Noting is idempotent by kind and subject: two reconcilers at once, or the same one again, open one break. This module
must never change what a break is about, and never close one without saying who did and why.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from reconciler.kinds import KINDS, BreakKind
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import require

if TYPE_CHECKING:
    Connection = PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
else:
    Connection = PoolConnectionProxy

RECONCILER: Final = "reconciler"
"""Who opens breaks, and closes those that are gone."""
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('pm.reconciliation_break'))"


class BreakState(StrEnum):
    """What has become of a break."""

    OPEN = "OPEN"
    EXPLAINED = "EXPLAINED"
    RESOLVED = "RESOLVED"
    WRITTEN_OFF = "WRITTEN_OFF"


@dataclass(frozen=True, slots=True)
class Break:
    """A difference as it is seen.

    Attributes:
        kind: what differs; it decides how grave it is.
        subject: the one thing that differs, in a form that names it for ever: an intent id, an account name, a line
            of a file. Kind and subject make two sightings the same. No personal data.
        sides: what each side says, by its name (``ledger``, ``database``, ``plan``, ``psp`` …).
        psp: whose payment it is about.
        intent_id: which intent it is about.
        delta_minor: by how much money the sides differ, where that is one number; needs `currency`.
        currency: of that.
        evidence: where it was seen: a transfer's time, a file with its SHA-256 and line. No personal data.
    """

    kind: BreakKind
    subject: str
    sides: Mapping[str, Any] = field(default_factory=dict)
    psp: str | None = None
    intent_id: UUID | None = None
    delta_minor: int | None = None
    currency: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Closing:
    """How an open break ends; `reason` is a sentence, `evidence` what it rests on."""

    kind: BreakKind
    subject: str
    reason: str
    state: BreakState = BreakState.RESOLVED
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Noted:
    """What became of sightings: the breaks that were opened by them, or again, and those that had been known."""

    opened: tuple[int, ...] = ()
    known: tuple[int, ...] = ()


async def open_breaks(where: Connection | Pool, breaks: Sequence[Break], *, actor: str = RECONCILER) -> Noted:
    """Note differences, each once a kind and subject however often and by whomever it is seen.

    Args:
        where: a pool, or a connection whose transaction the breaks are to share; until that ends, nobody else notes or
            closes any.
        breaks: what is seen now; of two that are the same the last counts.
        actor: who saw it.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach; note them again.
    """
    if not breaks:
        return Noted()
    unique = {(one.kind, one.subject): one for one in breaks}
    rows = [_row(unique[key]) for key in sorted(unique)]
    with database():
        async with _transaction(where) as connection:
            await connection.execute(_LOCK)
            noted = await connection.fetch(statement("open_breaks"), *zip(*rows, strict=True), actor)
    return Noted(
        opened=tuple(row["id"] for row in noted if row["opened"]),
        known=tuple(row["id"] for row in noted if not row["opened"]),
    )


async def close_breaks(where: Connection | Pool, closings: Sequence[Closing], *, actor: str = RECONCILER) -> list[int]:
    """Close breaks that are open, with reason and evidence in their history; return their numbers.

    What is not open, or was never noted, is left as it is: closing again is safe.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach; close them again.
    """
    if not closings:
        return []
    unique = {(one.kind, one.subject): one for one in closings}
    for one in unique.values():
        require(one.state is not BreakState.OPEN and bool(one.reason.strip()), f"{one.kind} is closed without a reason")
    rows = [
        (str(one.kind), one.subject, str(one.state), one.reason, json.dumps(dict(one.evidence)))
        for _, one in sorted(unique.items())
    ]
    with database():
        async with _transaction(where) as connection:
            await connection.execute(_LOCK)
            closed = await connection.fetch(statement("close_breaks"), *zip(*rows, strict=True), actor)
    return [row["id"] for row in closed]


def _row(one: Break) -> tuple[object, ...]:
    return (
        str(one.kind),
        str(KINDS[one.kind].severity),
        one.subject,
        one.psp,
        one.intent_id,
        json.dumps(dict(one.sides)),
        one.delta_minor,
        one.currency,
        json.dumps(dict(one.evidence)),
    )


@asynccontextmanager
async def _transaction(where: Connection | Pool) -> AsyncIterator[Connection]:
    """Open a transaction on a pool, or a savepoint in the caller's."""
    if isinstance(where, asyncpg.Pool):
        async with where.acquire() as connection, connection.transaction():
            yield connection
    else:
        async with where.transaction():
            yield where
