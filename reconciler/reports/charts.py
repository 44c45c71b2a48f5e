"""Charts as inline SVG, without script or outside resource; their colours are the page's. Pure.

Lengths are whole numbers computed from whole numbers, so that the same figures draw the same bytes everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from reconciler.reports.amounts import amount, round_up, short
from reconciler.reports.contents import PspTotal, Trend
from reconciler.reports.markup import Markup, element, text
from reconciler.reports.wording import weekday

_WIDTH: Final = 720
_LEFT: Final = 64
_TOP: Final = 12
_PLOT: Final = 180
_LINES: Final = 4
_SERIES: Final = (("paid_in_minor", "in", "paid in"), ("paid_out_minor", "out", "paid out"),
                  ("internal_minor", "own", "within the house"))  # fmt: skip
_NARROW: Final = 460
_ROW: Final = 22
_NAME: Final = 64
_LABEL: Final = 140


@dataclass(frozen=True, slots=True)
class Unit:
    """What amounts of a chart are in."""

    currency: str
    exponent: int

    def full(self, amount_minor: int) -> str:
        """Write an amount with its currency."""
        return f"{amount(amount_minor, self.exponent)} {self.currency}"


def trend_chart(days: Sequence[Trend], unit: Unit, *, since: str) -> Markup:
    """Draw every day's volume, in, out and within the house; days before `since` are faint."""
    return _by_day(days, unit, _Plot(_WIDTH, _PLOT, _SERIES, since), f"Volume a day in {unit.currency}")


def fees_chart(days: Sequence[Trend], unit: Unit, *, since: str) -> Markup:
    """Draw every day's fees; days before `since` are faint."""
    series = (("fees_minor", "fee", "fees"),)
    return _by_day(days, unit, _Plot(_NARROW, _PLOT * 4 // 9, series, since), f"Fees a day in {unit.currency}")


def psp_chart(psps: Sequence[PspTotal], unit: Unit) -> Markup:
    """Draw what came in and went out through every PSP."""
    top = max((max(psp.paid_in_minor, psp.paid_out_minor) for psp in psps), default=0) or 1
    inner: list[Markup] = []
    for index, psp in enumerate(psps):
        y = 4 + index * (2 * _ROW + 10)
        inner.append(element("text", text(psp.psp), x=0, y=y + _ROW + 4, class_="name"))
        for offset, (said, value, colour) in enumerate(
            (("in", psp.paid_in_minor, "in"), ("out", psp.paid_out_minor, "out"))
        ):
            length = value * (_NARROW - _NAME - _LABEL) // top
            at = y + offset * _ROW
            inner.append(_bar(_NAME, at + 2, max(length, 1), _ROW - 4, colour, f"{psp.psp} {said}: {unit.full(value)}"))
            inner.append(
                element("text", text(unit.full(value)), x=_NAME + max(length, 1) + 8, y=at + 15, class_="label")
            )
    height = 8 + len(psps) * (2 * _ROW + 10)
    return _svg(f"In and out through every PSP in {unit.currency}", _NARROW, height, inner)


def legend() -> Markup:
    """Say what the colours mean."""
    return element(
        "p", *(element("span", element("i", class_=f"key {colour}"), text(said)) for _, colour, said in _SERIES),
        class_="legend",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Plot:
    width: int
    height: int
    series: tuple[tuple[str, str, str], ...]
    since: str


def _by_day(days: Sequence[Trend], unit: Unit, plot: _Plot, said: str) -> Markup:
    """Draw a group of bars a day."""
    top = max((getattr(day, name) for day in days for name, _, _ in plot.series), default=0)
    step = round_up(max(top, 1), _LINES)
    floor = _TOP + plot.height
    inner = [_grid(step, unit, plot)]
    slot = (plot.width - _LEFT) // max(len(days), 1)
    bar = min(14, max(2, (slot - 6) // len(plot.series)))
    for index, day in enumerate(days):
        middle = _LEFT + slot * index + slot // 2
        inner.append(_bars(day, middle - bar * len(plot.series) // 2, bar, step, unit, plot))
        on = date.fromisoformat(day.day)
        look = "label mid" if day.day < plot.since else "label mid now"
        inner.append(element("text", text(weekday(on)), x=middle, y=floor + 14, class_=look))
        inner.append(element("text", text(on.day), x=middle, y=floor + 26, class_=look))
    return _svg(said, plot.width, floor + 30, inner)


def _grid(step: int, unit: Unit, plot: _Plot) -> Markup:
    lines = []
    for number in range(_LINES + 1):
        y = _TOP + plot.height - plot.height * number // _LINES
        lines.append(element("line", x1=_LEFT, x2=plot.width, y1=y, y2=y, class_="axis" if number == 0 else "grid"))
        said = short(step * number, unit.exponent)
        lines.append(element("text", text(said), x=_LEFT - 8, y=y + 4, class_="label end"))
    return element("g", *lines)


def _bars(day: Trend, left: int, bar: int, step: int, unit: Unit, plot: _Plot) -> Markup:
    drawn = []
    for index, (name, colour, said) in enumerate(plot.series):
        value = getattr(day, name)
        if value:
            height = max(1, value * plot.height // (step * _LINES))
            y = _TOP + plot.height - height
            drawn.append(_bar(left + index * bar, y, bar - 1, height, colour, f"{day.day} {said}: {unit.full(value)}"))
    return element("g", *drawn, class_="past" if day.day < plot.since else None)


def _bar(x: int, y: int, width: int, height: int, colour: str, said: str) -> Markup:
    return element(
        "rect", element("title", text(said)), x=x, y=y, width=width, height=height, rx=min(2, width // 2), class_=colour
    )


def _svg(said: str, width: int, height: int, inner: Sequence[Markup]) -> Markup:
    return element(
        "svg", element("title", text(said)), *inner, viewBox=f"0 0 {width} {height}", role="img",
        xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip
