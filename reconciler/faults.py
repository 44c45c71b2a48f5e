"""What is wrong with an intent: its state, its plans and what was resolved about them, held against the ledger.

Pure. Whatever the log says has been in the ledger since before, so that reading the log first, and the ledger after
it, gives no false alarm about what is missing; what the ledger has on top may be newer than the log, and is judged
once it has settled. This module must never conclude anything about money of an intent that is only planned.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import tigerbeetle as tb

from reconciler.kinds import BreakKind
from reconciler.plans import TERMINAL_UNMOVED, Attempt, Planned, Resolved, Transfers
from shared.ids import Phase, split_transfer_id
from shared.ledger.accounts import LIMITS_LEDGER
from shared.plans import CREDIT_REFUSED, PlanKind, ResolutionKind
from shared.states import TERMINAL, IntentState

Books = Mapping[int, tb.Transfer]
"""Transfers as they stand in the ledger, by id."""

_CLOSED: Final = frozenset({IntentState.FAILED, IntentState.EXPIRED})
_MOVING: Final = frozenset({Phase.POST, Phase.CREDIT, Phase.SUSPENSE})
_K: Final = BreakKind
_COMPARED: Final = {
    "amount": _K.AMOUNT_MISMATCH,
    "debit_account_id": _K.ACCOUNT_MISMATCH,
    "credit_account_id": _K.ACCOUNT_MISMATCH,
    "ledger": _K.TRANSFER_MISMATCH,
    "code": _K.TRANSFER_MISMATCH,
    "flags": _K.TRANSFER_MISMATCH,
    "pending_id": _K.TRANSFER_MISMATCH,
    "user_data_128": _K.TRANSFER_MISMATCH,
}
_RESOLUTIONS: Final[dict[PlanKind, frozenset[ResolutionKind]]] = {
    PlanKind.MOVE: frozenset(),
    PlanKind.HOLD: frozenset({"post", "void"}),
    PlanKind.CREDIT: frozenset({"credit", "close"}),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an intent.

    Attributes:
        kind: what it is called.
        detail: what it is, in words.
        where: the leg, or the part of the intent, that it concerns.
        expected: what the log says.
        found: what the ledger says, or another part of the log.
        delta_minor: by how much they differ, where that is money.
    """

    kind: BreakKind
    detail: str
    where: str
    expected: Any = None
    found: Any = None
    delta_minor: int | None = None


def intent_faults(intent: Planned, booked: Books) -> Iterator[Fault]:
    """Return everything that is wrong with an intent that is past planning.

    Args:
        intent: as the log has it.
        booked: those of its transfers that are in the ledger.
    """
    if intent.fault is not None:
        yield Fault(_K.PLAN_MISSING, intent.fault, "plan")
        return
    if intent.parent != intent.child_of:
        detail = f"a child of {intent.parent}, and registered as one of {intent.child_of}"
        yield Fault(_K.STATE_CONTRADICTS_PLAN, detail, "parent", str(intent.parent), str(intent.child_of))
    present = intent.attempts.get(intent.attempt)
    if present is None and intent.state not in TERMINAL_UNMOVED:
        detail = f"{intent.state.lower()} by attempt {intent.attempt}, of which there is no plan"
        yield Fault(_K.PLAN_MISSING, detail, "plan")
    for number, attempt in intent.attempts.items():
        if number != intent.attempt:
            found = _past_faults(attempt, booked)
        else:
            story = _story_fault(intent, attempt)
            if story is not None:
                yield story
            found = _present_faults(intent.state, attempt, booked)
        for fault in found:
            yield replace(fault, detail=f"attempt {number}, {fault.detail}", where=f"attempt {number}, {fault.where}")


def unplanned_faults(intent: Planned, booked: Books) -> Iterator[Fault]:
    """Return what the ledger moved for an intent and no plan of it has."""
    planned = intent.transfer_ids
    held = {transfer.id for attempt in intent.attempts.values() for transfer in attempt.first}
    for transfer in booked.values():
        if transfer.user_data_128 != intent.id.int or transfer.id in planned:
            continue
        yield Fault(
            _unplanned_kind(intent.state, transfer, held),
            f"transfer {transfer.id:#034x} of {transfer.amount}: no plan of the intent has it",
            f"transfer {transfer.id:#034x}",
            None,
            transfer.amount,
            transfer.amount,
        )


