"""One intent, with everything it can say for itself: its states, its plan, its movements, and where it waits.

It reads projections and streams only. This module must never open a sealed field.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis

from ops.statements import statement
from shared.db.pool import Pool
from shared.ids import parse_intent_id, unix_ms_of
from shared.streams.accept import acc_owner

_SEALED: Final = ("from_name", "to_name", "comment")
_HIDDEN: Final = "(sealed)"
_INTENT: Final = "SELECT * FROM pm.intent WHERE id = $1"
_EVENTS: Final = "SELECT seq, from_state, to_state, detail, at FROM pm.intent_event WHERE intent_id = $1 ORDER BY seq"
_ATTEMPTS: Final = (
    "SELECT attempt, plan, burned_at, created_at FROM pm.intent_attempt WHERE intent_id = $1 ORDER BY attempt"
)


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """An intent as the mesh has it at the moment; times are UTC."""

    id: str
    state: str
    row: dict[str, Any] | None
    """The columns of its row; None while it is in the stream only."""
    events: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    movements: list[dict[str, Any]]
    accepted_at: datetime
    in_stream: bool
    """Whether it still has its acceptance marker: under way, or dead-lettered."""


async def show_intent(pool: Pool, redis: Redis, text: str) -> IntentRecord | None:
    """Return what the mesh knows of an intent, or None where it was never accepted.

    Raises:
        BadInput: not an intent id.
        Transient: a store is out of reach.
    """
    intent = parse_intent_id(text)
    row = await pool.fetchrow(_INTENT, intent)
    marker = await acc_owner(redis, str(intent))
    if row is None:
        # PostgreSQL once more: it may have been recorded, and its marker deleted, between the two looks.
        row = await pool.fetchrow(_INTENT, intent)
    if row is None and marker is None:
        return None
    return IntentRecord(
        id=str(intent),
        state=row["state"] if row is not None else "CREATED",
        row=None if row is None else _columns(dict(row)),
        events=await _fetch(pool, _EVENTS, intent),
        attempts=await _fetch(pool, _ATTEMPTS, intent),
        movements=await _fetch(pool, statement("intent_movements"), intent),
        accepted_at=datetime.fromtimestamp(unix_ms_of(intent) / 1000, UTC),
        in_stream=marker is not None,
    )


async def _fetch(pool: Pool, statement: str, intent: UUID) -> list[dict[str, Any]]:
    return [_columns(dict(row)) for row in await pool.fetch(statement, intent)]


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    """Take JSON columns apart, and cover what is sealed."""
    for name in ("operation", "plan", "detail"):
        if isinstance(row.get(name), str):
            row[name] = json.loads(row[name])
    operation = row.get("operation")
    if isinstance(operation, dict):
        row["operation"] = {
            name: _HIDDEN if name in _SEALED and value is not None else value for name, value in operation.items()
        }
    return row
