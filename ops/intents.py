"""One intent, with everything it can say for itself: its states, its plan, its movements, and where it waits.

Of one that asks a PSP also what the payer has to do, our reference there, what the PSP said, what was resolved on it,
and which intents that has led to. It reads projections and streams only. This module must never open a sealed field.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis

from ops.statements import statement
from shared.db.pool import Pool
from shared.ids import parse_intent_id, unix_ms_of
from shared.sealing import is_sealed
from shared.streams.accept import acc_owner

RESULTS_MAX: Final = 200
"""How many words of a PSP are told, the first."""
_SEALED: Final = frozenset({"from_name", "to_name", "comment", "proxy", "recipient_name", "qr"})
_HIDDEN: Final = "(sealed)"
_JSON: Final = ("operation", "plan", "detail", "next_action", "psp_ids", "summary")
_INTENT: Final = "SELECT * FROM pm.intent WHERE id = $1"
_EVENTS: Final = "SELECT seq, from_state, to_state, detail, at FROM pm.intent_event WHERE intent_id = $1 ORDER BY seq"
_ATTEMPTS: Final = (
    "SELECT attempt, plan, burned_at, created_at FROM pm.intent_attempt WHERE intent_id = $1 ORDER BY attempt"
)
_REFERENCES: Final = (
    "SELECT attempt, psp, reference, psp_ids, created_at FROM pm.psp_reference WHERE intent_id = $1 ORDER BY attempt"
)
_JOBS: Final = (
    "SELECT attempt, action, psp, created_at, sent_at FROM pm.outbox_event WHERE intent_id = $1 ORDER BY created_at"
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
    references: list[dict[str, Any]] = field(default_factory=list)
    """What we call it at a PSP, an attempt each, and what the PSP calls it."""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    """What was written to the outbox for the PSP, and when it left."""
    results: list[dict[str, Any]] = field(default_factory=list)
    """What the PSP said, masked."""
    resolutions: list[dict[str, Any]] = field(default_factory=list)
    """What was resolved on that, an attempt each."""
    children: list[dict[str, Any]] = field(default_factory=list)
    """The intents that its payments have opened."""


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
        references=await _fetch(pool, _REFERENCES, intent),
        jobs=await _fetch(pool, _JOBS, intent),
        results=await _fetch(pool, statement("intent_results"), intent, RESULTS_MAX),
        resolutions=await _fetch(pool, statement("intent_resolutions"), intent),
        children=await _fetch(pool, statement("intent_children"), intent),
    )


async def _fetch(pool: Pool, sql: str, intent: UUID, *more: object) -> list[dict[str, Any]]:
    return [_columns(dict(row)) for row in await pool.fetch(sql, intent, *more)]


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    """Take JSON columns apart, and cover what is sealed."""
    for name in _JSON:
        if isinstance(row.get(name), str):
            row[name] = json.loads(row[name])
    operation, plan = row.get("operation"), row.get("plan")
    if isinstance(operation, dict):
        row["operation"] = _covered(operation)
    if isinstance(plan, dict) and isinstance(plan.get("dispatch"), dict):
        asked = plan["dispatch"]
        row["plan"] = plan | {"dispatch": asked | {"destination": _covered(asked.get("destination") or {})}}
    return row


def _covered(words: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _HIDDEN if value is not None and _is_personal(name, value) else value for name, value in words.items()
    }


def _is_personal(name: str, value: object) -> bool:
    return name in _SEALED or (isinstance(value, str) and is_sealed(value))
