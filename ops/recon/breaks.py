"""Breaks as people work through them: listed, shown with their history, and closed with evidence.

Nothing here moves money or changes what a break says. A difference that the house is to bear needs two people (see
`ops.recon.write_off`). This module must never close a break without a name, a reason and evidence on record.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from ops.audit import Connection, audit
from ops.refusals import Refused
from ops.statements import statement
from reconciler.breaks import BreakState, Closing, close_breaks
from reconciler.kinds import KINDS, BreakKind
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput

LISTED_MAX: Final = 200
EVIDENCE_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class Found:
    """A break as it stands; `sides` is what each of them says."""

    id: int
    severity: str
    kind: str
    subject: str
    state: str
    psp: str | None
    intent_id: UUID | None
    delta_minor: int | None
    currency: str | None
    seen: int
    first_at: datetime
    last_at: datetime
    closed_at: datetime | None
    sides: dict[str, Any]
    evidence: dict[str, Any]

    @property
    def meaning(self) -> str:
        """What its kind says, in one sentence."""
        try:
            return KINDS[BreakKind(self.kind)].sentence
        except ValueError:
            return "A kind of a newer release."


@dataclass(frozen=True, slots=True)
class Happened:
    """One step of a break's history."""

    seq: int
    from_state: str | None
    to_state: str
    actor: str
    reason: str | None
    evidence: dict[str, Any]
    at: datetime


async def list_breaks(
    pool: Pool, *, kind: str | None = None, psp: str | None = None, everything: bool = False
) -> list[Found]:
    """Return the open breaks, or the last of all, the gravest first; of one kind or PSP where one is given.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(statement("recon/list_breaks"), kind, psp, everything, LISTED_MAX)
    return [_found(row) for row in rows]


async def find_break(pool: Pool, number: int) -> Found:
    """Return one break.

    Raises:
        BadInput: there is none of that number.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        row = await pool.fetchrow("SELECT * FROM pm.reconciliation_break WHERE id = $1", number)
    if row is None:
        raise Refused(f"there is no break {number}; see `paymesh recon breaks --all`", code="unknown_break")
    return _found(row)


async def history_of(pool: Pool, number: int) -> list[Happened]:
    """Return everything that happened to a break, in order.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(statement("recon/break_history"), number)
    return [Happened(**dict(row) | {"evidence": json.loads(row["evidence"])}) for row in rows]


def check_evidence(text: str) -> str:
    """Return what proves it, if it says anything.

    Raises:
        BadInput: it is empty or too long.
    """
    if not 0 < len(text.strip()) <= EVIDENCE_MAX:
        raise BadInput(f"say what it rests on, in 1 to {EVIDENCE_MAX} characters: --evidence")
    return text.strip()


def check_open(found: Found) -> None:
    """Refuse to close what is not open.

    Raises:
        BadInput: it is closed.
    """
    if found.state != BreakState.OPEN:
        raise Refused(f"break {found.id} is {found.state} already", code="closed")


async def close_by_one(
    pool: Pool, number: int, state: BreakState, *, actor: str, reason: str, evidence: str, intent: UUID | None = None
) -> Found:
    """Explain a break, or say that it is resolved.

    Args:
        pool: the database.
        number: which one.
        state: EXPLAINED or RESOLVED.
        actor: who says so.
        reason: why.
        evidence: what that rests on.
        intent: the settled intent that made up for it, where one did.

    Raises:
        BadInput: there is no such break, it is closed, or the intent has not settled.
        Transient, OutcomeUnknown: the database is out of reach; closing again is safe.
    """
    found = await find_break(pool, number)
    check_open(found)
    told: dict[str, Any] = {"evidence": check_evidence(evidence)}
    if intent is not None:
        await _check_settled(pool, intent)
        told["intent"] = str(intent)
    with database():
        async with pool.acquire() as connection, connection.transaction():
            await close_on_record(connection, found, state, actor=actor, reason=reason, evidence=told)
    return await find_break(pool, number)


async def close_on_record(
    connection: Connection, found: Found, state: BreakState, *, actor: str, reason: str, evidence: dict[str, Any]
) -> None:
    """Close a break and write that into the audit log, in the caller's transaction.

    Raises:
        BadInput: somebody has closed it meanwhile; another one that has come in its place stays open.
    """
    closing = Closing(BreakKind(found.kind), found.subject, reason, state, evidence)
    if await close_breaks(connection, [closing], actor=actor) != [found.id]:
        raise Refused(f"break {found.id} has been closed meanwhile", code="closed")
    target = f"break:{found.id}" if found.intent_id is None else f"intent:{found.intent_id}"
    detail = {"break": found.id, "kind": found.kind, "subject": found.subject, "state": state, "sides": found.sides}
    await audit(connection, actor=actor, action="recon.resolve", target=target, reason=reason, detail=detail | evidence)


async def _check_settled(pool: Pool, intent: UUID) -> None:
    with database():
        state = await pool.fetchval("SELECT state FROM pm.intent WHERE id = $1", intent)
    if state != "SETTLED":
        raise Refused(f"intent {intent} is {state or 'unknown'}: it has made up for nothing", code="not_settled")


def _found(row: asyncpg.Record) -> Found:
    values = dict(row) | {"sides": json.loads(row["sides"]), "evidence": json.loads(row["evidence"])}
    if values["delta_minor"] is not None:
        values["delta_minor"] = int(values["delta_minor"])
    return Found(**values)
