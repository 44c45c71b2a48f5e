"""Waiting on events, for a time or for the first of several.

`asyncio.wait_for` must never be used here: up to Python 3.11 it forgets a cancellation that comes together with what
it waited for, and the task goes on as if nobody had asked it to stop.
"""

import asyncio
from contextlib import suppress


async def wait_up_to(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, or for so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def wait_for_any(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def wait_for_any_up_to(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, or for so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wait_for_any(*events)
