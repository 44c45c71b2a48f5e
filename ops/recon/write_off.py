"""Writing a difference off: one person asks for it with evidence, another approves, and the house bears it.

No transfer is made by that; what has to be booked is booked by ordinary intents. This module must never let one person
do both.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from ops.audit import audit
from ops.dlq.requests import OnePerson, Person, check_people
from ops.recon.breaks import Found, check_evidence, check_open, close_on_record, find_break
from ops.refusals import Refused
from ops.statements import statement
from reconciler.breaks import BreakState
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput

LISTED_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Request:
    """A request as people see it."""

    id: int
    break_id: int
    evidence: str
    reason: str
    requested_by: str
    requester: str
    requested_at: datetime
    decision: str | None
    decided_by: str | None
    decider: str | None
    decision_reason: str | None
    decided_at: datetime | None


async def request_write_off(pool: Pool, number: int, person: Person, *, reason: str, evidence: str) -> int:
    """Write a request down, and return its number.

    Raises:
        BadInput: there is no such break, it is closed, or has been asked for.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    found = await find_break(pool, number)
    check_open(found)
    if not person.name.strip():
        raise BadInput("say who asks: --requested-by", code="no_name")
    row = (number, check_evidence(evidence), reason, person.name, person.actor)
    with database():
        async with pool.acquire() as connection, connection.transaction():
            request: int | None = await connection.fetchval(statement("recon/insert_request"), *row)
            if request is None:
                raise Refused(f"break {number} has been asked to be written off; see `paymesh recon requests`")
            detail = {"request": request, "requested_by": person.name, "break": number, "sides": found.sides}
            await audit(
                connection, actor=person.actor, action="recon.write_off_requested", target=f"break:{number}",
                reason=reason, detail=detail,
            )  # fmt: skip
    return request


async def list_requests(pool: Pool, *, everything: bool = False, number: int | None = None) -> list[Request]:
    """Return the requests that wait for somebody, or all of the last ones, or one.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(statement("recon/list_requests"), everything, number, LISTED_MAX)
    return [Request(**dict(row)) for row in rows]


async def find_request(pool: Pool, number: int) -> Request:
    """Return one request.

    Raises:
        BadInput: there is none of that number.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    found = await list_requests(pool, number=number)
    if not found:
        raise Refused(f"there is no request {number}; see `paymesh recon requests --all`", code="unknown_request")
    return found[0]


async def decide(pool: Pool, number: int, person: Person, *, reason: str, approves: bool) -> Found:
    """Approve a request, by which the break is written off, or decline it, by which it stays open.

    Raises:
        OnePerson: the same person asked for it.
        BadInput: it was decided already, the break is closed, or its figures are not those that were asked about.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    request = await find_request(pool, number)
    if approves:
        check_people(request, person)
    found = await find_break(pool, request.break_id)
    decision = "approved" if approves else "declined"
    told = {"request": number, "requested_by": request.requested_by, "evidence": request.evidence}
    try:
        with database():
            async with pool.acquire() as connection, connection.transaction():
                row = (number, decision, person.name, person.actor, reason)
                if await connection.fetchval(statement("recon/decide_request"), *row) is None:
                    raise Refused(f"request {number} has been decided already", code="decided")
                if approves:
                    state = BreakState.WRITTEN_OFF
                    told["approved_by"] = person.name
                    await close_on_record(connection, found, state, actor=person.actor, reason=reason, evidence=told)
                    # Looked at now, since nobody can change what a break says while this transaction closes it.
                    if not await connection.fetchval(statement("recon/same_figures"), number, found.id):
                        raise Refused(
                            f"break {found.id} has other figures than those that were asked about: decline, ask anew",
                            code="other_figures",
                        )
                else:
                    await audit(
                        connection, actor=person.actor, action="recon.write_off_declined",
                        target=f"break:{found.id}", reason=reason, detail=told,
                    )  # fmt: skip
    except asyncpg.CheckViolationError:
        # The database has the last word on who is who.
        raise OnePerson("whoever asked for it cannot approve it") from None
    return await find_break(pool, request.break_id)
