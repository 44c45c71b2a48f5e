"""Letting time pass where time itself is the test: between faults that strike at random moments, and between requests.

Tests never wait *for* something this way; that is what `tests.waiting` is for.
"""

import asyncio


async def lapse(seconds: float, *, unless: asyncio.Event | None = None) -> bool:
    """Let time pass, less of it when `unless` is set meanwhile; say whether it was."""
    event = unless or asyncio.Event()
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
