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
from orchestrator.plan import plan_child
from orchestrator.records import Connection, Stored, read_intents, statement
from orchestrator.resolve import Alert, Open, Purpose, Settle
from shared.accounts import suspense
from shared.contracts import ResultMessage, Source
from shared.db.pool import Pool
from shared.ids import IntentId, partition_of, unix_ms_of
from shared.operations import ChildOperation, ChildType
from shared.plans import write_plan
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
    """Keep what was heard, and what the PSP calls our references; a callback only adds to what its answers said."""
    ordered = sorted(heard, key=lambda one: one.entry_id)
    answers, hints = _learnt(ordered, hints=False), _learnt(ordered, hints=True)
    references = sorted(answers.keys() | hints.keys())
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
        if references:
            await connection.execute(
                statement("learn_psp_ids"),
                [psp] * len(references),
                references,
                [json.dumps(answers.get(reference, {})) for reference in references],
                [json.dumps(hints.get(reference, {})) for reference in references],
            )


def _learnt(heard: Sequence[Heard], *, hints: bool) -> dict[str, dict[str, str]]:
    ids: dict[str, dict[str, str]] = {}
    for one in heard:
        if one.said.reference is not None and one.said.psp_ids and (one.said.source is Source.CALLBACK) is hints:
            ids.setdefault(one.said.reference, {}).update(one.said.psp_ids)
    return ids


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
        own, claimed = await _claim(connection, psp, wanted)
        standing = await _resolve(connection, psp, own) if own else {}
        overruled = [one for one in wanted if not one.stands_as(standing.get(one.known.stored.id))]
        await _give_back(connection, psp, overruled, standing, claimed)
        passed_over = {one.known.stored.id for one in overruled}
        openings = [one for one in openings if one.known.stored.id not in passed_over]
        opened = await _claim_openings(connection, psp, openings) if openings else []
        children = await _open(connection, psp, opened, new_id) if opened else {}
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


async def _claim(connection: Connection, psp: str, wanted: Sequence[Wanted]) -> tuple[list[Wanted], set[str]]:
    """Claim payments for the intents that they would settle; return the words that may, and the names newly claimed.

    Whose a payment was first stays so, whether it settled anything then or not: it is booked already.
    """
    named = {name: one for one in wanted if (name := one.settle.psp_transaction_id) is not None}
    if not named:
        return list(wanted), set()
    names = sorted(named)
    rows = [
        (
            psp,
            name,
            named[name].known.stored.id,
            named[name].known.stored.attempt,
            True,
            named[name].said.amount_minor or named[name].known.dispatch.amount_minor,
            named[name].known.dispatch.currency,
        )
        for name in names
    ]
    found = await connection.fetch(statement("insert_payments"), *zip(*rows, strict=True))
    owners = await _owners(connection, psp, names)
    own = [
        one
        for one in wanted
        if (name := one.settle.psp_transaction_id) is None or owners[name] == (one.known.stored.id, True)
    ]
    return own, {row["psp_transaction_id"] for row in found}


async def _give_back(
    connection: Connection,
    psp: str,
    overruled: Sequence[Wanted],
    standing: dict[UUID, Resolution],
    claimed: set[str],
) -> None:
    """Give claims back where another resolution stands: the word is heard again, by what that one leaves."""
    names = [
        name
        for one in overruled
        if (name := one.settle.psp_transaction_id or "") in claimed
        and ((found := standing.get(one.known.stored.id)) is None or found.psp_transaction_id != name)
    ]
    if names:
        await connection.execute(
            "DELETE FROM pm.psp_tx_map WHERE psp = $1 AND psp_transaction_id = ANY ($2)", psp, sorted(names)
        )


async def _claim_openings(connection: Connection, psp: str, openings: Sequence[Opening]) -> list[Opening]:
    """Keep the payments that open children; return the openings whose payment belongs to their intent."""
    by_name = {one.open.psp_transaction_id: one for one in openings}
    names = sorted(by_name)
    rows = [
        (
            psp,
            name,
            by_name[name].known.stored.id,
            by_name[name].known.stored.attempt,
            False,
            by_name[name].open.amount_minor,
            by_name[name].known.dispatch.currency,
        )
        for name in names
    ]
    await connection.fetch(statement("insert_payments"), *zip(*rows, strict=True))
    owners = await _owners(connection, psp, names)
    return [one for one in openings if owners[one.open.psp_transaction_id][0] == one.known.stored.id]


async def _owners(connection: Connection, psp: str, names: Sequence[str]) -> dict[str, tuple[UUID, bool]]:
    """Return whose payments they are and whether they settle; in a statement of its own, which sees who was first."""
    rows = await connection.fetch(
        "SELECT psp_transaction_id, intent_id, settles FROM pm.psp_tx_map"
        " WHERE psp = $1 AND psp_transaction_id = ANY ($2)",
        psp,
        names,
    )
    return {row["psp_transaction_id"]: (row["intent_id"], row["settles"]) for row in rows}


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
