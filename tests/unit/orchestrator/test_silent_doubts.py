"""Answers that cannot be: people hear of them, whichever question they answer."""

import pytest

from orchestrator.resolve import resolve
from shared.contracts import Action, Outcome
from shared.states import IntentState
from tests.unit.orchestrator.test_resolve import case, said


@pytest.mark.parametrize("state", [IntentState.AUTHORIZED, IntentState.IN_DOUBT])
def test_a_contradictory_answer_to_a_submission_is_told(state: IntentState) -> None:
    """Time alone will not mend it."""
    word = said(Outcome.UNKNOWN, action=Action.SUBMIT, code="contradictory_amount")
    assert [alert.kind for alert in resolve(case(state), word).alerts] == ["in_doubt"]


@pytest.mark.parametrize("state", [IntentState.AUTHORIZED, IntentState.IN_DOUBT])
def test_a_contradictory_answer_to_an_inquiry_is_told_as_well(state: IntentState) -> None:
    """The first answer was lost; every later one says that another amount was paid, for ever."""
    word = said(Outcome.PENDING, action=Action.INQUIRE, code="contradictory_amount")
    assert resolve(case(state), word).alerts
