"""How dead letters look on a terminal, and where exports go."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops.console import err, out, table
from ops.dlq.counting import Tally
from ops.dlq.replaying import Advance
from ops.dlq.search import Search


def print_tallies(tallies: Sequence[Tally]) -> None:
    """Print how many there are, by stream and reason."""
    columns = ["stream", "psp", "died of", "records>", "last hour>", "last day>", "last week>", "oldest", "newest"]
    rows = [
        [
            tally.stream, tally.psp, tally.reason, tally.records, tally.hour, tally.day, tally.week,
            f"{tally.oldest_at:%Y-%m-%d %H}h", f"{tally.newest_at:%Y-%m-%d %H}h",
        ]
        for tally in tallies
    ]  # fmt: skip
    if rows:
        out().print(table(None, columns, rows))
    out().print(f"{sum(tally.records for tally in tallies)} dead letters")


def print_records(found: Sequence[dict[str, Any]]) -> None:
    """Print one line a record."""
    columns = ["dead letter", "died of", "at", "intent", "kind", "amount>", "replays>", "error"]
    rows = [
        [
            one["address"], one["reason"], one["dead_at"], one["intent_id"], one["kind"],
            None if one["amount_minor"] is None else f"{one['amount_minor']} {one['currency']}",
            one["replays"], f"{one['error_class']}: {one['error']}"[:80],
        ]
        for one in found
    ]  # fmt: skip
    if rows:
        out().print(table(None, columns, rows))
    out().print(f"{len(found)} dead letters")


def print_one(one: dict[str, Any]) -> None:
    """Print a record whole, and what a replay would do."""
    facts = {name: value for name, value in one.items() if name not in ("content", "replay", "address")}
    rows = [[name.replace("_", " "), value] for name, value in facts.items() if value not in (None, "")]
    rows += [[f"content: {name}", value] for name, value in one["content"].items()]
    rows.append([f"a replay {one['replay']['effect']}", one["replay"]["why"]])
    out().print(table(one["address"], ["", ""], rows))


def tell_cut(search: Search) -> None:
    """Say that a search stopped at one of its bounds."""
    if search.cut:
        err().print(
            f"looked at {search.looked_at} records and stopped at a bound: there may be more (--limit, --scan-max)"
        )


@contextmanager
def output(path: Path | None) -> Iterator[Any]:
    """Open a new file to write to, or standard output."""
    if path is None:
        yield sys.stdout.write
        return
    with path.open("x", encoding="utf-8") as file:
        yield file.write


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Show a progress bar where somebody watches."""
    console = err()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task(title, total=None)
        yield lambda count: progress.advance(task, count)
