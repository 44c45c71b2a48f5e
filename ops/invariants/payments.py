"""The checks that start from what PSPs said: every payment accounted for, our money there, and whose references are.

What a PSP has moved is in the books once: it settled the intent that waited for it, or opened children for the whole
of it. The rows are walked by key, page by page. What a PSP says at this moment is carried out in several steps: what
looks wrong is looked at again until it has stood still for long enough.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg

from ops.invariants.findings import Advance, Check
from ops.statements import statement
from orchestrator.resolve import Purpose
from shared.accounts import at_psp
from shared.db.pool import Pool
from shared.ledger.chain import id_of_account
from shared.ledger.port import Ledger
from shared.operations import ChildType
from shared.plans import CREDIT_REFUSED, PlanKind
from shared.states import TERMINAL, IntentState

PAGE: Final = 500
_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.2
_TYPES: Final = {
    Purpose.LATE_CREDIT: ChildType.LATE_CREDIT,
    Purpose.REVERSAL: ChildType.REVERSAL,
    Purpose.SUSPENSE: ChildType.SUSPENSE,
    Purpose.SUSPENSE_REVERSAL: ChildType.SUSPENSE,
}
_FORTH: Final = frozenset({Purpose.LATE_CREDIT, Purpose.SUSPENSE})
_BACK: Final = frozenset({Purpose.REVERSAL, Purpose.SUSPENSE_REVERSAL})
_PSP_ACCOUNTS: Final = "SELECT name FROM pm.tb_account_map WHERE starts_with(name, 'psp:') ORDER BY name"


@dataclass(frozen=True, slots=True)
class _Child:
    """A child as allocated, and the intent behind it."""

    purpose: Purpose
    parent: str
    state: IntentState | None
    """None where there is no such intent."""
    kind: str | None
    child_of: str | None
    amount_minor: int
    currency: str | None
    direction: str | None


async def check_payments(pool: Pool, check: Check, advance: Advance) -> None:
    """Check that every payment settled its intent or opened children for the whole of it, and every child was paid."""
    after = ("", "")
    while rows := await pool.fetch(statement("invariants/next_payments"), *after, PAGE):
        named = [(row["psp"], row["psp_transaction_id"]) for row in rows]
        after = named[-1]
        check.examined += len(named)
        await _check_page(pool, check, named)
        advance(len(named))
    last = ("", "", "")
    while rows := await pool.fetch(statement("invariants/next_children"), *last, PAGE):
        last = (rows[-1]["psp"], rows[-1]["psp_transaction_id"], rows[-1]["purpose"])
        for row in rows:
            if not row["paid"]:
                payment = f"{row['psp']}:{row['psp_transaction_id']}"
                check.violated(str(row["child_id"]), f"a {row['purpose']} of {payment}, which no PSP has named")


async def check_psp_accounts(ledger: Ledger, pool: Pool, check: Check, advance: Advance) -> None:
    """Check that our money at every PSP has moved by what the PSPs have named, and by nothing else."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        faults, examined = await _psp_accounts(ledger, pool)
        if not faults or time.monotonic() > deadline:
            break
        await asyncio.sleep(_PAUSE_S)
    check.examined = examined
    advance(examined)
    for name, fault in faults.items():
        check.violated(name, fault)


async def check_references(pool: Pool, check: Check, advance: Advance) -> None:
    """Check that every reference at a PSP is the one that its intent has planned to use there."""
    after = ("", "")
    while rows := await pool.fetch(statement("invariants/next_references"), *after, PAGE):
        after = (rows[-1]["psp"], rows[-1]["reference"])
        check.examined += len(rows)
        for row in rows:
            claimed, planned = (row["psp"], row["reference"]), (row["planned_psp"], row["planned_reference"])
            if claimed != planned:
                check.violated(
                    f"{row['psp']}:{row['reference']}",
                    f"attempt {row['attempt']} of intent {row['intent_id']} has planned no such reference",
                )
        advance(len(rows))


async def _check_page(pool: Pool, check: Check, named: Sequence[tuple[str, str]]) -> None:
    """Look at payments, at those that seem wrong again, until they have seemed so for long enough."""
    deadline = time.monotonic() + _PATIENCE_S
    while named:
        columns = [psp for psp, _ in named], [name for _, name in named]
        rows = await pool.fetch(statement("invariants/read_payments"), *columns)
        wrong = {(row["psp"], row["psp_transaction_id"]): faults for row in rows if (faults := list(_faults(row)))}
        if time.monotonic() > deadline:
            for (psp, name), faults in wrong.items():
                for fault in faults:
                    check.violated(f"{psp}:{name}", fault)
            return
        named = list(wrong)
        if named:
            await asyncio.sleep(_PAUSE_S)


