"""What commands print: tables for people, JSON for programs, faults on standard error.

Results go to standard output and everything else to standard error, so that ``--json`` can be piped.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.money import Money

STATE_COLOURS = {
    "SETTLED": "green",
    "REJECTED": "yellow",
    "DUPLICATE": "yellow",
    "FAILED": "red",
    "EXPIRED": "red",
    "IN_DOUBT": "red",
}


def out() -> Console:
    """Return the console of standard output; lines are not folded where nobody looks."""
    console = Console(file=sys.stdout, highlight=False)
    return console if console.is_terminal else Console(file=sys.stdout, highlight=False, width=200)


def err() -> Console:
    """Return the console of standard error."""
    return Console(file=sys.stderr, highlight=False)


def print_json(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, default=plain, ensure_ascii=False) + "\n")


def plain(value: object) -> object:
    """Return what JSON has no word for in words it has."""
    if isinstance(value, Money):
        return {"amount_minor": value.amount_minor, "currency": value.currency.code}
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table; a column whose name ends in ``>`` is aligned to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        made.add_column(column.removesuffix(">"), justify="right" if column.endswith(">") else "left")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(_text(cell)) for cell in row))
    return made


def state(name: str) -> Text:
    """Return a state in its colour."""
    return Text(name, style=STATE_COLOURS.get(name, ""))


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, datetime):
        return cell.strftime("%Y-%m-%d %H:%M:%S")
    return str(cell)
