"""Waiting itself: it ends as soon as it can, and fails with a reason."""

import itertools

import pytest

from tests.waiting import until, until_sync


async def test_waiting_ends_with_what_came_true() -> None:
    """For plain and for awaitable conditions."""
    numbers = itertools.count()

    async def third() -> int | None:
        number = next(numbers)
        return number if number > 2 else None

    assert await until(third) == 3
    assert await until(lambda: next(numbers) > 5) is True
    assert until_sync(lambda: next(numbers) > 9) is True


async def test_waiting_in_vain_says_for_what_and_what_it_saw() -> None:
    """A failing test must say more than that time ran out."""
    with pytest.raises(AssertionError, match=r"the intent settled did not come true within 0\.01 s; last seen: 'HELD'"):
        await until(_held, "the intent settled", timeout_s=0.01)
    with pytest.raises(AssertionError, match="last seen: 0"):
        until_sync(lambda: 0, timeout_s=0.0)


class _Held(str):
    """A state that is not what is waited for."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


def _held() -> _Held:
    return _Held("HELD")
