"""A view as a screen: what is wrong first, then streams, PSPs and consumers, as many rows as there is room for.

This module must never do I/O, and never let a value move the cursor: names come from outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ops.console import state, table
from ops.top.rows import ConsumerRow, PspRow, StreamRow, View

_NOTHING: Final = "-"
_FRAME: Final = 4
"""Lines of a table around its rows."""
_BREAKERS: Final = {"CLOSED": "green", "HALF_OPEN": "yellow", "OPEN": "bold red"}
_ALL: Final = 1 << 16


@dataclass(slots=True)
class _Tally:
    streams: int = 0
    held: int = 0
    idle_s: float = float("inf")


def screen(view: View, *, lines: int = _ALL, hint: str = "") -> RenderableType:
    """Lay a view out on that many lines; a table that finds no room for all its rows says how many it left out."""
    parts: list[RenderableType] = [_head(view, hint), *_faults(view), _intents(view)]
    psps = table(None, _PSP_COLUMNS, [_psp(row) for row in view.psps]) if view.psps else None
    dead = _dead(view)
    left = lines - len(parts) - (len(view.psps) + _FRAME if psps is not None else 0) - (1 if dead is not None else 0)
    consumers = _by_consumer(view.consumers)
    room = max(left - _FRAME - min(len(consumers) + _FRAME, left // 3), 1)
    if view.streams:
        parts.append(_streams(view.streams, room))
        left -= min(len(view.streams), room) + _FRAME
    if psps is not None:
        parts.append(psps)
    if dead is not None:
        parts.append(dead)
    if consumers and left > _FRAME:
        parts.append(_consumers(consumers, left - _FRAME))
    return Group(*parts)


STREAM_COLUMNS: Final = [
    "stream", "length>", "waiting>", "in flight>", "delayed>", "oldest>", "in/s>", "out/s>", "dead>",
]  # fmt: skip
_PSP_COLUMNS: Final = [
    "psp", "switch", "breaker", "errors>", "calls/min>", "p95>", "outbox>", "oldest>", "in doubt>",
]  # fmt: skip


def duration(seconds: float | None) -> str:
    """Return a span of time in its two largest units."""
    if seconds is None:
        return _NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, name, small, minor in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{name} {whole % size // small:02d}{minor}"
    return _NOTHING


def printable(text: str) -> str:
    """Return a text without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _head(view: View, hint: str) -> Text:
    name = f"mesh {view.mesh.id[:8]}, epoch {view.mesh.epoch}" if view.mesh is not None else "no mesh found"
    return Text.assemble(("paymesh top", "bold"), f"  {name}  {view.at:%Y-%m-%d %H:%M:%S} UTC", (f"  {hint}", "dim"))


def _faults(view: View) -> list[Text]:
    return [
        Text.assemble((f"{fault.store} did not say: ", "bold red"), f"{fault.what} ({printable(fault.error)})")
        for fault in view.unreached
    ]


def _intents(view: View) -> Text:
    parts: list[Text] = []
    if view.steps_per_s is not None:
        steps = [Text.assemble(state(name), f" {rate:.1f}") for name, rate in view.steps_per_s.items()]
        parts.append(Text.assemble("intents/s: ", Text("  ").join(steps) if steps else "0"))
    if view.undecided is not None:
        least = "≥ " if view.at_least else ""
        counts = {"IN_DOUBT": 0} | dict(view.undecided)
        open_ = [Text.assemble(state(name), f" {least}{count}") for name, count in sorted(counts.items())]
        parts.append(Text.assemble("undecided: ", Text("  ").join(open_)))
    if view.outbox is not None:
        parts.append(Text(f"outbox: {view.outbox}"))
    return Text("   ").join(parts)


def _streams(rows: Sequence[StreamRow], room: int) -> Table:
    shown = sorted(rows, key=_weight)[:room] if len(rows) > room else rows
    cells: list[Sequence[str | Text]] = [stream_cells(row) for row in shown]
    if len(rows) > len(shown):
        cells[-1] = _rest(rows, shown[:-1])
    return table(None, STREAM_COLUMNS, cells)


