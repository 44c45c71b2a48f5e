"""A process of the mesh: one event loop, one `TaskGroup`, a stop event, and exit codes that mean something.

====  ==============================================================================
code  meaning
====  ==============================================================================
0     stopped as asked
1     something failed that nobody foresaw; a supervisor restarts it
70    the books contradict themselves (`InvariantViolation`); look before restarting
78    the environment is wrong (settings, key ring, a store of another mesh)
130   asked twice to stop, so it stopped at once
====  ==============================================================================

(70 and 78 are EX_SOFTWARE and EX_CONFIG of BSD's sysexits.) This module must never swallow a failure.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import structlog
import uvloop

from shared.errors import InvariantViolation, Misconfigured, StoreMismatch

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_INVARIANT: Final = 70
EXIT_CONFIG: Final = 78
EXIT_IMPATIENT: Final = 130

Main = Callable[[asyncio.Event, asyncio.TaskGroup], Awaitable[None]]
"""A service: wires itself, starts its tasks in the group, returns once it was stopped and has drained."""


def run(main: Main) -> int:
    """Run a service to its end and return the exit code; SIGTERM and SIGINT set the stop event.

    A failure of any task cancels the others. What is wrong with the environment is one line on standard error;
    everything else is logged with its trace.
    """
    try:
        uvloop.run(_supervise(main))
    except asyncio.CancelledError:
        return EXIT_IMPATIENT
    except BaseExceptionGroup as group:
        return _report(group)
    return EXIT_OK


async def _supervise(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    itself = asyncio.current_task()

    def on_signal() -> None:
        if stop.is_set() and itself is not None:
            itself.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with asyncio.TaskGroup() as tasks:
        await main(stop, tasks)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _report(group: BaseExceptionGroup) -> int:
    """Say what ended the process and return its exit code; the gravest failure names it."""
    failures = list(_leaves(group))
    log = structlog.get_logger()
    for failure in failures:
        if isinstance(failure, Misconfigured | StoreMismatch):
            sys.stderr.write(f"paymesh cannot start: {failure}\n")
        else:
            log.critical("process_failed", exc_info=failure)
    if any(isinstance(failure, InvariantViolation) for failure in failures):
        return EXIT_INVARIANT
    if any(isinstance(failure, Misconfigured | StoreMismatch) for failure in failures):
        return EXIT_CONFIG
    return EXIT_FAILED
