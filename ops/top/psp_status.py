"""All that a view knows about one PSP. This module must never do I/O."""

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType

from ops.console import table
from ops.top.rows import ConsumerRow, DeadRow, PspRow, StreamRow, Unreached, View
from ops.top.screen import STREAM_COLUMNS, duration, printable, stream_cells
from shared.streams import keys
from shared.streams.control import WHOLE_PSP


@dataclass(frozen=True, slots=True)
class PspStatus:
    """One PSP: its row, its two streams, who reads them, what died there, and what could not be read."""

    psp: PspRow
    streams: tuple[StreamRow, ...]
    consumers: tuple[ConsumerRow, ...]
    dead_letters: tuple[DeadRow, ...]
    unreached: tuple[Unreached, ...]


def psp_status(view: View, psp: str) -> PspStatus | None:
    """Pick one PSP out of a view; None where the view has no such PSP."""
    row = next((row for row in view.psps if row.psp == psp), None)
    if row is None:
        return None
    mine = (keys.jobs(psp), keys.results(psp))
    return PspStatus(
        psp=row,
        streams=tuple(each for each in view.streams if each.stream in mine),
        consumers=tuple(each for each in view.consumers if each.stream in mine),
        dead_letters=tuple(each for each in view.dead_letters if each.stream in mine),
        unreached=view.unreached,
    )


def sheet(status: PspStatus) -> RenderableType:
    """Lay it out for people."""
    parts: list[RenderableType] = [table(f"psp {status.psp.psp}", ["", ""], _facts(status))]
    if status.streams:
        parts.append(table(None, STREAM_COLUMNS, [stream_cells(row) for row in status.streams]))
    if status.consumers:
        cells = [[row.stream, printable(row.consumer), row.held, duration(row.idle_s)] for row in status.consumers]
        parts.append(table(None, ["stream", "consumer", "held>", "idle>"], cells))
    return Group(*parts)


def _facts(status: PspStatus) -> list[list[Any]]:
    row = status.psp
    facts: list[list[Any]] = [["channel", row.channel], ["kill switch", _switch(row)]]
    if row.untold:
        facts.append(["", f"PostgreSQL and Redis differ: {', '.join(map(_named, row.untold))}"])
    left = f", may be probed in {duration(row.breaker_left_s)}" if row.breaker_left_s else ""
    facts.append(["breaker", None if row.breaker is None else row.breaker + left])
    facts.append(["calls of the last minute", _calls(row)])
    facts.append(["answers of the last 5 minutes", _answers(row)])
    facts.append(["outbox", _outbox(row)])
    undecided = row.undecided
    facts.append(["undecided intents", undecided and ", ".join(f"{name} {n}" for name, n in sorted(undecided.items()))])
    dead = ", ".join(f"{each.stream} {printable(each.reason)} {each.count}" for each in status.dead_letters)
    facts.append(["dead letters", dead or ("none" if status.streams else None)])
    return [[name, "none" if value in ({}, "") else value] for name, value in facts]


def _switch(row: PspRow) -> str | None:
    if row.paused is None:
        return None
    return "; ".join(f"{_named(name)} paused: {printable(why)}" for name, why in row.paused.items()) or "on"


def _named(operation: str) -> str:
    return "everything" if operation == WHOLE_PSP else printable(operation)


def _calls(row: PspRow) -> str | None:
    if row.calls is None:
        return None
    return "none" if row.error_rate is None else f"{row.calls}, of which {row.errors} failed ({row.error_rate:.1%})"


def _answers(row: PspRow) -> str | None:
    if row.heard is None:
        return None
    return f"{row.answers} submissions, 95 % within {duration(row.p95_s)}" if row.answers else "none"


def _outbox(row: PspRow) -> str | None:
    if row.unsent is None:
        return None
    return f"{row.unsent} unsent, the oldest for {duration(row.unsent_oldest_s)}" if row.unsent else "empty"
