"""The database half of the saga: plans in (PG 1), decisions in (PG 2), both set-based and in sorted order.

PG 1 writes every intent with its whole plan *before* the ledger is touched, and answers with what is stored: an
earlier plan always wins over the one just made. PG 2 records decisions by compare-and-set on the intent's version.
Neither ever decides anything; both are safe to repeat.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from orchestrator.plan import Plan, Refusal, read_plan, write_plan
from orchestrator.saga import Decision
from shared.contracts import IntentMessage
from shared.db.pool import Pool
from shared.errors import require
from shared.ids import IntentId, unix_ms_of
from shared.states import IntentState

if TYPE_CHECKING:
    Connection = PoolConnectionProxy[asyncpg.Record]
else:
    Connection = PoolConnectionProxy


@cache
def _sql(name: str) -> str:
    return files("orchestrator").joinpath(f"sql/{name}.sql").read_text()


@dataclass(frozen=True, slots=True)
class Draft:
    """An accepted intent on its way into the log: its message and what planning made of it."""

    id: IntentId
    message: IntentMessage
    outcome: Plan | Refusal
    alias_of: UUID | None = None

    @property
    def state(self) -> IntentState:
        """The state it is recorded in."""
        if self.alias_of is not None:
            return IntentState.DUPLICATE
        return IntentState.VALIDATED if isinstance(self.outcome, Plan) else IntentState.REJECTED


@dataclass(frozen=True, slots=True)
class Stored:
    """An intent as the log has it; `plan` is None where there is nothing to carry out."""

    id: IntentId
    state: IntentState
    version: int
    attempt: int
    plan: Plan | None


@dataclass(frozen=True, slots=True)
class Movement:
    """One leg's effect on one customer account; `amount_minor` is signed, credits are positive."""

    account_id: UUID
    transfer_id: UUID
    amount_minor: int
    code: int
    at: datetime
    """When it entered the books, by the ledger's clock."""


@dataclass(frozen=True, slots=True)
class Record:
    """A decision about a stored intent, ready to be written."""

    stored: Stored
    decision: Decision
    movements: tuple[Movement, ...]


async def record_drafts(pool: Pool, drafts: Sequence[Draft]) -> dict[UUID, Stored]:
    """Write the drafts (PG 1) and return every intent as stored, by id.

    A draft whose idempotency key belongs to an earlier intent is recorded as that one's DUPLICATE, or REJECTED where
    the request differs.

    Raises:
        InvariantViolation: an id is already in use for another request.
    """
    if not drafts:
        return {}
    async with pool.acquire() as connection, connection.transaction():
        settled = await _bind_keys(connection, drafts)
        new = await _insert(connection, settled)
        known = [draft for draft in settled if draft.id not in new]
        stored = await read_intents(connection, [draft.id for draft in known]) if known else {}
        # Before the commit: a contradiction must leave nothing behind, least of all its idempotency key.
        _check_identity(known, stored)
    return {draft.id: new.get(draft.id) or stored[draft.id][0] for draft in settled}


async def _bind_keys(connection: Connection, drafts: Sequence[Draft]) -> list[Draft]:
    """Claim every draft's idempotency key; mark those whose key an earlier intent holds."""
    by_key = sorted(drafts, key=lambda draft: (draft.message.service_key, draft.message.idempotency_key, draft.id))
    claimed = await connection.fetch(
        _sql("claim_keys"),
        [draft.message.service_key for draft in by_key],
        [draft.message.idempotency_key for draft in by_key],
        [draft.message.fingerprints[0] for draft in by_key],
        [draft.id for draft in by_key],
    )
    mine = {row["intent_id"] for row in claimed}
    others = [draft for draft in by_key if draft.id not in mine]
    if not others:
        return list(drafts)
    rows = await connection.fetch(
        _sql("read_keys"),
        [draft.message.service_key for draft in others],
        [draft.message.idempotency_key for draft in others],
    )
    holders = {(row["service_key_id"], row["key"]): (row["intent_id"], row["fingerprint"]) for row in rows}
    return [
        draft
        if draft.id in mine
        else _against_holder(draft, *holders[draft.message.service_key, draft.message.idempotency_key])
        for draft in drafts
    ]


