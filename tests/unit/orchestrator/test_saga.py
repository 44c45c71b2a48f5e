"""Decisions: total over what the ledger can say of a move, legal in every step."""

from itertools import pairwise

import pytest

from orchestrator.saga import decide
from shared.errors import InvariantViolation
from shared.ledger.outcome import BURNS, ChainOutcome, Verdict
from shared.plans import PlanKind
from shared.states import TRANSITIONS, Funds, IntentState


def test_done_move_settles_through_authorized() -> None:
    """An instant channel records both steps, and the money has moved."""
    decision = decide(IntentState.VALIDATED, PlanKind.MOVE, Verdict(ChainOutcome.DONE))
    assert decision.path == (IntentState.VALIDATED, IntentState.AUTHORIZED, IntentState.SETTLED)
    assert (decision.funds, decision.error_code) == (Funds.MOVED, None)


@pytest.mark.parametrize("code", sorted(set(BURNS.values())))
def test_every_decline_is_a_refusal_with_its_code(code: str) -> None:
    """Whatever burns an attempt refuses the intent; nothing was ever held; people get a sentence."""
    decision = decide(IntentState.VALIDATED, PlanKind.MOVE, Verdict(ChainOutcome.DECLINED, code, 0))
    assert decision.path == (IntentState.VALIDATED, IntentState.REJECTED)
    assert (decision.funds, decision.error_code) == (Funds.NONE, code)
    assert decision.error_detail
    assert decision.event_detail(IntentState.REJECTED) == f'{{"error": "{code}"}}'


@pytest.mark.parametrize("outcome", sorted(set(ChainOutcome) - {ChainOutcome.DONE, ChainOutcome.DECLINED}))
def test_outcomes_that_no_instant_move_can_have_stop_the_process(outcome: ChainOutcome) -> None:
    """A verdict of another phase is never forced into a state."""
    with pytest.raises(InvariantViolation):
        decide(IntentState.VALIDATED, PlanKind.MOVE, Verdict(outcome))


@pytest.mark.parametrize("state", sorted(set(IntentState) - {IntentState.VALIDATED}))
def test_only_validated_intents_are_decided_by_a_move(state: IntentState) -> None:
    """Terminal means terminal."""
    with pytest.raises(InvariantViolation):
        decide(state, PlanKind.MOVE, Verdict(ChainOutcome.DONE))


def test_decisions_only_take_legal_transitions() -> None:
    """Each step of each path is in the one table."""
    for verdict in (Verdict(ChainOutcome.DONE), Verdict(ChainOutcome.DECLINED, "insufficient_funds", 0)):
        path = decide(IntentState.VALIDATED, PlanKind.MOVE, verdict).path
        assert all(after in TRANSITIONS[before] for before, after in pairwise(path))