def _faults(row: asyncpg.Record) -> Iterator[str]:
    if row["state"] is None or row["plan_kind"] is None:
        yield f"belongs to intent {row['intent_id']}, which has planned no such payment"
        return
    out = row["plan_kind"] == PlanKind.HOLD
    children = [_child(one) for one in json.loads(row["children"])]
    for child in children:
        yield from _child_faults(row["intent_id"], child, out=out, currency=row["currency"])
    if row["settles"]:
        yield from _settling_faults(row)
    under_way = row["settles"] and row["state"] not in TERMINAL
    if under_way or any(child.state is None or child.state not in TERMINAL for child in children):
        return
    yield from _amount_faults(row, children)


def _settling_faults(row: asyncpg.Record) -> Iterator[str]:
    """A payment that settles is the one that was resolved upon, and its intent says so once it is decided."""
    state, kind = IntentState(row["state"]), row["kind"]
    if row["resolved_by"] != row["psp_transaction_id"]:
        yield f"said to settle intent {row['intent_id']}, which was resolved upon {row['resolved_by']}"
    elif state in TERMINAL:
        settled = kind in ("post", "credit") and state is IntentState.SETTLED
        refused = kind == "credit" and state is IntentState.FAILED and row["error_code"] == CREDIT_REFUSED
        taken_back = kind in ("void", "close") and state is IntentState.FAILED
        if not (settled or refused or taken_back):
            yield f"said to settle intent {row['intent_id']}, which was resolved to {kind} and is {state}"


def _amount_faults(row: asyncpg.Record, children: Sequence[_Child]) -> Iterator[str]:
    """All of it settled an intent or went to children; no more than all of it came back."""
    forth = sum(child.amount_minor for child in children if child.purpose in _FORTH and _moved(child))
    back = sum(child.amount_minor for child in children if child.purpose in _BACK and _moved(child))
    if row["settles"] and row["state"] == IntentState.SETTLED:
        forth += row["resolved_minor"] or 0
    # What was taken back before anybody had heard of it never entered the books.
    never = row["settles"] and row["kind"] in ("void", "close")
    expected = 0 if never else row["amount_minor"]
    if not never and row["said_minor"] not in (None, row["amount_minor"]):
        yield f"the PSP said that {row['said_minor']} was paid, and {row['amount_minor']} was kept of it"
    if forth != expected:
        yield f"{expected} was paid, and {forth} is accounted for by intent {row['intent_id']} and its children"
    if back > forth:
        yield f"{forth} was paid, and {back} given back"
    by_purpose = {child.purpose: child for child in children}
    reversal = by_purpose.get(Purpose.REVERSAL)
    if reversal is not None and not _moved(reversal) and Purpose.SUSPENSE_REVERSAL not in by_purpose:
        yield "taken back by the PSP, and neither the wallet nor suspense bears it"


def _child_faults(parent: UUID, child: _Child, *, out: bool, currency: str) -> Iterator[str]:
    if child.state is None:
        yield f"its {child.purpose} was given an id, and there is no such intent"
        return
    if not str(parent) == child.parent == child.child_of:
        yield f"its {child.purpose} belongs to {child.parent}, and as an intent to {child.child_of}"
    forth, back = ("out", "in") if out else ("in", "out")
    expected = (_TYPES[child.purpose], forth if child.purpose in _FORTH else back, currency)
    found = (child.kind, child.direction, child.currency)
    if found != expected:
        yield f"its {child.purpose} is {' '.join(map(str, found))} instead of {' '.join(expected)}"


def _moved(child: _Child) -> bool:
    return child.state is IntentState.SETTLED


def _child(told: dict[str, Any]) -> _Child:
    return _Child(
        purpose=Purpose(told["purpose"]),
        parent=told["parent_id"],
        state=None if told["state"] is None else IntentState(told["state"]),
        kind=told["kind"],
        child_of=told["child_of"],
        amount_minor=told["amount_minor"] or 0,
        currency=told["currency"],
        direction=told["direction"],
    )


async def _psp_accounts(ledger: Ledger, pool: Pool) -> tuple[dict[str, str], int]:
    """Compare each of our accounts at PSPs with the payments named; return the faults, and how many were looked at."""
    opened = [row["name"] for row in await pool.fetch(_PSP_ACCOUNTS)]
    sums = {at_psp(row["psp"], row["currency"]): row for row in await pool.fetch(statement("invariants/sum_payments"))}
    booked = {account.id: account for account in await ledger.lookup_accounts([id_of_account(name) for name in opened])}
    faults = dict.fromkeys(sums.keys() - set(opened), "payments were named, and no such account was opened")
    for name in opened:
        account = booked.get(id_of_account(name))
        moved = account.credits_posted - account.debits_posted if account is not None else 0
        row = sums.get(name)
        decided, down, up = (0, 0, 0) if row is None else (int(row["decided"]), int(row["down"]), int(row["up"]))
        if not decided + down <= moved <= decided + up:
            under_way = f" (and {down} to {up} under way)" if down or up else ""
            faults[name] = f"the PSP named payments of {decided}{under_way}, the ledger says {moved}"
    return faults, len(opened)
