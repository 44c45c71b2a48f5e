"""How a PSP's settlement file is laid out and what it says when: data, written next to its adapter.

It is published as the PSP's manifest is (`pm.psp.settlement`), so that whoever reads files knows no PSP by name, and
adding a PSP stays adding one folder. A layout that contradicts itself is refused here, before a line is read by it.
This module must never do I/O, and never hold code of a PSP.
"""

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from shared.errors import BadInput

LAYOUT_VERSION: Final = 1
LINE_BYTES_MAX: Final = 16_384
_PSP: Final = re.compile(r"[a-z][a-z0-9]{1,15}")
_ENCODINGS: Final = frozenset({"ascii", "utf-8", "tis-620", "cp1251"})
_BPS_MAX: Final = 10_000


class BadLayout(BadInput):
    """The layout of a settlement file contradicts itself."""

    code = "bad_layout"


class Shape(StrEnum):
    """How the values of a line are kept apart."""

    CSV = "csv"
    """By a separator; a line of names stands before the first one."""
    FIXED = "fixed"
    """By their places; times and amounts are padded, texts end with blanks."""


class Value(StrEnum):
    """What a line says of a payment; everything else in a file is passed over and never kept."""

    REFERENCE = "reference"
    """Ours."""
    TRANSACTION = "transaction"
    """The PSP's own."""
    BATCH = "batch"
    """Of payments that the PSP moved as one; a line that names nothing else is about all of them."""
    STATUS = "status"
    AMOUNT = "amount"
    CURRENCY = "currency"
    FEE = "fee"
    AT = "at"


class Means(StrEnum):
    """What a PSP's status word means."""

    PAID = "paid"
    FAILED = "failed"
    REVERSED = "reversed"
    NOTHING = "nothing"
    """Not decided yet."""


