"""What a PSP said, into the database, before the ledger is touched (the PG 1 of results).

Who finds another resolution carries that one out; a payment belongs to the intent that it named first, and opens one
child a purpose, however often it is heard of. All of it is safe to repeat. This module must never decide anything.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from orchestrator.cases import Known, Resolution, read_resolution
from orchestrator.plan import plan_child, write_plan
from orchestrator.records import Connection, Stored, read_intents, statement
from orchestrator.resolve import Alert, Open, Purpose, Settle
from shared.accounts import suspense
from shared.contracts import ChildOperation, ChildType, ResultMessage
from shared.db.pool import Pool
from shared.ids import IntentId, partition_of, unix_ms_of
from shared.states import IntentState

NewIntentId = Callable[[int], IntentId]
"""Makes a fresh intent id for a partition."""

_TYPES: Final = {
    Purpose.LATE_CREDIT: ChildType.LATE_CREDIT,
    Purpose.REVERSAL: ChildType.REVERSAL,
    Purpose.SUSPENSE: ChildType.SUSPENSE,
    Purpose.SUSPENSE_REVERSAL: ChildType.SUSPENSE,
}


@dataclass(frozen=True, slots=True)
class Heard:
    """One entry of a results stream and the intent that it speaks of; None where nobody here knows it."""

    entry_id: str
    said: ResultMessage
    intent: UUID | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be settled for an intent, on whose word."""

    known: Known
    settle: Settle
    said: ResultMessage

    def stands_as(self, resolution: Resolution | None) -> bool:
        """Say whether the resolution that stands is what this word asks for."""
        wanted = (self.settle.kind, self.settle.psp_transaction_id)
        return resolution is not None and (resolution.kind, resolution.psp_transaction_id) == wanted


@dataclass(frozen=True, slots=True)
class Opening:
    """A child that is to be opened for an intent."""

    known: Known
    open: Open


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert about an intent, and what people may read of it."""

    alert: Alert
    intent: UUID | None
    detail: dict[str, object]


async def keep_heard(pool: Pool, psp: str, heard: Sequence[Heard]) -> None:
    """Keep what was heard, and what the PSP calls our references."""
    ordered = sorted(heard, key=lambda one: one.entry_id)
    learnt = {
        one.said.reference: one.said.psp_ids for one in ordered if one.said.reference is not None and one.said.psp_ids
    }
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            statement("insert_psp_results"),
            [psp] * len(ordered),
            [one.entry_id for one in ordered],
            [one.intent for one in ordered],
            [one.said.attempt for one in ordered],
            [one.said.source for one in ordered],
            [one.said.outcome for one in ordered],
            [one.said.model_dump_json(exclude_defaults=True) for one in ordered],
        )
        if learnt:
            references = sorted(learnt)
            await connection.execute(
                statement("learn_psp_ids"),
                [psp] * len(references),
                references,
                [json.dumps(learnt[reference]) for reference in references],
            )


async def owners_of(pool: Pool, psp: str, references: Sequence[str]) -> dict[str, UUID]:
    """Return whose references they are; unknown ones are left out."""
    rows = await pool.fetch(statement("read_references"), [psp] * len(references), references)
    return {row["reference"]: row["intent_id"] for row in rows}


async def settle(
    pool: Pool, psp: str, wanted: Sequence[Wanted], openings: Sequence[Opening], *, new_id: NewIntentId
) -> tuple[dict[UUID, Resolution], dict[tuple[UUID, str, Purpose], Stored]]:
    """Store resolutions and children; return those that stand, by intent, and the children as stored.

    What a word would open besides is not opened where another resolution stands: that word is heard again. A wanted
    intent without a resolution in the answer, or an opening without a child, is one whose payment belongs to
    another intent: what a PSP says twice about one transaction must not be booked twice.
    """
    async with pool.acquire() as connection, connection.transaction():
        standing = await _resolve(connection, psp, wanted) if wanted else {}
        overruled = {one.known.stored.id for one in wanted if not one.stands_as(standing.get(one.known.stored.id))}
        openings = [one for one in openings if one.known.stored.id not in overruled]
        await _keep_payments(connection, psp, wanted, standing, openings)
        own = await _own(connection, psp, openings) if openings else []
        children = await _open(connection, psp, own, new_id) if own else {}
    return standing, children


async def raise_alerts(pool: Pool, raised: Sequence[Raised]) -> None:
    """Tell people."""
    once = {(one.alert.kind, one.alert.subject): one for one in raised}
    ordered = [once[key] for key in sorted(once)]
    if not ordered:
        return
    await pool.execute(
        statement("raise_alerts"),
        ["critical" if one.alert.critical else "warning" for one in ordered],
        [one.alert.kind for one in ordered],
        [one.alert.subject for one in ordered],
        [one.intent for one in ordered],
        [json.dumps(one.detail) for one in ordered],
    )


async def next_ledger_attempt(pool: Pool, known: Known, resolution: Resolution) -> None:
    """Let the next carrying out of a refused resolution use fresh transfer ids; once, whoever asks."""
    await pool.execute(
        statement("next_ledger_attempt"), known.stored.id, known.stored.attempt, resolution.ledger_attempt
    )


def evidence_of(said: ResultMessage) -> dict[str, object]:
    """Return what people may read of a PSP's word: masked, and without what the payer has to do."""
    return said.model_dump(mode="json", exclude_defaults=True, exclude={"raw", "next_action"})