def _weight(row: StreamRow) -> tuple[int, int]:
    """Put first what has most in it."""
    return (-(row.length + row.delayed + row.dead), -row.in_flight)


def _rest(rows: Sequence[StreamRow], shown: Sequence[StreamRow]) -> list[str]:
    left = [row for row in rows if row not in shown]
    sums = [sum(getattr(row, name) for row in left) for name in ("length", "waiting", "in_flight", "delayed")]
    added, finished = (sum(getattr(row, name) or 0 for row in left) for name in ("added_per_s", "finished_per_s"))
    oldest = max((row.oldest_s for row in left if row.oldest_s is not None), default=None)
    dead = sum(row.dead for row in left)
    return [f"… {len(left)} more", *map(str, sums), duration(oldest), f"{added:.1f}", f"{finished:.1f}", str(dead)]


def stream_cells(row: StreamRow) -> list[str | Text]:
    """Return the cells of a stream's line."""
    if not row.exists:
        return [row.stream, *([_NOTHING] * 7), _alarming(row.dead)]
    numbers = [str(row.length), str(row.waiting), str(row.in_flight), str(row.delayed)]
    return [
        row.stream,
        *numbers,
        duration(row.oldest_s),
        _rate(row.added_per_s),
        _rate(row.finished_per_s),
        _alarming(row.dead),
    ]


def _psp(row: PspRow) -> list[str | Text]:
    return [
        row.psp,
        _switch(row),
        Text(row.breaker or _NOTHING, style=_BREAKERS.get(row.breaker or "", "")),
        _NOTHING if row.error_rate is None else f"{row.error_rate:.1%}",
        _NOTHING if row.calls is None else str(row.calls),
        duration(row.p95_s),
        _NOTHING if row.unsent is None else str(row.unsent),
        duration(row.unsent_oldest_s),
        _NOTHING if row.undecided is None else _alarming(row.undecided.get("IN_DOUBT", 0)),
    ]


def _switch(row: PspRow) -> Text:
    if row.paused is None:
        return Text(_NOTHING)
    said = Text("paused", style="bold red") if "*" in row.paused else Text("on", style="green")
    if row.paused and "*" not in row.paused:
        said = Text(f"paused: {', '.join(row.paused)}", style="red")
    return said if not row.untold else Text.assemble(said, (" (Redis differs)", "yellow"))


def _dead(view: View) -> Text | None:
    counts: dict[str, int] = {}
    for row in view.dead_letters:
        counts[row.reason] = counts.get(row.reason, 0) + row.count
    if not view.dead:
        return None
    oldest = max((row.dead_oldest_s for row in view.streams if row.dead_oldest_s is not None), default=None)
    by_reason = "  ".join(f"{printable(name)} {count}" for name, count in _largest(counts))
    return Text.assemble((f"dead letters: {view.dead}", "bold red"), f"  {by_reason}  oldest {duration(oldest)}")


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _by_consumer(rows: Sequence[ConsumerRow]) -> list[tuple[str, _Tally]]:
    found: dict[str, _Tally] = {}
    for row in rows:
        tally = found.setdefault(row.consumer, _Tally())
        tally.streams += 1
        tally.held += row.held
        tally.idle_s = min(tally.idle_s, row.idle_s)
    return sorted(found.items(), key=lambda item: (-item[1].held, item[1].idle_s, item[0]))


def _consumers(rows: Sequence[tuple[str, _Tally]], room: int) -> Table:
    cells = [[printable(name), tally.streams, tally.held, duration(tally.idle_s)] for name, tally in rows[:room]]
    if len(rows) > room:
        left = rows[room - 1 :]
        cells[-1] = [f"… {len(left)} more", _NOTHING, sum(tally.held for _, tally in left), _NOTHING]
    return table(None, ["consumer", "streams>", "held>", "idle>"], cells)


def _rate(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.1f}"


def _alarming(count: int) -> str | Text:
    return Text(str(count), style="bold red") if count else "0"
