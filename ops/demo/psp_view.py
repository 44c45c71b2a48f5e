"""How the second act looks: a table of ways and states that moves, a code to be scanned, and what there is to tell."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ops.console import state, table
from ops.demo.psp_play import Board, Course
from ops.demo.psp_script import PspScript, Way
from ops.demo.psp_story import Story
from ops.demo.script import Step
from ops.qr import drawn
from shared.money import Money, currency

_STATES: Final = ("CREATED", "VALIDATED", "AUTHORIZED", "IN_DOUBT", "SETTLED", "FAILED", "EXPIRED", "REJECTED")
_LATE: Final = "LATE_CREDIT"


@dataclass(slots=True)
class PspView:
    """What the audience sees of the act."""

    console: Console
    board: Board
    told: frozenset[str]
    """The steps whose every move is told in a line."""
    live: Live | None = None

    def changed(self) -> None:
        """Show the board as it is now."""
        if self.live is not None:
            self.live.update(ways_table(self.board))

    def moved(self, course: Course) -> None:
        """Tell of a new state, of the payments that are worth it."""
        if course.name in self.told:
            at_s, now = course.seen[-1]
            line = Text.assemble(f"  {course.name}: ", state(now), f" after {at_s:.1f} s")
            self.console.print(line, soft_wrap=True)

    def show_code(self, step: Step, link: str) -> None:
        """Draw the code that a payer would scan; where it cannot be, the link says the same."""
        operation = step.operation
        amount = Money(operation["amount_minor"], currency(operation["currency"]))
        self.console.print(f"  {step.name}: a payer scans this and pays {amount} to {operation['to_account']}")
        code = drawn(self.console, link)
        if code is not None:
            self.console.print(code, soft_wrap=True)
        self.console.print(f"  {escape(link)}", soft_wrap=True)


@contextmanager
def psp_shown(console: Console, board: Board, script: PspScript) -> Iterator[PspView]:
    """Show the act for the length of the block."""
    view = PspView(console, board, frozenset(payout.step.name for payout in script.doubts))
    if not console.is_terminal:
        yield view
        console.print(ways_table(board))
        return
    with Live(ways_table(board), console=console, refresh_per_second=12) as live:
        view.live = live
        yield view
        live.update(ways_table(board))


def ways_table(board: Board) -> Table:
    """Return a table of how many intents are in which state, by the way their money takes."""
    counts = board.count()
    seen = {name for states in counts.values() for name in states}
    columns = [name for name in (*_STATES, *sorted(seen - {*_STATES, _LATE}), _LATE) if name in seen or name in _STATES]
    rows = [[way.value, *(_cell(counts[way][name], name) for name in columns)] for way in Way if way in counts]
    return table("through the PSPs", ["", *(f"{name}>" for name in columns)], rows)


def declines_table(board: Board, script: PspScript) -> Table:
    """Return a table of the payouts that must be declined, with what came of each."""
    rows = [[payout.step.name, payout.way.value, _outcome(board, payout.step)] for payout in script.declines]
    return table("declined, and nobody's loss", ["payout", "by", "outcome"], rows)


def topups_table(board: Board, script: PspScript) -> Table:
    """Return a table of top-ups, what their payers did, and what came of it."""
    rows = []
    for topup in script.topups:
        late = board.courses[topup.step.name].late_credits
        rows.append(
            [topup.step.name, topup.fate.value, _outcome(board, topup.step), f"{late} {_LATE}" if late else None]
        )
    return table("topped up", ["top-up", "its code", "outcome", "besides"], rows)


def story_table(story: Story) -> Table:
    """Return the story of one payment: the mesh's states, the PSP's calls, the adapter's words, as they came."""
    rows = [[f"{line.at_s:.2f}", line.who, line.what] for line in story.lines]
    return table(None, ["s>", "who", story.name], rows)


def books_table(rows: Sequence[Sequence[Any]]) -> Table:
    """Return a table of what wallets moved beside what the PSPs' own books say."""
    codes = {"ipps": "THB", "qp": "RUB"}
    shown = [
        [
            psp,
            *(str(Money(minor, currency(codes[psp]))) for minor in (wallets, books, due)),
            _verdict(wallets, books, due),
        ]
        for psp, wallets, books, due in rows
    ]
    return table("the PSPs' own books", ["psp", "wallets moved>", "its books say>", "by the script>", ""], shown)


def _outcome(board: Board, step: Step) -> str:
    return board.courses[step.name].outcome


def _cell(count: int, name: str) -> Text:
    if not count:
        return Text("")
    return Text(str(count), style=state(name).style)


def _verdict(*amounts: int) -> Text:
    return Text("as one", style="green") if len(set(amounts)) == 1 else Text("differ", style="red")
