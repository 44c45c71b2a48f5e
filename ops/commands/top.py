"""`paymesh top`: the mesh at a glance, refreshed in place."""

import asyncio
from typing import Annotated, Any

import typer
from rich.live import Live

from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import out, plain, print_json
from ops.environment import find_settings
from ops.top.look import Watcher
from ops.top.reach import reach
from ops.top.rows import View
from ops.top.screen import screen

EPILOG = example("paymesh top --interval 2", "paymesh top --once --json")


def top(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Print one view and end; so it does without a terminal.")
    ] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2, max=60)] = 1.0,
    as_json: Json = False,
) -> None:
    """Show streams, consumers, PSPs, intents and dead letters, live; Ctrl-C ends it.

    Where one store does not answer the other's half is shown, and what is missing is said; with --once the exit
    status is 1 then.
    """
    if not once and not as_json and out().is_terminal:
        run(_live(interval), exit_interrupted=0)
        return
    view = run(_once())
    if as_json:
        print_json(document(view))
    else:
        out().print(screen(view))
    if view.unreached:
        raise typer.Exit(EXIT_WRONG)


def document(view: View) -> dict[str, Any]:
    """Return a view as JSON has it: with the sums that people would make."""
    made: Any = plain(view)
    for row, shown in zip(view.psps, made["psps"], strict=True):
        shown["error_rate"] = row.error_rate
    return {**made, "in_doubt": view.in_doubt, "outbox": view.outbox, "dead": view.dead}


async def _once() -> View:
    async with reach(find_settings()) as stores:
        return await Watcher(stores).once()


async def _live(interval_s: float) -> None:
    console = out()
    async with reach(find_settings()) as stores:
        watcher = Watcher(stores)
        view = await watcher.look()
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                hint = f"every {interval_s:g} s, Ctrl-C ends"
                live.update(screen(view, lines=console.height, hint=hint), refresh=True)
                await asyncio.sleep(interval_s)
                view = await watcher.look()
