"""Accepted intents into the log (PG 1): with their whole plan, before the ledger is touched.

An earlier plan always wins over the one just made; what is stored is read in a statement of its own. An idempotency
key and a reference at a PSP each belong to one intent, whoever comes first. This module must never decide anything,
and is safe to repeat.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from orchestrator.records import Connection, Stored, read_intents, statement
from shared.contracts import IntentMessage
from shared.db.pool import Pool
from shared.errors import require
from shared.ids import IntentId, unix_ms_of
from shared.plans import Dispatch, Plan, write_plan
from shared.rules.refusals import Refusal
from shared.states import Funds, IntentState


@dataclass(frozen=True, slots=True)
class Draft:
    """An accepted intent on its way into the log: its message and what planning made of it."""

    id: IntentId
    message: IntentMessage
    outcome: Plan | Refusal
    alias_of: UUID | None = None
    monitored_by: tuple[tuple[str, int], ...] = ()
    """The velocity rules, each with its version, that want it watched."""

    @property
    def watchers(self) -> list[dict[str, object]]:
        """The velocity rules that want it watched, for programs."""
        return [{"rule": rule, "version": version} for rule, version in self.monitored_by]

    @property
    def state(self) -> IntentState:
        """The state it is recorded in."""
        if self.alias_of is not None:
            return IntentState.DUPLICATE
        return IntentState.VALIDATED if isinstance(self.outcome, Plan) else IntentState.REJECTED

    @property
    def dispatch(self) -> Dispatch | None:
        """What its plan asks of a PSP, if anything."""
        plan = _plan_to_carry_out(self)
        return plan.dispatch if plan is not None else None


@dataclass(frozen=True, slots=True)
class Recorded:
    """Drafts in the log: every intent as stored, by id, and those that are new there and are to be watched."""

    stored: dict[UUID, Stored] = field(default_factory=dict)
    monitored: tuple[Draft, ...] = ()


async def record_drafts(pool: Pool, drafts: Sequence[Draft]) -> Recorded:
    """Write the drafts (PG 1) and return what is stored.

    A draft whose idempotency key belongs to an earlier intent is recorded as that one's DUPLICATE, or REJECTED where
    the request differs.

    Raises:
        InvariantViolation: an id is already in use for another request.
    """
    if not drafts:
        return Recorded()
    async with pool.acquire() as connection, connection.transaction():
        settled = await _claim_references(connection, await _bind_keys(connection, drafts))
        new = await _insert(connection, settled)
        known = [draft for draft in settled if draft.id not in new]
        stored = await read_intents(connection, [draft.id for draft in known]) if known else {}
        # Before the commit: a contradiction must leave nothing behind, least of all its idempotency key.
        _check_identity(known, stored)
    return Recorded(
        {draft.id: new.get(draft.id) or stored[draft.id][0] for draft in settled},
        tuple(draft for draft in settled if draft.id in new and draft.monitored_by and draft.alias_of is None),
    )


async def _bind_keys(connection: Connection, drafts: Sequence[Draft]) -> list[Draft]:
    """Claim every draft's idempotency key; mark those whose key an earlier intent holds."""
    by_key = sorted(drafts, key=lambda draft: (draft.message.service_key, draft.message.idempotency_key, draft.id))
    claimed = await connection.fetch(
        statement("claim_keys"),
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
        statement("read_keys"),
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


async def _claim_references(connection: Connection, drafts: Sequence[Draft]) -> list[Draft]:
    """Claim every draft's reference at its PSP; refuse those whose reference is another intent's.

    A provider that is asked about a reference it knows answers for the other payment: it must never be shared.
    """
    asked = {(asked.psp, asked.reference): draft.id for draft in drafts if (asked := draft.dispatch) is not None}
    if not asked:
        return list(drafts)
    wanted = sorted(asked)
    columns = [psp for psp, _ in wanted], [reference for _, reference in wanted]
    await connection.execute(statement("claim_references"), *columns, [asked[key] for key in wanted])
    rows = await connection.fetch(statement("read_references"), *columns)
    owners = {(row["psp"], row["reference"]): row["intent_id"] for row in rows}
    return [
        replace(draft, outcome=_COLLISION)
        # Nobody's: an earlier delivery claimed another one for this intent, and its stored plan is carried out.
        if draft.dispatch is not None
        and owners.get((draft.dispatch.psp, draft.dispatch.reference), draft.id) != draft.id
        else draft
        for draft in drafts
    ]


_COLLISION = Refusal("reference_collision", "the provider's reference for this intent is in use; post it as a new one")


async def _insert(connection: Connection, drafts: Sequence[Draft]) -> dict[UUID, Stored]:
    """Insert the drafts and return those that were new, as stored."""
    by_id = sorted(drafts, key=lambda draft: draft.id.int)
    columns = zip(*(_row(draft) for draft in by_id), strict=True)
    inserted = {row["id"] for row in await connection.fetch(statement("insert_intents"), *columns)}
    return {
        draft.id: Stored(draft.id, draft.state, 1, 1, _plan_to_carry_out(draft), Funds.NONE)
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
        operation.requires_monitoring or bool(draft.monitored_by),
        array_literal(operation.metadata.tags),
        operation.model_dump_json(),
        datetime.fromtimestamp(unix_ms_of(draft.id) / 1000, UTC),
        write_plan(plan) if plan else None,
        refusal.data_json if refusal else None,
        _event(draft, refusal),
    )


def _event(draft: Draft, refusal: Refusal | None) -> str | None:
    """Return the detail of the first event: why it is refused, and which rules want it watched."""
    detail: dict[str, object] = {}
    if refusal is not None:
        detail["error"] = refusal.code
        detail |= refusal.data
    if draft.monitored_by:
        detail["monitored_by"] = draft.watchers
    return json.dumps(detail) if detail else None


def array_literal(texts: Iterable[str]) -> str:
    """Write a PostgreSQL text[] literal; arrays of arrays cannot be unnested row by row."""
    return "{" + ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts) + "}"


def _check_identity(drafts: Iterable[Draft], stored: dict[UUID, tuple[Stored, str, str]]) -> None:
    for draft in drafts:
        _, service_key, key = stored[draft.id]
        same = (service_key, key) == (draft.message.service_key, draft.message.idempotency_key)
        require(same, f"intent {draft.id} is already in use for another request")
