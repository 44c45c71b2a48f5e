"""The lines of a settlement file: from bytes to columns of values, with a reason for each that makes no sense.

A line that cannot be read is named by its number and a word of ours, and the rest goes on: what stood in it may be
personal data and goes nowhere. Nothing is guessed: an amount with a comma is no amount. This module must never do I/O,
and never keep a value that the layout does not name.
"""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from shared.errors import BadInput
from shared.money import AMOUNT_MINOR_MAX, currency
from shared.settlement.layout import LINE_BYTES_MAX, Amounts, Column, Layout, Means, Shape, Value

NAME: Final = re.compile(r"[!-~]{1,64}")
"""What a payment may be called: printable, without blanks."""
_YEAR_MIN: Final = 2000
_YEAR_MAX: Final = 9000
"""Far enough from the last year there is that no zone, and nothing that is added to it, leads beyond."""
_DIGITS_MAX: Final = 19
_TOTAL_DIGITS_MAX: Final = 38
"""What a sum of any file has at most, and the database's number of it."""
_UNREADABLE: Final = -1
"""What a trailer says that makes no sense: no file has so many lines."""


class BadLine(BadInput):
    """A line makes no sense; `code` says why."""

    code = "bad_line"


class BadFile(BadInput):
    """The file is not one that the layout describes."""

    code = "bad_file"


@dataclass(slots=True)
class Batch:
    """Lines that were read: a column a value, so that a database takes them as they are.

    `odd` says of a line that its fee is off, `batches` what it is a part of, or, where it names no payment, the sum of;
    `refused` names lines that make no sense, with the reason.
    """

    numbers: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    references: list[str | None] = field(default_factory=list)
    transactions: list[str | None] = field(default_factory=list)
    batches: list[str | None] = field(default_factory=list)
    means: list[str] = field(default_factory=list)
    amounts: list[int] = field(default_factory=list)
    currencies: list[str] = field(default_factory=list)
    fees: list[int | None] = field(default_factory=list)
    times: list[datetime | None] = field(default_factory=list)
    odd: list[bool] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    trailers: list[tuple[int | None, int | None]] = field(default_factory=list)
    """What trailers say: how many lines, and what their amounts add up to."""
    counted: int = 0
    """Lines about payments, those that make no sense included."""


Cells = Sequence[str]
_Get = Callable[[Cells], str]