class Amounts(StrEnum):
    """How amounts are written."""

    MINOR = "minor"
    """As whole minor units."""
    DECIMAL = "decimal"
    """With a point, ``123.45``."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where a value stands: under a `name` (CSV), or in `width` characters from `start` on, counted from 0.

    In a trailer of a CSV file, `start` is the number of the cell.
    """

    name: str = ""
    start: int = 0
    width: int = 0


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What still agrees: the fee that is expected and how far one may be off, and how far an amount that was exchanged.

    Without `fee_bps` and `fee_fixed_minor` no fee is expected and none is looked at.
    """

    fee_fixed_minor: int = 0
    fee_bps: int = 0
    fee_off_minor: int = 0
    amount_off_minor: int = 0
    amount_off_bps: int = 0

    def amount_off(self, planned_minor: int) -> int:
        """Return how far an amount may be off what was planned."""
        return max(self.amount_off_minor, planned_minor * self.amount_off_bps // _BPS_MAX)

    def fee(self, amount_minor: int) -> int | None:
        """Return the fee that is expected for an amount, rounded half up; None where none is."""
        if not self.fee_fixed_minor and not self.fee_bps:
            return None
        return self.fee_fixed_minor + (amount_minor * self.fee_bps + _BPS_MAX // 2) // _BPS_MAX


@dataclass(frozen=True, slots=True)
class Deadlines:
    """When something that is expected counts as missing, and how near in time a payment may be taken for another."""

    answer_s: int = 3_600
    """After a submission: a definite answer (T+0)."""
    line_s: int = 172_800
    """After a payment: its line in a file (T+1)."""
    near_s: int = 900


@dataclass(frozen=True, slots=True)
class Layout:
    """A PSP's settlement files.

    Attributes:
        psp: whose.
        shape: how values are kept apart.
        columns: where each stands; status, amount, currency, and a reference or a transaction are needed.
        statuses: the PSP's words.
        encoding: of the file.
        separator: between the values of a CSV line.
        amounts: how they are written; fees and the trailer's sum likewise.
        zone_minutes: what local times are ahead of UTC; a time that says its own zone keeps it.
        header: what a header line begins with; empty where there is none.
        detail: what a line about a payment begins with; empty where every other line is one.
        trailer: what the trailer begins with; empty where there is none.
        count: where the trailer says how many lines there are.
        total: where the trailer says what their amounts add up to.
        tolerances: what still agrees.
        deadlines: when what is expected is missing.
    """

    psp: str
    shape: Shape
    columns: Mapping[Value, Column]
    statuses: Mapping[str, Means]
    encoding: str = "utf-8"
    separator: str = ","
    amounts: Amounts = Amounts.MINOR
    zone_minutes: int = 0
    header: str = ""
    detail: str = ""
    trailer: str = ""
    count: Column | None = None
    total: Column | None = None
    tolerances: Tolerances = field(default_factory=Tolerances)
    deadlines: Deadlines = field(default_factory=Deadlines)


def check_layout(layout: Layout) -> Layout:
    """Return the layout if files can be read by it.

    Raises:
        BadLayout: naming every fault.
    """
    columns, fixed = layout.columns, layout.shape is Shape.FIXED
    places = [*columns.values(), *(place for place in (layout.count, layout.total) if place is not None)]
    marks = [mark for mark in (layout.header, layout.detail, layout.trailer) if mark]
    checks = {
        "its PSP is no id": _PSP.fullmatch(layout.psp),
        "it lacks status, amount or currency": {Value.STATUS, Value.AMOUNT, Value.CURRENCY} <= columns.keys(),
        "its lines name no payment": {Value.REFERENCE, Value.TRANSACTION, Value.BATCH} & columns.keys(),
        "no word of it means paid": Means.PAID in layout.statuses.values(),
        f"its encoding is none of {', '.join(sorted(_ENCODINGS))}": layout.encoding in _ENCODINGS,
        "its separator is not one character": len(layout.separator) == 1 and layout.separator not in '"\r\n',
        "a place of it has no width": not fixed or all(place.width > 0 <= place.start for place in places),
        "a place of it lies beyond the longest line": all(
            place.start + place.width <= LINE_BYTES_MAX for place in places
        ),
        "a column of it has no name": fixed or all(place.name for place in columns.values()),
        "its marks are the same": len(set(marks)) == len(marks),
        "a fixed line is told from a trailer by its mark": not fixed or bool(layout.detail),
        "it counts in a trailer that it does not have": layout.trailer
        or (layout.count is None and layout.total is None),
        "a tolerance is negative or above the whole": _tolerable(layout.tolerances),
        "a deadline is no time": min(asdict(layout.deadlines).values()) > 0,
    }
    faults = [fault for fault, holds in checks.items() if not holds]
    if faults:
        raise BadLayout(f"{layout.psp}: {'; '.join(faults)}")
    codecs.lookup(layout.encoding)
    return layout


def _tolerable(tolerances: Tolerances) -> bool:
    return min(asdict(tolerances).values()) >= 0 and max(tolerances.fee_bps, tolerances.amount_off_bps) <= _BPS_MAX


def write_layout(layout: Layout) -> str:
    """Return the layout as the JSON text to store."""
    return json.dumps({"v": LAYOUT_VERSION} | asdict(layout), separators=(",", ":"))


def read_layout(text: str) -> Layout:
    """Read a stored layout and check it again.

    Raises:
        BadLayout: it was not written by `write_layout`, or contradicts itself.
    """
    try:
        stored: dict[str, Any] = json.loads(text)
        if stored.pop("v") != LAYOUT_VERSION:
            raise BadLayout("a stored layout of another version")
        count, total = stored.pop("count"), stored.pop("total")
        layout = Layout(
            shape=Shape(stored.pop("shape")),
            columns={Value(name): Column(**place) for name, place in stored.pop("columns").items()},
            statuses={word: Means(means) for word, means in stored.pop("statuses").items()},
            amounts=Amounts(stored.pop("amounts")),
            count=None if count is None else Column(**count),
            total=None if total is None else Column(**total),
            tolerances=Tolerances(**stored.pop("tolerances")),
            deadlines=Deadlines(**stored.pop("deadlines")),
            **stored,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadLayout(f"no stored layout: {type(error).__name__}") from None
    return check_layout(layout)
