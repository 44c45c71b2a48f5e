"""The checks that walk the intents: what each says of its money against the ledger, leg by leg.

They walk the log by primary key, page by page, and look each page up in the ledger in one request. Whatever the log
says has been in the ledger since before, so that a mesh at work gives no false alarm. This module must never conclude
anything about an intent that is only planned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import tigerbeetle as tb

from ops.invariants.findings import Advance, Check
from ops.invariants.plans import TERMINAL_UNMOVED, Attempt, Planned, Resolved, Transfers, next_planned
from orchestrator.settlement import CREDIT_REFUSED
from shared.db.pool import Pool
from shared.ledger.port import Ledger
from shared.plans import PlanKind, ResolutionKind
from shared.states import TERMINAL, IntentState

PAGE: Final = 500
_FIRST: Final = UUID(int=0)
_CLOSED: Final = frozenset({IntentState.FAILED, IntentState.EXPIRED})
_COMPARED: Final = (
    "amount", "debit_account_id", "credit_account_id", "ledger", "code", "flags", "pending_id", "user_data_128",
)  # fmt: skip

_RESOLUTIONS: Final[dict[PlanKind, frozenset[ResolutionKind]]] = {
    PlanKind.MOVE: frozenset(),
    PlanKind.HOLD: frozenset({"post", "void"}),
    PlanKind.CREDIT: frozenset({"credit", "close"}),
}
Books = dict[int, tb.Transfer]


@dataclass(frozen=True, slots=True)
class IntentChecks:
    """The checks that an intent is counted by, each by its state, and the one about its reference at a PSP."""

    settled: Check
    unmoved: Check
    released: Check
    under_way: Check
    references: Check

    def of(self, state: IntentState) -> Check:
        """Return the check that intents of a state are counted by."""
        if state is IntentState.SETTLED:
            return self.settled
        if state in TERMINAL_UNMOVED:
            return self.unmoved
        return self.released if state in _CLOSED else self.under_way


async def check_intents(ledger: Ledger, pool: Pool, checks: IntentChecks, *, until: UUID, advance: Advance) -> None:
    """Check every intent up to `until` that is past planning."""
    after = _FIRST
    while page := await next_planned(pool, after=after, until=until, limit=PAGE):
        after = page[-1].id
        wanted = [transfer.id for intent in page for transfer in intent.transfers]
        booked = {transfer.id: transfer for transfer in await ledger.lookup_transfers(wanted)}
        for intent in page:
            check = checks.of(intent.state)
            check.examined += 1
            for fault in _intent_faults(intent, booked):
                check.violated(str(intent.id), fault)
            for fault in _reference_faults(intent):
                checks.references.violated(str(intent.id), fault)
        advance(len(page))


def _intent_faults(intent: Planned, booked: Books) -> Iterator[str]:
    if intent.fault is not None:
        yield intent.fault
        return
    if intent.parent != intent.child_of:
        yield f"a child of {intent.parent}, and registered as one of {intent.child_of}"
    present = intent.attempts.get(intent.attempt)
    if present is None and intent.state not in TERMINAL_UNMOVED:
        yield f"{intent.state.lower()} by attempt {intent.attempt}, of which there is no plan"
    for number, attempt in intent.attempts.items():
        if number != intent.attempt:
            for fault in _past_faults(attempt, booked):
                yield f"attempt {number}, {fault}"
            continue
        story = _story_fault(intent, attempt)
        if story is not None:
            yield story
        for fault in _present_faults(intent.state, attempt, booked):
            yield f"attempt {number}, {fault}"


def _story_fault(intent: Planned, attempt: Attempt) -> str | None:
    """Say in what the intent's state does not follow from its plan and what was resolved about it."""
    state, kind, resolved = intent.state, attempt.plan.kind, attempt.resolved
    if state in TERMINAL_UNMOVED:
        return None if resolved is None else f"{state.lower()}, yet it was resolved to {resolved.kind}"
    if kind is PlanKind.MOVE:
        return None if state is IntentState.SETTLED else f"{state.lower()}, though its plan moves at once"
    if state not in TERMINAL:
        return None if attempt.has_job else "open, and no job for its PSP was ever written"
    if resolved is None:
        return f"{state.lower()}, and nothing was resolved about it"
    return _resolution_fault(intent, kind, resolved)


def _resolution_fault(intent: Planned, kind: PlanKind, resolved: Resolved) -> str | None:
    """Say in what the end of an intent does not follow from what was resolved about it."""
    state = intent.state
    if resolved.kind not in _RESOLUTIONS[kind]:
        return f"a plan to {kind}, of which was resolved to {resolved.kind}"
    refused = state is IntentState.FAILED and resolved.kind == "credit" and intent.error_code == CREDIT_REFUSED
    # An unpaid request that somebody had looked at fails instead of expiring.
    doubted = state is IntentState.FAILED and resolved.state is IntentState.EXPIRED
    if resolved.state is state or refused or doubted:
        return None
    return f"{state.lower()}, though it was resolved to {resolved.kind} as {resolved.state.lower()}"


def _present_faults(state: IntentState, attempt: Attempt, booked: Books) -> Iterator[str]:
    """Compare what the state says of the money with the ledger."""
    first, closing = attempt.first, attempt.closing
    if state in TERMINAL_UNMOVED:
        yield from _moved(attempt.transfers, booked, f"although the intent is {state.lower()}")
        return
    yield from _legs("", first, booked)
    if state not in TERMINAL:
        return  # What is resolved about it may or may not have been carried out.
    yield from _legs("limits, ", attempt.release, booked)
    if state is IntentState.SETTLED or _is_voided(attempt):
        yield from _legs("resolution, ", closing, booked)
    else:
        yield from _moved(closing, booked, f"although the intent is {state.lower()}")


def _past_faults(attempt: Attempt, booked: Books) -> Iterator[str]:
    """An attempt that was given up has moved nothing, or has given back what it held."""
    if _is_voided(attempt):
        yield from _legs("", attempt.first, booked)
        yield from _legs("resolution, ", attempt.closing, booked)
    else:
        yield from _moved(attempt.transfers, booked, "although it is not what settled it")


def _is_voided(attempt: Attempt) -> bool:
    return attempt.resolved is not None and attempt.resolved.kind == "void"


def _legs(what: str, planned: Transfers, booked: Books) -> Iterator[str]:
    for leg, transfer in enumerate(planned):
        fault = _leg_fault(transfer, booked.get(transfer.id))
        if fault is not None:
            yield f"{what}leg {leg}: {fault}"


def _moved(planned: Transfers, booked: Books, although: str) -> Iterator[str]:
    for leg, transfer in enumerate(planned):
        found = booked.get(transfer.id)
        if found is not None:
            yield f"leg {leg}: moved {found.amount} {although}"


def _leg_fault(planned: tb.Transfer, booked: tb.Transfer | None) -> str | None:
    if booked is None:
        return f"the ledger has no transfer of {planned.amount}"
    for name in _COMPARED:
        wanted, found = getattr(planned, name), getattr(booked, name)
        if wanted != found:
            return f"{name} is {found} in the ledger and {wanted} in the plan"
    return None


def _reference_faults(intent: Planned) -> Iterator[str]:
    for number, attempt in intent.attempts.items():
        if attempt.asked != attempt.reference:
            yield (
                f"attempt {number} asks as {_told(attempt.asked)}, and the register of references has "
                f"{_told(attempt.reference)}"
            )


def _told(reference: tuple[str, str] | None) -> str:
    return "nothing" if reference is None else f"{reference[0]}:{reference[1]}"