async def _resolve(connection: Connection, psp: str, wanted: Sequence[Wanted]) -> dict[UUID, Resolution]:
    ordered = sorted(wanted, key=lambda one: one.known.stored.id.int)
    await connection.execute(
        statement("insert_resolutions"),
        [one.known.stored.id for one in ordered],
        [one.known.stored.attempt for one in ordered],
        [one.settle.kind for one in ordered],
        [_leads_to(one.settle) for one in ordered],
        [one.settle.code for one in ordered],
        [one.settle.amount_minor for one in ordered],
        [psp] * len(ordered),
        [one.settle.psp_transaction_id for one in ordered],
        [json.dumps(evidence_of(one.said)) for one in ordered],
    )
    rows = await connection.fetch(statement("read_resolutions"), [one.known.stored.id for one in ordered])
    attempts = {one.known.stored.id: one.known.stored.attempt for one in ordered}
    return {
        row["intent_id"]: read_resolution(row, state=row["state"])
        for row in rows
        if row["attempt"] == attempts[row["intent_id"]]
    }


def _leads_to(settle: Settle) -> IntentState:
    if settle.kind in ("post", "credit"):
        return IntentState.SETTLED
    return IntentState.EXPIRED if settle.expired else IntentState.FAILED


async def _keep_payments(
    connection: Connection,
    psp: str,
    wanted: Sequence[Wanted],
    standing: dict[UUID, Resolution],
    openings: Sequence[Opening],
) -> None:
    """Keep payments: as settling where the standing resolution is theirs, as a child's otherwise."""
    rows: dict[str, tuple[object, ...]] = {}
    for one in wanted:
        name, stored = one.said.psp_transaction_id, one.known.stored
        resolution = standing.get(stored.id)
        if name is not None and resolution is not None and resolution.psp_transaction_id == name:
            amount = one.said.amount_minor or one.known.dispatch.amount_minor
            rows[name] = (psp, name, stored.id, stored.attempt, True, amount, one.known.dispatch.currency)
    for opening in openings:
        name, stored = opening.open.psp_transaction_id, opening.known.stored
        amount, currency = opening.open.amount_minor, opening.known.dispatch.currency
        rows.setdefault(name, (psp, name, stored.id, stored.attempt, False, amount, currency))
    if rows:
        columns = zip(*(rows[name] for name in sorted(rows)), strict=True)
        await connection.execute(statement("insert_payments"), *columns)


async def _own(connection: Connection, psp: str, openings: Sequence[Opening]) -> list[Opening]:
    """Return the openings whose payment belongs to their intent."""
    names = sorted({one.open.psp_transaction_id for one in openings})
    rows = await connection.fetch(
        "SELECT psp_transaction_id, intent_id FROM pm.psp_tx_map WHERE psp = $1 AND psp_transaction_id = ANY ($2)",
        psp,
        names,
    )
    owners = {row["psp_transaction_id"]: row["intent_id"] for row in rows}
    return [one for one in openings if owners[one.open.psp_transaction_id] == one.known.stored.id]


async def _open(
    connection: Connection, psp: str, openings: Sequence[Opening], new_id: NewIntentId
) -> dict[tuple[UUID, str, Purpose], Stored]:
    by_key = {(one.open.psp_transaction_id, one.open.purpose): one for one in openings}
    ordered = sorted(by_key)
    await connection.execute(
        statement("insert_children"),
        [psp] * len(ordered),
        [name for name, _ in ordered],
        [purpose for _, purpose in ordered],
        [new_id(partition_of(by_key[key].known.stored.id)) for key in ordered],
        [by_key[key].known.stored.id for key in ordered],
    )
    rows = await connection.fetch(
        statement("read_children"), psp, [name for name, _ in ordered], [purpose for _, purpose in ordered]
    )
    allocated = {(row["psp_transaction_id"], Purpose(row["purpose"])): row["child_id"] for row in rows}
    children = sorted(((allocated[key], by_key[key]) for key in ordered), key=lambda child: child[0].int)
    columns = zip(*(_child_row(IntentId(child), opening, psp) for child, opening in children), strict=True)
    await connection.execute(statement("insert_child_intents"), *columns)
    stored = await read_intents(connection, [child for child, _ in children])
    return {
        (one.known.stored.id, one.open.psp_transaction_id, one.open.purpose): stored[child][0]
        for child, one in children
    }


def _child_row(child: IntentId, opening: Opening, psp: str) -> tuple[object, ...]:
    wanted, known = opening.open, opening.known
    kind, ccy = _TYPES[wanted.purpose], known.dispatch.currency
    operation = ChildOperation(
        operation_type=kind,
        account=suspense(psp, ccy) if kind is ChildType.SUSPENSE else known.wallet,
        direction=wanted.direction,
        amount_minor=wanted.amount_minor,
        currency=ccy,
        psp=psp,
        psp_transaction_id=wanted.psp_transaction_id,
    )
    plan = plan_child(operation)
    return (
        child,
        known.stored.id,
        f"{psp}:{wanted.purpose}:{wanted.psp_transaction_id}",
        kind,
        wanted.amount_minor,
        ccy,
        plan.channel,
        operation.model_dump_json(),
        write_plan(plan),
        datetime.fromtimestamp(unix_ms_of(child) / 1000, UTC),
    )
