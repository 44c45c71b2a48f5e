"""Waiting in tests: on a condition, with a deadline, never for a while.

`until` polls from a coroutine, `until_sync` from a plain function. Both name what they waited for when it does not
come, so that a failing test says more than that time ran out. `pace` is no waiting: it spaces out what has a rhythm
of its own, such as a load's arrivals or a watcher's looks.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from threading import Event
from typing import TypeVar, overload

T = TypeVar("T")

TIMEOUT_S = 30.0
"""How long a condition has to come true: only a failure takes so long, and a busy machine is none."""
_PAUSE_FIRST_S = 0.001
_PAUSE_MAX_S = 0.05


@overload
async def until(condition: Callable[[], Awaitable[T]], what: str = ..., *, timeout_s: float = ...) -> T: ...


@overload
async def until(condition: Callable[[], T], what: str = ..., *, timeout_s: float = ...) -> T: ...


async def until(
    condition: Callable[[], Awaitable[T]] | Callable[[], T],
    what: str = "condition",
    *,
    timeout_s: float = TIMEOUT_S,
) -> T:
    """Poll a condition, plain or awaitable, until it is true; return what it returned.

    Raises:
        AssertionError: it was not true in time.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _PAUSE_FIRST_S
    while True:
        outcome = condition()
        value = await outcome if isinstance(outcome, Awaitable) else outcome
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what} did not come true within {timeout_s} s; last seen: {value!r}")
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def until_sync(condition: Callable[[], T], what: str = "condition", *, timeout_s: float = TIMEOUT_S) -> T:
    """Poll a plain condition from a plain test until it is true; return what it returned.

    Raises:
        AssertionError: it was not true in time.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _PAUSE_FIRST_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what} did not come true within {timeout_s} s; last seen: {value!r}")
        Event().wait(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)


async def pace(pause_s: float) -> None:
    """Keep a rhythm: the pause between two arrivals, two looks or two tries. No outcome may depend on it."""
    await asyncio.sleep(pause_s)