def _against_holder(draft: Draft, holder: UUID, fingerprint: str) -> Draft:
    """Say what a draft becomes when `holder` has its idempotency key.

    A fingerprint made with a key that has left the ring cannot be compared; then the draft counts as the same
    request, since an alias can cost an explanation but never a second payment.
    """
    if holder == draft.id:
        return draft
    kids = {known.partition(":")[0] for known in draft.message.fingerprints}
    same = fingerprint in draft.message.fingerprints or fingerprint.partition(":")[0] not in kids
    if same:
        return replace(draft, alias_of=holder)
    return replace(
        draft,
        outcome=Refusal("idempotency_key_reused", "this idempotency key belongs to an earlier, different request"),
    )


async def _insert(connection: Connection, drafts: Sequence[Draft]) -> dict[UUID, Stored]:
    """Insert the drafts and return those that were new, as stored."""
    by_id = sorted(drafts, key=lambda draft: draft.id.int)
    columns = zip(*(_row(draft) for draft in by_id), strict=True)
    inserted = {row["id"] for row in await connection.fetch(_sql("insert_intents"), *columns)}
    return {
        draft.id: Stored(draft.id, draft.state, 1, 1, _plan_to_carry_out(draft))
        for draft in by_id
        if draft.id in inserted
    }


def _plan_to_carry_out(draft: Draft) -> Plan | None:
    return draft.outcome if draft.alias_of is None and isinstance(draft.outcome, Plan) else None


def _row(draft: Draft) -> tuple[object, ...]:
    message, operation, plan = draft.message, draft.message.operation, _plan_to_carry_out(draft)
    refusal = draft.outcome if draft.alias_of is None and isinstance(draft.outcome, Refusal) else None
    return (
        draft.id,
        message.service_key,
        message.user_id,
        message.idempotency_key,
        operation.operation_type,
        plan.channel if plan else None,
        operation.amount_minor,
        operation.currency,
        draft.state,
        refusal.code if refusal else None,
        refusal.detail if refusal else None,
        draft.alias_of,
        operation.requires_monitoring,
        array_literal(operation.metadata.tags),
        operation.model_dump_json(),
        datetime.fromtimestamp(unix_ms_of(draft.id) / 1000, UTC),
        write_plan(plan) if plan else None,
    )


def array_literal(texts: Iterable[str]) -> str:
    """Write a PostgreSQL text[] literal; arrays of arrays cannot be unnested row by row."""
    return "{" + ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts) + "}"


async def read_intents(connection: Connection | Pool, ids: Sequence[UUID]) -> dict[UUID, tuple[Stored, str, str]]:
    """Return the intents as stored, each with its service key and idempotency key, by id; unknown ids are left out."""
    rows = await connection.fetch(_sql("read_intents"), ids)
    return {
        row["id"]: (
            Stored(
                IntentId(row["id"]),
                IntentState(row["state"]),
                row["version"],
                row["attempt"],
                read_plan(row["plan"]) if row["plan"] is not None else None,
            ),
            row["service_key_id"],
            row["idempotency_key"],
        )
        for row in rows
    }


def _check_identity(drafts: Iterable[Draft], stored: dict[UUID, tuple[Stored, str, str]]) -> None:
    for draft in drafts:
        _, service_key, key = stored[draft.id]
        same = (service_key, key) == (draft.message.service_key, draft.message.idempotency_key)
        require(same, f"intent {draft.id} is already in use for another request")


async def record_decisions(pool: Pool, records: Sequence[Record]) -> set[UUID]:
    """Write decisions (PG 2) and return the intents that took them; the others had moved on already."""
    if not records:
        return set()
    by_id = sorted(records, key=lambda record: record.stored.id.int)
    events = [event for record in by_id for event in _events(record)]
    movements = [
        (record.stored.id, move.account_id, move.transfer_id, move.amount_minor, move.code, move.at)
        for record in by_id
        for move in record.movements
    ]
    ids = [record.stored.id for record in by_id]
    async with pool.acquire() as connection, connection.transaction():
        await connection.fetch(_sql("lock_intents"), ids)
        changed = await connection.fetch(
            _sql("decide_intents"),
            ids,
            [record.stored.version for record in by_id],
            [record.stored.version + len(record.decision.path) - 1 for record in by_id],
            [record.decision.state for record in by_id],
            [record.decision.funds for record in by_id],
            [record.decision.error_code for record in by_id],
            [record.decision.error_detail for record in by_id],
            *_columns(events, 5),
            *_columns(movements, 6),
        )
    return {row["id"] for row in changed}


def _events(record: Record) -> Iterable[tuple[object, ...]]:
    path = record.decision.path
    for step, (before, after) in enumerate(pairwise(path), start=1):
        yield record.stored.id, record.stored.version + step, before, after, record.decision.event_detail(after)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[tuple[object, ...]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width
