"""The points at which a test may stop or kill an adapter; in any other environment, nothing.

===============  ==================================================================================
step             when
===============  ==================================================================================
permit_taken     the permit is won; the age of the permit is looked at after this
before_send      nothing stands between this and the request
request_sent     the request has been handed to the kernel; the answer has not been looked at
answer_received  the PSP's answer is understood
before_append    the result is written next, unless the entry is lost
===============  ==================================================================================

A pause file holds one line, ``<step> <stop|kill> [<ms>]``. The process that comes to that step first claims the file
by renaming it to ``<name>.claimed`` and sends itself SIGSTOP or SIGKILL; every later one passes. With a time, whatever
else of that process comes to the step within it is held there too, so that many jobs are struck at the same step. This
module must never do anything where no file was named.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Final

Steps = Callable[[str], Awaitable[None]]

SUBMITTING: Final[ContextVar[bool]] = ContextVar("submitting", default=False)
"""Set while a submission is under way, so that only its request counts as the one that was sent."""

STEPS: Final = ("permit_taken", "before_send", "request_sent", "answer_received", "before_append")
_SIGNALS: Final = {"stop": signal.SIGSTOP, "kill": signal.SIGKILL}


async def pass_by(_step: str) -> None:
    """Do nothing."""


def paused_by(file: Path) -> Steps:
    """Return what looks into a pause file at every step."""
    struck: dict[str, asyncio.Task[None]] = {}

    async def look(step: str) -> None:
        if step not in struck and (claimed := _claimed(file, step)) is not None:
            # A task of its own: whoever came first may be cancelled while others gather.
            struck[step] = asyncio.create_task(_strike(*claimed))
        if step in struck:
            await asyncio.shield(struck[step])

    return look


async def _strike(number: signal.Signals, gather_s: float) -> None:
    await asyncio.sleep(gather_s)
    os.kill(os.getpid(), number)


def _claimed(file: Path, step: str) -> tuple[signal.Signals, float] | None:
    try:
        wanted, how, *gather_ms = file.read_text().split()
        if wanted != step:
            return None
        file.rename(file.with_name(f"{file.name}.claimed"))
    except FileNotFoundError:
        return None
    return _SIGNALS[how], int(gather_ms[0]) / 1000 if gather_ms else 0.0
