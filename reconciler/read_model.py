"""What the read model should show of an intent: its movements of wallets, held against `pm.tx_history`.

Pure. What is expected follows from the stored plan and from what was resolved about it, as whoever records a decision
writes it; when it entered the books is the ledger's word. This module must never judge an intent whose state is in
question, and never a wallet's balance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from reconciler.faults import Books, Fault
from reconciler.kinds import BreakKind
from reconciler.plans import Attempt, Planned, Transfers
from shared.ledger.chain import id_of_account
from shared.ledger.planned import leg_amounts, paid_legs
from shared.plans import Leg, PlanKind
from shared.states import IntentState

_TOLERANCE: Final = timedelta(seconds=1)
_CUSTOMERS: Final = ("user:", "merchant:")


@dataclass(frozen=True, slots=True, order=True)
class RowKey:
    """Names one row of the history: whose, and of which transfer."""

    account_id: UUID
    transfer_id: UUID

    def __str__(self) -> str:
        return f"{self.account_id}:{self.transfer_id}"


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """What a row says; amounts are signed, credits positive. `at` is None where the ledger does not have it (yet)."""

    intent_id: UUID
    amount_minor: int
    code: int
    at: datetime | None


History = Mapping[RowKey, HistoryRow]


def booked_at(timestamp_ns: int) -> datetime:
    """Return a time of the ledger's clock, to the microsecond, as decisions are dated by it."""
    return datetime.fromtimestamp(timestamp_ns / 1e9, UTC)


def customers(intent: Planned) -> frozenset[UUID]:
    """Return the wallets that any plan of the intent names."""
    return frozenset(
        UUID(int=id_of_account(name))
        for attempt in intent.attempts.values()
        for leg in attempt.plan.legs
        for name in (leg.debit, leg.credit)
        if name.startswith(_CUSTOMERS)
    )


def expected_history(intent: Planned, booked: Books) -> dict[RowKey, HistoryRow]:
    """Return the rows that the history should have of an intent: none, unless it has settled."""
    attempt = intent.attempts.get(intent.attempt)
    if intent.state is not IntentState.SETTLED or attempt is None:
        return {}
    legs, amounts, chain = _moved(attempt)
    last = booked.get(chain[-1].id) if chain else None
    at = booked_at(last.timestamp) if last is not None else None
    return {
        RowKey(UUID(int=id_of_account(name)), UUID(int=transfer.id)): HistoryRow(
            intent.id, sign * amount, int(leg.code), at
        )
        for leg, amount, transfer in zip(legs, amounts, chain, strict=False)
        for name, sign in ((leg.debit, -1), (leg.credit, 1))
        if name.startswith(_CUSTOMERS)
    }


def _moved(attempt: Attempt) -> tuple[Sequence[Leg], Sequence[int], Transfers]:
    """Return the legs that moved, for how much each, and the chain that moved them."""
    plan, resolved = attempt.plan, attempt.resolved
    if plan.kind is PlanKind.MOVE:
        return plan.legs, [leg.amount_minor for leg in plan.legs], attempt.first
    if resolved is None or resolved.amount_minor is None:
        return (), (), ()
    if plan.kind is PlanKind.HOLD:
        return plan.legs, leg_amounts(plan, resolved.amount_minor), attempt.closing
    paid = paid_legs(plan, resolved.amount_minor)
    return paid, [leg.amount_minor for leg in paid], attempt.closing


def history_faults(expected: History, shown: History) -> Iterator[tuple[RowKey, Fault]]:
    """Compare the rows that there should be with those that there are."""
    for key, row in sorted(expected.items()):
        found = shown.get(key)
        where = f"wallet {key.account_id}, transfer {key.transfer_id}"
        if found is None:
            detail = f"{where}: {row.amount_minor} is missing from the history"
            yield key, Fault(BreakKind.HISTORY_MISSING, detail, where, row.amount_minor, None, -row.amount_minor)
            continue
        for name in ("amount_minor", "code", "intent_id", "at"):
            wanted, said = getattr(row, name), getattr(found, name)
            if not _same(wanted, said):
                detail = f"{where}: {name} is {said} in the history and should be {wanted}"
                delta = said - wanted if name == "amount_minor" else None
                yield (
                    key,
                    Fault(BreakKind.HISTORY_DIFFERS, detail, f"{where}, {name}", _told(wanted), _told(said), delta),
                )
                break
    for key, found in sorted(shown.items()):
        if key not in expected:
            where = f"wallet {key.account_id}, transfer {key.transfer_id}"
            detail = f"{where}: the history shows {found.amount_minor}, which never happened"
            yield key, Fault(BreakKind.HISTORY_EXTRA, detail, where, None, found.amount_minor, found.amount_minor)


def _same(wanted: object, said: object) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, datetime) and isinstance(said, datetime):
        return abs(wanted - said) <= _TOLERANCE
    return wanted == said


def _told(value: object) -> object:
    return value if isinstance(value, int) else str(value)