def _unplanned_kind(state: IntentState, transfer: tb.Transfer, held: set[int]) -> BreakKind:
    """Name a transfer that no plan has: it may be what ended a hold, contrary to what the log says of it."""
    if transfer.ledger == LIMITS_LEDGER:
        return _K.LIMIT_UNPLANNED
    if state in TERMINAL_UNMOVED:
        return _K.MOVED_THOUGH_REFUSED
    if transfer.pending_id in held:
        if state in _CLOSED and transfer.flags & tb.TransferFlags.POST_PENDING_TRANSFER:
            return _K.POSTED_THOUGH_FAILED
        if state is IntentState.SETTLED and transfer.flags & tb.TransferFlags.VOID_PENDING_TRANSFER:
            return _K.SETTLED_WITHOUT_TRANSFERS
    elif state in _CLOSED and _phase(transfer.id) in _MOVING:
        return _K.POSTED_THOUGH_FAILED
    return _K.TRANSFER_UNPLANNED


def _phase(transfer: int) -> Phase | None:
    try:
        return split_transfer_id(transfer)[2]
    except ValueError:
        return None


def _story_fault(intent: Planned, attempt: Attempt) -> Fault | None:
    """Say in what the intent's state does not follow from its plan and what was resolved about it."""
    state, kind, resolved = intent.state, attempt.plan.kind, attempt.resolved
    if state in TERMINAL_UNMOVED:
        return None if resolved is None else _story(intent, f"yet it was resolved to {resolved.kind}")
    if kind is PlanKind.MOVE:
        return None if state is IntentState.SETTLED else _story(intent, "though its plan moves at once")
    if state not in TERMINAL:
        if attempt.has_job:
            return None
        return Fault(_K.STATE_CONTRADICTS_PLAN, "open, and no job for its PSP was ever written", "job", str(state))
    if resolved is None:
        return _story(intent, "and nothing was resolved about it")
    return _resolution_fault(intent, kind, resolved)


def _story(intent: Planned, but: str) -> Fault:
    return Fault(_K.STATE_CONTRADICTS_PLAN, f"{intent.state.lower()}, {but}", "state", str(intent.state), but)


def _resolution_fault(intent: Planned, kind: PlanKind, resolved: Resolved) -> Fault | None:
    """Say in what the end of an intent does not follow from what was resolved about it."""
    state = intent.state
    if resolved.kind not in _RESOLUTIONS[kind]:
        detail = f"a plan to {kind}, of which was resolved to {resolved.kind}"
        return Fault(_K.STATE_CONTRADICTS_PLAN, detail, "resolution", str(kind), resolved.kind)
    refused = state is IntentState.FAILED and resolved.kind == "credit" and intent.error_code == CREDIT_REFUSED
    # An unpaid request that somebody had looked at fails instead of expiring.
    doubted = state is IntentState.FAILED and resolved.state is IntentState.EXPIRED
    if resolved.state is state or refused or doubted:
        return None
    return _story(intent, f"though it was resolved to {resolved.kind} as {resolved.state.lower()}")


def _present_faults(state: IntentState, attempt: Attempt, booked: Books) -> Iterator[Fault]:
    """Compare what the state says of the money with the ledger."""
    first, closing = attempt.first, attempt.closing
    if state in TERMINAL_UNMOVED:
        yield from _moved(_K.MOVED_THOUGH_REFUSED, attempt.transfers, booked, f"although the intent is {state.lower()}")
        return
    moves = attempt.plan.kind is PlanKind.MOVE
    yield from _legs(_K.SETTLED_WITHOUT_TRANSFERS if moves else _K.HOLD_MISSING, "", first, booked)
    if state not in TERMINAL:
        return  # What is resolved about it may or may not have been carried out.
    yield from _legs(_K.LIMIT_MISMATCH, "limits, ", attempt.release, booked)
    if state is IntentState.SETTLED or _is_voided(attempt):
        holds = attempt.plan.kind is PlanKind.HOLD
        kind = _K.HOLD_LEFT_OPEN if holds else _K.SETTLED_WITHOUT_TRANSFERS
        yield from _legs(kind, "resolution, ", closing, booked)
    else:
        yield from _moved(_K.POSTED_THOUGH_FAILED, closing, booked, f"although the intent is {state.lower()}")


def _past_faults(attempt: Attempt, booked: Books) -> Iterator[Fault]:
    """An attempt that was given up has moved nothing, or has given back what it held."""
    if _is_voided(attempt):
        yield from _legs(_K.HOLD_MISSING, "", attempt.first, booked)
        yield from _legs(_K.HOLD_LEFT_OPEN, "resolution, ", attempt.closing, booked)
    else:
        yield from _moved(_K.TRANSFER_UNPLANNED, attempt.transfers, booked, "although it is not what settled it")