class LineReader:
    """Reads lines by a layout; of CSV, the line of names must come first, and again whenever reading goes on."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._csv = layout.shape is Shape.CSV
        self._tolerances = layout.tolerances
        self._zone = timezone(timedelta(minutes=layout.zone_minutes))
        self._places: dict[Value, _Get] = {}
        self._width = 0
        self._currencies: dict[str, int] = {}
        if not self._csv:
            self._places = {value: _cut(place) for value, place in layout.columns.items()}
            self._width = max(place.start + place.width for place in layout.columns.values())

    @property
    def named(self) -> bool:
        """Whether the line of names is known, where there is one."""
        return bool(self._places)

    def read(self, lines: Sequence[bytes], first: int) -> Batch:
        """Read lines, of which the first has the number `first` (the file's first line is 1).

        Raises:
            BadFile: of CSV, the first line that is no header does not name every column.
        """
        batch = Batch()
        layout = self._layout
        for number, raw in enumerate(lines, start=first):
            try:
                text = self._text(raw)
            except BadLine as error:
                batch.counted += 1
                batch.refused.append((number, error.code))
                continue
            if not text or (layout.header and text.startswith(layout.header)):
                continue
            if layout.trailer and text.startswith(layout.trailer):
                batch.trailers.append(self._trailer(text))
                continue
            if not self._places:
                self._name(text)
                continue
            batch.counted += 1
            try:
                self._detail(batch, number, text)
            except BadLine as error:
                batch.refused.append((number, error.code))
        return batch

    def _text(self, raw: bytes) -> str:
        if len(raw) > LINE_BYTES_MAX:
            raise BadLine("", code="too_long")
        try:
            return raw.decode(self._layout.encoding).rstrip("\r")
        except UnicodeDecodeError:
            raise BadLine("", code="not_text") from None

    def _name(self, text: str) -> None:
        try:
            cells = self._cells(text.removeprefix("\ufeff"))
        except BadLine:
            raise BadFile("its first line names no columns") from None
        names = {value: place.name for value, place in self._layout.columns.items()}
        if missing := sorted(set(names.values()) - set(cells)):
            raise BadFile(f"its first line does not name {', '.join(missing)}")
        self._places = {value: _cell(cells.index(name)) for value, name in names.items()}
        self._width = len(cells)

    def _cells(self, text: str) -> Cells:
        if '"' not in text:
            return text.split(self._layout.separator)
        try:
            # A line at a time: a quotation mark left open must not swallow the lines that follow.
            rows = list(csv.reader([text], delimiter=self._layout.separator, strict=True))
        except csv.Error:
            raise BadLine("", code="quotes") from None
        return rows[0]

    def _detail(self, batch: Batch, number: int, text: str) -> None:
        layout = self._layout
        if layout.detail and not text.startswith(layout.detail):
            raise BadLine("", code="unknown_mark")
        cells: Cells = self._cells(text) if self._csv else text
        if len(cells) != self._width and (self._csv or len(cells) < self._width):
            raise BadLine("", code="wrong_length")
        get = self._places
        means = layout.statuses.get(get[Value.STATUS](cells))
        if means is None:
            raise BadLine("", code="unknown_status")
        code = get[Value.CURRENCY](cells)
        exponent = self._exponent(code)
        amount = self._amount(get[Value.AMOUNT](cells), exponent)
        if not 0 < amount <= AMOUNT_MINOR_MAX:
            raise BadLine("", code="amount")
        reference, transaction = self._called(Value.REFERENCE, cells), self._called(Value.TRANSACTION, cells)
        whole = self._called(Value.BATCH, cells)
        # No name has a blank in it, so that a batch is never taken for one of its payments.
        called = transaction or reference or (whole and f"batch {whole}")
        if called is None:
            raise BadLine("", code="names_nothing")
        fee = self._fee(cells, exponent)
        at = self._at(cells)
        batch.numbers.append(number)
        batch.keys.append(f"{called}:{means}")
        batch.references.append(reference)
        batch.transactions.append(transaction)
        batch.batches.append(whole)
        batch.means.append(means.value)
        batch.amounts.append(amount)
        batch.currencies.append(code)
        batch.fees.append(fee)
        batch.times.append(at)
        batch.odd.append(self._fee_is_off(means, amount, fee))

    def _fee_is_off(self, means: Means, amount: int, fee: int | None) -> bool:
        if fee is None or means is not Means.PAID:
            return False
        expected = self._tolerances.fee(amount)
        return expected is not None and abs(fee - expected) > self._tolerances.fee_off_minor

    def _called(self, value: Value, cells: Cells) -> str | None:
        get = self._places.get(value)
        word = get(cells) if get is not None else ""
        if word and NAME.fullmatch(word) is None:
            raise BadLine("", code=str(value))
        return word or None

    def _exponent(self, code: str) -> int:
        known = self._currencies.get(code)
        if known is None:
            try:
                known = self._currencies[code] = currency(code).exponent
            except BadInput:
                raise BadLine("", code="currency") from None
        return known

    def _amount(self, text: str, exponent: int) -> int:
        if self._layout.amounts is Amounts.DECIMAL:
            whole, point, part = text.partition(".")
            if len(part) > exponent or (point and not part):
                raise BadLine("", code="amount")
            text = whole + part.ljust(exponent, "0") if whole else ""
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
            raise BadLine("", code="amount")
        return int(text)

    def _fee(self, cells: Cells, exponent: int) -> int | None:
        get = self._places.get(Value.FEE)
        text = get(cells) if get is not None else ""
        if not text:
            return None
        try:
            fee = self._amount(text, exponent)
        except BadLine:
            raise BadLine("", code="fee") from None
        if fee > AMOUNT_MINOR_MAX:
            raise BadLine("", code="fee")
        return fee

    def _at(self, cells: Cells) -> datetime | None:
        get = self._places.get(Value.AT)
        text = get(cells) if get is not None else ""
        if not text:
            return None
        try:
            at = datetime.fromisoformat(text if not text.isdigit() else f"{text[:8]}T{text[8:]}")
        except ValueError:
            raise BadLine("", code="at") from None
        at = at if at.tzinfo is not None else at.replace(tzinfo=self._zone)
        if not _YEAR_MIN <= at.year <= _YEAR_MAX:
            raise BadLine("", code="at")
        return at.astimezone(UTC)

    def _trailer(self, text: str) -> tuple[int | None, int | None]:
        layout = self._layout
        try:
            cells: Cells = self._cells(text) if self._csv else text
        except BadLine:
            return _UNREADABLE, _UNREADABLE
        said: list[int | None] = []
        for place in (layout.count, layout.total):
            if place is None:
                said.append(None)
                continue
            word = _place(place, cells, in_cells=self._csv)
            # A sum in a currency of its own exponent: decimals are taken as two, which is what files are made of.
            digits = word.replace(".", "") if place is layout.total and layout.amounts is Amounts.DECIMAL else word
            readable = digits.isascii() and digits.isdigit() and len(digits) <= _TOTAL_DIGITS_MAX
            said.append(int(digits) if readable else _UNREADABLE)
        return said[0], said[1]


def _place(place: Column, cells: Cells, *, in_cells: bool) -> str:
    if in_cells:
        return cells[place.start].strip() if place.start < len(cells) else ""
    return "".join(cells[place.start : place.start + place.width]).strip()


def _cut(place: Column) -> _Get:
    begin, end = place.start, place.start + place.width
    return lambda cells: cells[begin:end].strip()  # type: ignore[attr-defined]  # the cells of a fixed line are its text


def _cell(index: int) -> _Get:
    return lambda cells: cells[index].strip()
