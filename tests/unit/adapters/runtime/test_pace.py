"""How long a job waits and how often it is tried: never less than the PSP asks for, never beyond the budget."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.runtime.calls import Budget
from adapters.runtime.submission import Pace

PACE = Pace(first_ms=2_000, max_ms=60_000)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_job_waits_half_to_all_of_a_pause_that_doubles_up_to_its_bound(put_off: int, jitter: float) -> None:
    """However often it was put off."""
    longest = min(60_000, 2_000 * 2 ** min(put_off, 6))
    assert longest // 2 <= PACE.delay_ms(put_off, None, jitter) <= longest


@given(st.integers(0, 100), st.floats(0, 3_600), st.floats(0, 1, exclude_max=True))
def test_a_job_never_comes_before_the_psp_wants_it(put_off: int, retry_after_s: float, jitter: float) -> None:
    """Retry-After is a lower bound."""
    assert PACE.delay_ms(put_off, retry_after_s, jitter) >= int(retry_after_s * 1000)


def budget(seconds: float, tries: int = 3) -> Budget:
    """Return a budget that ends in so many seconds; its pauses are the shortest there are."""
    return Budget(asyncio.get_running_loop().time() + seconds, tries, lambda: 0.0)


async def test_three_tries_are_the_first_and_two_more() -> None:
    """Exponential in between: a tenth of a second, then four."""
    given_ = budget(8.0)
    started = asyncio.get_running_loop().time()
    assert await given_.pause(1, None)
    assert await given_.pause(2, None)
    assert 0.45 <= asyncio.get_running_loop().time() - started < 2.0
    assert not await given_.pause(3, None)


async def test_a_pause_that_does_not_fit_is_not_made() -> None:
    """Neither a short one at the end, nor the long one that the PSP asks for."""
    started = asyncio.get_running_loop().time()
    assert not await budget(0.1).pause(1, None)
    assert not await budget(8.0).pause(1, 30.0)
    assert asyncio.get_running_loop().time() - started < 0.1


async def test_a_short_wish_of_the_psp_is_honoured_within_the_budget() -> None:
    """By waiting."""
    started = asyncio.get_running_loop().time()
    assert await budget(8.0).pause(1, 0.3)
    assert asyncio.get_running_loop().time() - started >= 0.3


@pytest.mark.parametrize("seconds", [-1.0, 0.0])
async def test_a_budget_that_is_used_up_has_nothing_left(seconds: float) -> None:
    """Never less than nothing."""
    assert budget(seconds).left_s == 0.0
