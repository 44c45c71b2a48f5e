"""The saga's decisions: what the ledger's answer makes of an intent. Pure.

Each function maps a verdict on a chain to a path through the states; `TRANSITIONS` has the last word on whether the
path is legal. The state follows the ledger, never a message. Time, ids and stores are somebody else's business, and
must stay so.
"""

import json
from dataclasses import dataclass
from typing import Final

from shared.errors import violated
from shared.ledger.outcome import ChainOutcome, Verdict
from shared.plans import PlanKind
from shared.states import Funds, IntentState, check_path

_S = IntentState
_EXPLANATIONS: Final = {
    "insufficient_funds": "the paying account does not hold enough",
    "account_closed": "one of the accounts is closed",
    "unknown_account": "one of the accounts does not exist in the ledger",
    # The ledger tells the reason of a refusal once; a crash before it was written down leaves only that it was refused.
    "attempt_burned": "the ledger refused this attempt earlier",
    "not_submitted": "the payment was never handed to the provider, and never will be",
    "not_found": "the provider does not know the payment, and refuses it should it still arrive",
    "expired": "nobody paid in time",
    "cancelled": "the request was taken back before anybody paid",
    "reversed": "the provider paid, and took the payment back",
    "credit_refused": "the wallet cannot be credited; the money is kept in suspense",
    "hold_already_voided": "the held funds had been released under other ids",
    "operator_decision": "two operators decided, by evidence, that the provider did not pay",
    "operator_void": "an operator took the payment back before it was handed to the provider",
    "operator_discarded": "an operator ended it after it could not be processed; no money was held",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Where an intent goes: every state on the way, the present one first, and what becomes of its funds.

    A path of one state changes nothing but when the PSP is asked next.
    """

    path: tuple[IntentState, ...]
    funds: Funds
    error_code: str | None = None
    error_detail: str | None = None
    error_data: str | None = None
    """As JSON, for programs: which limit, what is left of it, when it begins anew."""

    @property
    def state(self) -> IntentState:
        """The state it ends in."""
        return self.path[-1]

    def event_detail(self, state: IntentState) -> str | None:
        """Return the JSON detail of the event that enters `state`."""
        if self.error_code is None or state is not self.state:
            return None
        data = json.loads(self.error_data) if self.error_data is not None else {}
        return json.dumps({"error": self.error_code, **data})


_SETTLED_AT_ONCE: Final = Decision((_S.VALIDATED, _S.AUTHORIZED, _S.SETTLED), Funds.MOVED)
_HELD: Final = Decision((_S.VALIDATED, _S.AUTHORIZED), Funds.HELD)
_ASKED: Final = Decision((_S.VALIDATED, _S.AUTHORIZED), Funds.NONE)
_DONE: Final = {PlanKind.MOVE: _SETTLED_AT_ONCE, PlanKind.HOLD: _HELD, PlanKind.CREDIT: _ASKED}


def explained(code: str) -> str:
    """Return the sentence for a stable code."""
    return _EXPLANATIONS.get(code, "the provider declined the payment")


def decide(state: IntentState, kind: PlanKind, verdict: Verdict | None) -> Decision:
    """Decide what the verdict on the first chain of a VALIDATED intent makes of it; None where its plan has none.

    The first chain of money in reserves its limits, if it has any; nothing else is in the ledger before it is paid.

    An instant channel records AUTHORIZED and SETTLED in one step: holding and moving are the same chain.

    Raises:
        InvariantViolation: the verdict cannot belong to an intent in that state.
    """
    if state is not _S.VALIDATED:
        violated(f"a move's verdict for an intent that is {state}")
    if verdict is None:
        return _ASKED if kind is PlanKind.CREDIT else violated(f"a plan to {kind} without a chain")
    match verdict.outcome:
        case ChainOutcome.DONE:
            decision = _DONE[kind]
        case ChainOutcome.DECLINED:
            code = verdict.code or "declined"
            detail = _EXPLANATIONS.get(code, "the ledger refused the move")
            decision = Decision((state, _S.REJECTED), Funds.NONE, code, detail)
        case unexpected:
            violated(f"a first chain cannot end {unexpected}")
    check_path(decision.path)
    return decision


def settled(state: IntentState) -> Decision:
    """Decide that the money moved: posted, or credited."""
    return _ending(state, Decision((state, _S.SETTLED), Funds.MOVED))


def failed(state: IntentState, code: str, *, funds: Funds = Funds.NONE) -> Decision:
    """Decide that it did not, for the reason `code`."""
    return _ending(state, Decision((state, _S.FAILED), funds, code, explained(code)))


def expired(state: IntentState, code: str) -> Decision:
    """Decide that nobody paid; an intent that was in doubt fails, since people have looked at it."""
    if state is _S.IN_DOUBT:
        return failed(state, code)
    return _ending(state, Decision((state, _S.EXPIRED), Funds.NONE, code, explained(code)))


def doubted(state: IntentState, funds: Funds) -> Decision:
    """Decide that nobody knows at present; an intent in doubt stays so."""
    path = (state,) if state is _S.IN_DOUBT else (state, _S.IN_DOUBT)
    return _ending(state, Decision(path, funds))


def unchanged(state: IntentState, funds: Funds) -> Decision:
    """Decide nothing but when to ask again."""
    return Decision((state,), funds)


def _ending(state: IntentState, decision: Decision) -> Decision:
    if state not in (_S.AUTHORIZED, _S.IN_DOUBT):
        violated(f"a provider's answer ends an intent that is {state}")
    check_path(decision.path)
    return decision
