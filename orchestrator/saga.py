"""The saga's decisions: what the ledger's answer makes of an intent. Pure.

`decide` maps a verdict on a chain to a path through the states; `TRANSITIONS` has the last word on whether the path
is legal. The state follows the ledger, never a message. Time, ids and stores are somebody else's business, and must
stay so.
"""

import json
from dataclasses import dataclass

from shared.errors import violated
from shared.ledger.outcome import ChainOutcome, Verdict
from shared.states import Funds, IntentState, check_path

_EXPLANATIONS = {
    "insufficient_funds": "the paying account does not hold enough",
    "account_closed": "one of the accounts is closed",
    "unknown_account": "one of the accounts does not exist in the ledger",
    # The ledger tells the reason of a refusal once; a crash before it was written down leaves only that it was refused.
    "attempt_burned": "the ledger refused this attempt earlier",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Where an intent goes: every state on the way, the present one first, and what becomes of its funds."""

    path: tuple[IntentState, ...]
    funds: Funds
    error_code: str | None = None
    error_detail: str | None = None

    @property
    def state(self) -> IntentState:
        """The state it ends in."""
        return self.path[-1]

    def event_detail(self, state: IntentState) -> str | None:
        """Return the JSON detail of the event that enters `state`."""
        if self.error_code is None or state is not self.state:
            return None
        return json.dumps({"error": self.error_code})


_SETTLED_AT_ONCE = Decision(
    (IntentState.VALIDATED, IntentState.AUTHORIZED, IntentState.SETTLED),
    Funds.MOVED,
)


def decide(state: IntentState, verdict: Verdict) -> Decision:
    """Decide what an instant move's verdict makes of a VALIDATED intent.

    An instant channel records AUTHORIZED and SETTLED in one step: holding and moving are the same chain.

    Raises:
        InvariantViolation: the verdict cannot belong to an intent in that state.
    """
    if state is not IntentState.VALIDATED:
        violated(f"a move's verdict for an intent that is {state}")
    match verdict.outcome:
        case ChainOutcome.DONE:
            decision = _SETTLED_AT_ONCE
        case ChainOutcome.DECLINED:
            code = verdict.code or "declined"
            detail = _EXPLANATIONS.get(code, "the ledger refused the move")
            decision = Decision((state, IntentState.REJECTED), Funds.NONE, code, detail)
        case unexpected:
            violated(f"an instant move cannot end {unexpected}")
    check_path(decision.path)
    return decision
