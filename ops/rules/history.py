"""The history of rules: who changed what, when and why, as it was shown to whoever confirmed it.

This module must never change anything.
"""

from dataclasses import dataclass
from datetime import datetime

from ops.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool


@dataclass(frozen=True, slots=True)
class PastChange:
    """A change that was made."""

    id: int
    at: datetime
    actor: str
    reason: str
    undoes: int | None
    """It was a rollback to the state right after this change."""
    diff: str
    entries: list[str]
    """Kind and name of all that it touched."""


async def list_changes(pool: Pool, *, limit: int, change: int | None = None) -> list[PastChange]:
    """Return the latest changes, newest first; or the one of a number.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(statement("rules/list_changes"), change, limit)
    return [PastChange(**dict(row)) for row in rows]
