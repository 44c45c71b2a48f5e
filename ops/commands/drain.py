"""`paymesh drain`: nothing new, and everything that is under way to its end."""

from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ops import drain as drains
from ops.audit import actor
from ops.commands.keys import parse_span
from ops.commands.running import EXIT_WRONG, Confirm, Json, Reason, example, require_confirmed, run
from ops.console import err, out, print_json, table
from ops.drain import Drained, Left
from ops.environment import find_settings
from ops.stores import open_stores

EPILOG = example(
    "paymesh drain --confirm --reason 'moving Redis'",
    "paymesh drain ipps --confirm --reason 'contract ends'",
    "paymesh drain --reopen --confirm --reason 'moved'",
)
_ROWS = {
    "entries": "intents in the streams",
    "planned": "intents planned, not carried out",
    "unsent": "jobs in the outbox",
    "jobs": "jobs on their way to PSPs",
    "results": "results of PSPs",
    "at_psps": "intents that wait for their PSP (not waited for)",
    "dead_letters": "dead letters (not waited for)",
}


def drain(
    psp: Annotated[str | None, typer.Argument(help="One PSP only; else the whole mesh.", show_default=False)] = None,
    *,
    reopen: Annotated[bool, typer.Option("--reopen", help="Take on new work again.")] = False,
    timeout: Annotated[str, typer.Option(help="How long to wait: 30s, 5m.")] = "5m",
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Close the door (or a PSP) to what is new, and wait until everything under way has run out of the streams.

    Clients hear 503 and keep their keys; what was accepted before is answered. It stays closed until --reopen, whoever
    waits. Exit status 1: something is left, and is told.
    """
    if reopen:
        _reopen(psp, confirm=confirm, reason=reason, as_json=as_json)
        return
    timeout_s = parse_span(timeout).total_seconds() if timeout else 0.0

    async def work() -> Drained:
        async with open_stores(find_settings()) as stores:
            if not (confirm and reason.strip()):
                left = await drains.look(stores.pool, stores.redis, psp)
                _show(Drained(psp, left, 0.0), as_json=as_json)
                what = f"take nothing new for {psp}" if psp else "accept nothing new (503 intake_closed)"
                require_confirmed(confirm=confirm, reason=reason, what=f"{what} until it is told to --reopen")
            await drains.close(stores, psp, reason=reason, actor=actor())
            with Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]} left"),
                TimeElapsedColumn(), console=err(), transient=True, disable=not err().is_terminal,
            ) as progress:  # fmt: skip
                return await drains.wait_empty(stores, psp, timeout_s=timeout_s, tell=_bar(progress, psp))

    drained = run(work())
    _show(drained, as_json=as_json)
    if not drained.empty:
        raise typer.Exit(EXIT_WRONG)


def _reopen(psp: str | None, *, confirm: bool, reason: str, as_json: bool) -> None:
    if as_json and not (confirm and reason.strip()):
        print_json({"reopened": []})

    async def work() -> list[str]:
        require_confirmed(confirm=confirm, reason=reason, what=f"take on new work again{f' for {psp}' if psp else ''}")
        async with open_stores(find_settings()) as stores:
            return await drains.reopen(stores, psp, reason=reason, actor=actor())

    opened = run(work())
    if as_json:
        print_json({"reopened": opened})
    else:
        out().print(f"open again: {', '.join(opened)}" if opened else "it was open")


class _Bar:
    """A bar that grows with what is found, and fills as it runs out."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=1, left="?")
        self._most = 1

    def __call__(self, left: Left) -> None:
        self._most = max(self._most, left.total)
        done = self._most - left.total
        self._progress.update(self._task, total=self._most, completed=done, left=left.total)


def _bar(progress: Progress, psp: str | None) -> _Bar:
    return _Bar(progress, f"draining {psp or 'the mesh'}")


def _show(drained: Drained, *, as_json: bool) -> None:
    if as_json:
        print_json({"empty": drained.empty, "drained": drained})
        return
    if drained.left is None:
        out().print(Text(f"what is left could not be looked at: {drained.unreached}", style="red"), soft_wrap=True)
        return
    left = drained.left
    rows = [[title, getattr(left, name)] for name, title in _ROWS.items()]
    out().print(table(drained.psp or "the mesh", ["", "left>"], rows))
    out().print(Text("empty", style="green") if drained.empty else Text(f"{left.total} left", style="yellow"))
