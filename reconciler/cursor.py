"""How far a walk has come: durable, and moved only from where it was found, so that two walks at once do no harm.

This module must never move a cursor in another transaction than the one that keeps what was found on the way.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.breaks import Connection
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool

Position = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a walk stands; an empty position is the beginning."""

    name: str
    position: Position = field(default_factory=dict)
    walked: int = 0
    """How many things it has passed in all."""


async def read_cursor(pool: Pool, name: str) -> Cursor:
    """Return where a walk stands.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        row = await pool.fetchrow("SELECT position, walked FROM pm.reconciliation_cursor WHERE name = $1", name)
    return Cursor(name) if row is None else Cursor(name, json.loads(row["position"]), row["walked"])


async def move_cursor(connection: Connection, cursor: Cursor, after: Position, walked: int) -> bool:
    """Move a cursor on by `walked` things, unless somebody else has meanwhile; say whether it was moved."""
    moved = await connection.fetchval(
        statement("move_cursor"), cursor.name, json.dumps(cursor.position), json.dumps(after), walked
    )
    return moved is not None