def _is_voided(attempt: Attempt) -> bool:
    return attempt.resolved is not None and attempt.resolved.kind == "void"


def _legs(missing: BreakKind, what: str, planned: Transfers, booked: Books) -> Iterator[Fault]:
    for leg, transfer in enumerate(planned):
        for fault in _leg_faults(missing, transfer, booked.get(transfer.id)):
            yield replace(fault, detail=f"{what}leg {leg}: {fault.detail}", where=f"{what}leg {leg}{fault.where}")


def _moved(kind: BreakKind, planned: Transfers, booked: Books, although: str) -> Iterator[Fault]:
    for leg, transfer in enumerate(planned):
        found = booked.get(transfer.id)
        if found is not None:
            detail = f"leg {leg}: moved {found.amount} {although}"
            yield Fault(kind, detail, f"leg {leg}", None, found.amount, found.amount)


def _leg_faults(missing: BreakKind, planned: tb.Transfer, booked: tb.Transfer | None) -> Iterator[Fault]:
    limits = planned.ledger == LIMITS_LEDGER
    if booked is None:
        kind = _K.LIMIT_MISMATCH if limits else missing
        detail = f"the ledger has no transfer of {planned.amount}"
        yield Fault(kind, detail, "", planned.amount, None, None if limits else -planned.amount)
        return
    for name, mismatch in _COMPARED.items():
        wanted, found = getattr(planned, name), getattr(booked, name)
        if wanted == found:
            continue
        kind = _K.LIMIT_MISMATCH if limits else mismatch
        if kind is _K.AMOUNT_MISMATCH and found == 0:
            kind = _K.AMOUNT_ZERO
        detail = f"{name} is {found} in the ledger and {wanted} in the plan"
        if name == "amount":
            yield Fault(kind, detail, f", {name}", wanted, found, None if limits else found - wanted)
        else:
            yield Fault(kind, detail, f", {name}", str(wanted), str(found))


def ended_otherwise(intent: Planned, booked: Books) -> bool:
    """Say whether something in the ledger has ended what the present attempt held, planned or not."""
    attempt = intent.attempts.get(intent.attempt)
    held = {one.id for one in attempt.first if one.flags & tb.TransferFlags.PENDING} if attempt is not None else set()
    return bool(held) and held <= {one.pending_id for one in booked.values()}


def telling(faults: Sequence[Fault]) -> list[Fault]:
    """Leave out what only follows from a graver fault of the same intent: one thing wrong has one name."""
    kinds = {fault.kind for fault in faults}
    hidden = {lesser for kind in kinds for lesser in _OUTWEIGHS.get(kind, ())}
    return [fault for fault in faults if fault.kind not in hidden]


_LIMITS: Final = frozenset({_K.LIMIT_MISMATCH, _K.LIMIT_UNPLANNED})
_OUTWEIGHS: Final[dict[BreakKind, frozenset[BreakKind]]] = {
    _K.PLAN_MISSING: frozenset(_K) - {_K.PLAN_MISSING},
    _K.POSTED_THOUGH_FAILED: _LIMITS | {_K.STATE_CONTRADICTS_PLAN, _K.HOLD_LEFT_OPEN, _K.TRANSFER_UNPLANNED},
    _K.MOVED_THOUGH_REFUSED: _LIMITS | {_K.STATE_CONTRADICTS_PLAN, _K.HOLD_LEFT_OPEN},
    _K.SETTLED_WITHOUT_TRANSFERS: _LIMITS | {_K.HOLD_LEFT_OPEN, _K.HOLD_MISSING},
    _K.HOLD_MISSING: _LIMITS | {_K.HOLD_LEFT_OPEN},
    _K.HOLD_LEFT_OPEN: _LIMITS,
    _K.TRANSFER_UNPLANNED: _LIMITS,
    _K.STATE_CONTRADICTS_PLAN: frozenset({_K.TRANSFER_UNPLANNED, _K.HOLD_LEFT_OPEN}) | _LIMITS,
}
UNJUDGED: Final = frozenset(
    {
        _K.PLAN_MISSING, _K.POSTED_THOUGH_FAILED, _K.MOVED_THOUGH_REFUSED, _K.SETTLED_WITHOUT_TRANSFERS,
        _K.STATE_CONTRADICTS_PLAN,
    }
)  # fmt: skip
"""While one of these stands it is open what the read model should show."""
