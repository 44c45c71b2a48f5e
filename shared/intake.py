"""The door's own switch: whether anything new may be accepted at all, and who closed it.

A closure is a row of the kill switch, `pm.psp_control`, under a PSP's name that no PSP can have: ``*`` is the mesh
itself, and the operation says why. Gateways look every second. There may be two at once, and the door is open only
when there is none. Replays of what was accepted before are answered all the same, and whatever is under way goes on.

This module must never open what somebody else has closed for another reason.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shared.db.failures import database
from shared.db.pool import Pool

if TYPE_CHECKING:
    Connection = PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
else:
    Connection = PoolConnectionProxy

MESH: Final = "*"
_SELECT: Final = "SELECT operation, reason, paused_by, paused_at FROM pm.psp_control WHERE psp = $1 ORDER BY operation"
_CLOSE: Final = """
INSERT INTO pm.psp_control (psp, operation, reason, paused_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (psp, operation) DO UPDATE SET reason = excluded.reason
"""
_OPEN: Final = "DELETE FROM pm.psp_control WHERE psp = $1 AND operation = $2 RETURNING 1"


class Why(StrEnum):
    """What the door was closed for."""

    DRAIN = "drain"
    """Somebody wants the mesh empty."""
    RECOVER = "recover"
    """A store was lost or restored, and the reconciler has not caught up with the ledger."""


@dataclass(frozen=True, slots=True)
class Closure:
    """One reason for which nothing new is accepted."""

    why: Why
    reason: str
    by: str
    since: datetime


async def closures(pool: Pool) -> list[Closure]:
    """Return why the door is closed; nothing, where it is open.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(_SELECT, MESH)
    return [Closure(Why(row["operation"]), row["reason"], row["paused_by"], row["paused_at"]) for row in rows]


async def close(connection: Connection, why: Why, *, reason: str, by: str) -> None:
    """Close the door, in the caller's transaction; gateways have seen it within a second and a half."""
    await connection.execute(_CLOSE, MESH, why, reason, by)


async def reopen(connection: Connection, why: Why) -> bool:
    """Take one closure back, in the caller's transaction; say whether there was one."""
    return bool(await connection.fetchval(_OPEN, MESH, why))
