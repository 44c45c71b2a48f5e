"""A timeline for people: what it is, what happened, what it comes to, and first of all what happens next.

What happened again and again in the same words is one line. Words that came from elsewhere are printed as they are,
never as markup, and without what would move the cursor.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ops.console import STATE_COLOURS
from shared.errors import BadInput
from shared.money import Money, currency
from shared.timeline.story import Child, Effect, Event, Timeline

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_STYLES: Final = {
    "state": "bold",
    "alert": "red",
    "dead_letter": "red",
    "operator": "magenta",
    "psp": "cyan",
    "callback": "cyan",
    "verdict": "cyan",
}


@dataclass(frozen=True, slots=True)
class Line:
    """An event, and how often it came in a row."""

    event: Event
    times: int
    last: datetime


def print_timeline(console: Console, story: Timeline) -> None:
    """Print an intent's story."""
    title = Text.assemble(("intent ", "bold"), (story.id, "bold"), "  ", _state(story.state), f"  funds {story.funds}")
    console.print(title, soft_wrap=True)
    console.print(Text(plain(story.headline)), soft_wrap=True)
    for sentence in story.missing:
        console.print(Text(f"not everything is here: {plain(sentence)}", style="yellow"), soft_wrap=True)
    _heading(console, "next")
    for step in story.next:
        console.print(Text(f"  • {plain(step.text)}"), soft_wrap=True)
    _heading(console, "what happened (UTC)")
    _print_events(console, story.events)
    for child in story.children:
        _print_child(console, child)
    says = "by the ledger" if story.effects_by == "ledger" else "by the database, customers' accounts only"
    _heading(console, f"what it does to accounts at present, {says}")
    if story.effects:
        for line in _effects(story.effects):
            console.print(line, soft_wrap=True)
    else:
        console.print("  nothing: no money has moved, and none is held")


def lines_of(events: Iterable[Event]) -> list[Line]:
    """Fold what came again and again in the same words."""
    lines: list[Line] = []
    for event in events:
        if lines and (lines[-1].event.source, lines[-1].event.text) == (event.source, event.text):
            lines[-1] = Line(lines[-1].event, lines[-1].times + 1, event.at)
        else:
            lines.append(Line(event, 1, event.at))
    return lines


def plain(text: str) -> str:
    """Return words without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold underline"))


def _state(state: str) -> tuple[str, str]:
    return state, STATE_COLOURS.get(state, "")


def _print_child(console: Console, child: Child) -> None:
    _heading(console, f"its child {child.id}: {child.operation_type}, {child.state}")
    _print_events(console, child.events)


def _print_events(console: Console, events: Sequence[Event]) -> None:
    """Print events in columns: folded on a terminal, one line each where nobody looks."""
    rows = list(_rows(events))
    if console.is_terminal:
        grid = Table.grid(Column(no_wrap=True), Column(no_wrap=True), Column(no_wrap=True), padding=(0, 2, 0, 0))
        grid.add_column(overflow="fold")
        for *narrow, text in rows:
            grid.add_row(*narrow, text)
        console.print(grid)
        return
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(3)]
    for *narrow, text in rows:
        words = [str(cell).ljust(width) for cell, width in zip(narrow, widths, strict=True)]
        console.print(Text("  ".join((*words, text.plain)).rstrip()), soft_wrap=True)


def _rows(events: Sequence[Event]) -> Iterator[tuple[str, str, str, Text]]:
    """Yield when, how long after the first, who says so, and what; each day once, in a row of its own."""
    day = None
    for line in lines_of(events):
        at = line.event.at.astimezone(UTC)
        if at.date() != day:
            day = at.date()
            yield f"{day}", "", "", Text()
        text = plain(line.event.text)
        if line.times > 1:
            text += f" ({line.times} times, last at {line.last.astimezone(UTC):%Y-%m-%d %H:%M:%S})"
        yield (
            f"  {at:%H:%M:%S.%f}"[:-3],
            _after((line.event.at - events[0].at).total_seconds()),
            line.event.source.replace("_", " "),
            Text(text, style=_STYLES.get(line.event.source, "")),
        )


def _after(seconds: float) -> str:
    """Write how long after the first event, as exactly as anybody wants to know."""
    if abs(seconds) < _MINUTE_S:
        return f"{seconds:+.3f}s"
    whole = round(seconds)
    if whole < _HOUR_S:
        return f"+{whole // _MINUTE_S}m{whole % _MINUTE_S:02d}s"
    if whole < _DAY_S:
        return f"+{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02d}m"
    return f"+{whole // _DAY_S}d{whole % _DAY_S // _HOUR_S:02d}h"


def _effects(effects: Sequence[Effect]) -> Iterator[Text]:
    width = max(len(effect.account) for effect in effects)
    for effect in effects:
        words = []
        if effect.posted_minor:
            words.append(f"{'+' if effect.posted_minor > 0 else ''}{_money(effect, effect.posted_minor)}")
        if effect.held_minor:
            words.append(f"{_money(effect, effect.held_minor)} held")
        if effect.coming_minor:
            words.append(f"{_money(effect, effect.coming_minor)} coming in once posted")
        yield Text(f"  {effect.account.ljust(width)}  {', '.join(words)}")


def _money(effect: Effect, amount_minor: int) -> str:
    try:
        return str(Money(amount_minor, currency(effect.currency)))
    except BadInput:
        return str(amount_minor)
