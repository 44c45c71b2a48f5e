"""The life of an intent: the table is closed, terminal means terminal, and nothing is left without a way out."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvariantViolation
from shared.states import TERMINAL, TRANSITIONS, IntentState, check_path

S = IntentState


def reachable(state: IntentState) -> set[IntentState]:
    """Return every state that can come after, however far."""
    found: set[IntentState] = set()
    ahead = [state]
    while ahead:
        for following in TRANSITIONS[ahead.pop()] - found:
            found.add(following)
            ahead.append(following)
    return found


def test_the_table_knows_every_state_and_no_other() -> None:
    """Closed on both sides."""
    assert set(TRANSITIONS) == set(IntentState)
    assert set().union(*TRANSITIONS.values()) <= set(IntentState)


def test_terminal_states_are_the_ones_that_people_are_told() -> None:
    """Named here once more on purpose: making one of them pass must be a decision."""
    assert {S.SETTLED, S.FAILED, S.EXPIRED, S.REJECTED, S.DUPLICATE} == TERMINAL


def test_every_state_follows_from_acceptance() -> None:
    """No state exists that no intent can be in."""
    assert reachable(S.CREATED) | {S.CREATED} == set(IntentState)


@pytest.mark.parametrize("state", [state for state in IntentState if state not in TERMINAL])
def test_every_open_state_can_end(state: IntentState) -> None:
    """Nothing accepted stays open for ever by construction."""
    assert reachable(state) & TERMINAL


@pytest.mark.parametrize("state", list(IntentState))
def test_no_intent_comes_back_to_where_it_was(state: IntentState) -> None:
    """History only goes forward."""
    assert state not in reachable(state)


def test_doubt_is_left_by_evidence_only() -> None:
    """Neither a clock (EXPIRED) nor a refusal (REJECTED) closes what may have happened."""
    assert TRANSITIONS[S.IN_DOUBT] == {S.SETTLED, S.FAILED}


def test_nothing_is_rejected_once_money_is_held() -> None:
    """REJECTED promises that no money was ever held."""
    assert S.REJECTED not in reachable(S.AUTHORIZED)


def test_an_alias_is_found_before_anything_is_planned() -> None:
    """A second intent of one key never gets a plan of its own."""
    assert [state for state, following in TRANSITIONS.items() if S.DUPLICATE in following] == [S.CREATED]


@given(st.lists(st.sampled_from(IntentState), min_size=2, max_size=6).map(tuple))
def test_a_path_passes_exactly_when_each_step_is_in_the_table(path: tuple[IntentState, ...]) -> None:
    """The table is the only authority."""
    if all(following in TRANSITIONS[current] for current, following in itertools.pairwise(path)):
        check_path(path)
        return
    with pytest.raises(InvariantViolation, match="no transition"):
        check_path(path)


def test_an_instant_transfer_may_walk_to_the_end_in_one_go() -> None:
    """Instant channels record both steps in one transaction."""
    check_path((S.CREATED, S.VALIDATED, S.AUTHORIZED, S.SETTLED))
