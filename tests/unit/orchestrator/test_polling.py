"""When to ask again: ever more rarely, never too early, and never not at all."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.polling import PAUSE_MAX_S, next_poll_s
from shared.psp import PollSchedule


def test_pauses_double_up_to_their_bound() -> None:
    """10 s, and in the end a quarter of an hour."""
    schedule = PollSchedule(10, 2.0, 900, 86_400)
    assert [next_poll_s(schedule, polls) for polls in range(9)] == [10, 20, 40, 80, 160, 320, 640, 900, 900]


def test_an_even_pace_lasts_until_its_end_and_then_slows_down() -> None:
    """The usual pace is for the usual time."""
    schedule = PollSchedule(5, 1.0, 600, 60)
    assert [next_poll_s(schedule, polls) for polls in (0, 11, 12, 1_000_000)] == [5, 5, 600, 600]


def test_the_usual_pace_ends_in_the_middle_of_growing_too() -> None:
    """10 + 20 + 40 s have passed, and 60 were the end."""
    assert next_poll_s(PollSchedule(10, 2.0, 900, 60), 3) == 900


def test_a_psp_may_put_the_next_question_off_but_not_forward() -> None:
    """Its patience is asked for; its impatience would be ours to pay."""
    schedule = PollSchedule(10, 2.0, 900, 86_400)
    assert next_poll_s(schedule, 0, 120) == 120
    assert next_poll_s(schedule, 2, 1) == 40
    assert next_poll_s(schedule, 0, 1_000_000) == PAUSE_MAX_S


@given(
    first_s=st.integers(1, 3600),
    more_s=st.integers(0, 86_400),
    factor=st.floats(1, 1000, allow_nan=False),
    until_s=st.integers(1, 10**7),
    polls=st.integers(0, 2**31 - 1),
)
def test_it_always_asks_again_within_its_bounds_and_ever_more_rarely(
    first_s: int, more_s: int, factor: float, until_s: int, polls: int
) -> None:
    """For any schedule that a manifest may hold, however often it was asked."""
    schedule = PollSchedule(first_s, factor, first_s + more_s, until_s)
    pause_s = next_poll_s(schedule, polls)
    assert min(first_s, PAUSE_MAX_S) <= pause_s <= min(first_s + more_s, PAUSE_MAX_S)
    assert pause_s <= next_poll_s(schedule, polls + 1)
