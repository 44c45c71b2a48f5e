"""Alerts as people work through them: read, and closed once somebody has looked.

Alerts are raised by the services, one a subject. What is noticed again opens a closed one again. This module must
never close an alert without a name and a reason on record.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from ops.audit import audit
from ops.refusals import Refused
from ops.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool

LISTED_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that somebody has to look at; `detail` is what was seen, personal data covered."""

    id: int
    severity: str
    kind: str
    subject: str
    intent_id: UUID | None
    seen: int
    first_at: datetime
    last_at: datetime
    closed_at: datetime | None
    detail: dict[str, Any]


async def list_alerts(pool: Pool, *, kind: str | None = None, everything: bool = False) -> list[Alert]:
    """Return the open alerts, or the last of all, the critical first; of one kind where one is given.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(statement("alerts/list"), kind, everything, LISTED_MAX)
    return [_alert(row) for row in rows]


async def find_alert(pool: Pool, number: int) -> Alert:
    """Return one alert.

    Raises:
        BadInput: there is none of that number.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        row = await pool.fetchrow(statement("alerts/find"), number)
    if row is None:
        raise Refused(f"there is no alert {number}; see `paymesh alerts list --all`", code="unknown_alert")
    return _alert(row)


async def close_alert(pool: Pool, number: int, *, actor: str, reason: str) -> bool:
    """Close an alert; say whether it was open.

    Raises:
        BadInput: there is none of that number.
        Transient, OutcomeUnknown: the database is out of reach; closing again is safe.
    """
    alert = await find_alert(pool, number)
    target = f"alert:{number}" if alert.intent_id is None else f"intent:{alert.intent_id}"
    detail = {"alert": number, "kind": alert.kind, "subject": alert.subject, "seen": alert.seen}
    with database():
        async with pool.acquire() as connection, connection.transaction():
            closed = await connection.fetchval(statement("alerts/close"), number)
            if closed is not None:
                await audit(
                    connection, actor=actor, action="alert.close", target=target, reason=reason, detail=detail
                )  # fmt: skip
    return closed is not None


def _alert(row: asyncpg.Record) -> Alert:
    return Alert(**dict(row) | {"detail": json.loads(row["detail"])})
