"""How a command runs: one event loop, one exit code, every fault a sentence.

====  =======================================================================
code  meaning
====  =======================================================================
0     done
1     something is wrong, could not be done, or is refused by how things stand
2     the command was not understood
130   interrupted
====  =======================================================================
"""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer

from ops.console import err
from ops.embedded.folder import AlreadyRuns
from ops.embedded.server import ServerFailed
from ops.refusals import Refused
from shared.errors import BadInput, PaymeshError

T = TypeVar("T")

EXIT_WRONG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Confirm = Annotated[bool, typer.Option("--confirm", help="Do it; without this, only say what would be done.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; lands in the audit log.", show_default=False)]


def example(*lines: str) -> str:
    """Return the epilog that shows a command in use."""
    return "Example: " + "  |  ".join(lines)


def run(work: Coroutine[Any, Any, T], *, exit_interrupted: int = EXIT_INTERRUPTED) -> T:
    """Run a command's one async function; SIGTERM and SIGHUP end it as orderly as Ctrl-C does.

    Raises:
        typer.Exit: it failed or was interrupted; the reason has been printed.
    """
    with spoken():
        try:
            return asyncio.run(_until_signalled(work))
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise typer.Exit(exit_interrupted) from None


@contextmanager
def spoken() -> Iterator[None]:
    """Turn what a command may fail with into a sentence and an exit code."""
    try:
        yield
    except Refused as error:
        _say(str(error))
        raise typer.Exit(EXIT_WRONG) from None
    except BadInput as error:
        _say(str(error))
        raise typer.Exit(EXIT_USAGE) from None
    except (PaymeshError, ServerFailed, AlreadyRuns, OSError) as error:
        _say(str(error) or type(error).__name__)
        raise typer.Exit(EXIT_WRONG) from None


def require_confirmed(*, confirm: bool, reason: str, what: str, exit_dry: int = 0) -> None:
    """End the command, unless it was confirmed and a reason given, with what it would have done.

    `exit_dry` is the exit status of a dry run: that of whoever looked and found something wrong is 1.

    Raises:
        typer.Exit: nothing was done.
    """
    if confirm and reason.strip():
        return
    err().print(f"[bold]nothing was done.[/] This would {what}.", soft_wrap=True)
    err().print('Repeat it with --confirm --reason "…" to do it.')
    raise typer.Exit(EXIT_USAGE if confirm else exit_dry)


async def _until_signalled(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if task is not None:
            loop.add_signal_handler(number, task.cancel)
    return await work


def _say(text: str) -> None:
    err().print("error:", text, style="red", markup=False, soft_wrap=True)
