"""How the demo looks: a progress bar and a table of states where somebody watches, plain lines where nobody does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ops.console import state, table
from ops.demo.play import Tally
from ops.demo.script import Script
from shared.money import Money, currency

_LINE_EVERY = 60


@dataclass(slots=True)
class View:
    """What the audience sees; `changed` draws the tally anew."""

    console: Console
    tally: Tally
    progress: Progress
    live: Live | None

    def say(self, line: str) -> None:
        """Say what happens next."""
        self.console.print(line, style="bold" if self.live else None)

    def changed(self) -> None:
        """Show the tally as it is now."""
        for task in self.progress.task_ids:
            self.progress.update(task, completed=self.tally.steps_done)
        if self.live is not None:
            self.live.update(self._drawn())
        elif self.tally.steps_done % _LINE_EVERY == 0:
            self.console.print(f"  {self.tally.steps_done} done: {states_line(self.tally)}")

    def _drawn(self) -> Group:
        return Group(self.progress, _states(self.tally))


@contextmanager
def shown(console: Console, tally: Tally, steps: int) -> Iterator[View]:
    """Show the play of so many steps for the length of the block."""
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
    progress.add_task("intents", total=steps)
    view = View(console, tally, progress, None)
    if not console.is_terminal:
        yield view
        return
    with Live(view._drawn(), console=console, refresh_per_second=12) as live:  # noqa: SLF001 - its own first frame
        view.live = live
        yield view
        live.update(view._drawn())  # noqa: SLF001


def balances_table(held: Mapping[str, int], expected: Mapping[str, int]) -> Table:
    """Return a table of what wallets hold, those that differ from what they must hold in red."""
    rows = []
    for name, minor in held.items():
        ccy = currency(name.rpartition(":")[2])
        right = minor == expected[name]
        verdict = Text("as computed", style="green") if right else Text(f"must be {Money(expected[name], ccy)}", "red")
        rows.append([name, str(Money(minor, ccy)), verdict])
    return table("balances", ["wallet", "holds>", ""], rows)


def wrong_balances(held: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """Name the wallets that hold something else than they must."""
    return [
        f"{name} holds {minor} instead of {expected[name]}" for name, minor in held.items() if minor != expected[name]
    ]


def refusals_table(tally: Tally, script: Script) -> Table:
    """Return a table of the requests that must be refused or recognised, with what came of each."""
    rows = [[step.name, step.kind, tally.outcomes.get(step.name)] for step in script.refusals]
    return table("refused, repeated", ["request", "must be", "outcome"], rows)


def states_line(tally: Tally) -> str:
    """Return the tally in one line."""
    return ", ".join(f"{name} {count}" for name, count in sorted(tally.states.items()))


def _states(tally: Tally) -> Table:
    rows = [[state(name), count] for name, count in sorted(tally.states.items(), key=lambda item: -item[1])]
    return table(None, ["outcome", "intents>"], rows)
