"""A report as one HTML page: nothing is loaded, nothing runs; it prints, and follows a dark or light screen. Pure.

It is well-formed XML too. Everything that it says stands in the JSON; this module must never compute a figure that a
reader could not add up from there.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Final

from reconciler.reports.amounts import amount
from reconciler.reports.charts import Unit, fees_chart, legend, psp_chart, trend_chart
from reconciler.reports.contents import Report
from reconciler.reports.formats import sha256, write_json
from reconciler.reports.markup import Markup, element, text
from reconciler.reports.periods import DAYS_A_WEEK, parse_span
from reconciler.reports.tables import tables
from reconciler.reports.totals import kind_of
from reconciler.reports.wording import days_between, long_day
from shared.accounts import CUSTOMER_KINDS

_NAMES: Final = {"day": "Daily report", "week": "Weekly report"}


@cache
def _style() -> str:
    return files("reconciler.reports").joinpath("page.css").read_text()


def write_html(report: Report) -> str:
    """Return the page."""
    title = f"Paymesh: {_NAMES[report.period.kind].lower()}, {_title(report)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", text(title)),
        element("style", Markup("\n" + _style())),
    )
    currencies = [_currency(report, Unit(code, exponent)) for code, exponent in report.exponents.items()]
    body = element("body", element("main", _header(report), *currencies, *tables(report), _footer(report)))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _title(report: Report) -> str:
    first = _first_day(report)
    if report.period.kind == "day":
        return long_day(first)
    return f"week {first.isocalendar().week}, {days_between(first, first + timedelta(days=DAYS_A_WEEK - 1))}"


def _first_day(report: Report) -> date:
    return parse_span(report.period.name).first


def _header(report: Report) -> Markup:
    period = report.period
    held = sum(check.holds for check in report.checks)
    proven = f"Books proven: {held} of {len(report.checks)} checks hold"
    badges = [_badge("Final", "good") if period.complete else _badge("Not over yet", "wait")]
    badges.append(_badge(proven, "good" if report.holds else "bad"))
    if report.open_breaks is not None:
        breaks = sum(line.breaks for line in report.open_breaks)
        badges.append(_badge("No open breaks" if not breaks else f"Open breaks: {breaks}", "bad" if breaks else "good"))
    doubts = sum(line.intents for line in report.open_intents or () if line.state == "IN_DOUBT")
    if doubts:
        badges.append(_badge(f"In doubt: {doubts}", "wait"))
    said = f"{period.starts_at} to {period.ends_at} · business days in {period.time_zone}"
    if not period.complete:
        said += f" · counted to {period.counted_to}"
    return element(
        "header",
        element(
            "div",
            element("p", text(f"Paymesh · {_NAMES[period.kind]}"), class_="over"),
            element("h1", text(_title(report)[:1].upper() + _title(report)[1:])),
            element("p", text(said), class_="soft"),
        ),
        element("div", *badges, class_="badges"),
    )


def _badge(said: str, look: str) -> Markup:
    return element("span", text(said), class_=f"badge {look}")


def _currency(report: Report, unit: Unit) -> Markup:
    trend = [day for day in report.trend if day.currency == unit.currency]
    psps = [psp for psp in report.psps if psp.currency == unit.currency]
    since = _first_day(report).isoformat()
    charts = []
    if trend:
        said = f"Volume a day, last {len(trend)} days" if len(trend) > 1 else "Volume of the day"
        charts.append(_chart(said, trend_chart(trend, unit, since=since), legend()))
    beside = []
    if any(psp.paid_in or psp.paid_out for psp in psps):
        beside += [_caption("Through each PSP, in and out"), psp_chart(psps, unit)]
    if any(day.fees_minor for day in trend):
        beside += [_caption("Fees a day"), fees_chart(trend, unit, since=since)]
    if beside:
        charts.append(element("div", *beside, class_="card beside"))
    return element(
        "section",
        element("h2", text(unit.currency)),
        element("div", *_tiles(report, unit), class_="tiles"),
        *([element("div", *charts, class_="charts")] if charts else []),
        class_="currency",
    )


def _chart(title: str, *drawn: Markup) -> Markup:
    return element("div", _caption(title), *drawn, class_="card")


def _caption(title: str) -> Markup:
    return element("h3", text(title))


def _tiles(report: Report, unit: Unit) -> Sequence[Markup]:
    ours = [psp for psp in report.psps if psp.currency == unit.currency]
    inside = [line for line in report.operations if line.currency == unit.currency and not line.psp]
    wallets = [
        line for line in report.balances if line.currency == unit.currency and kind_of(line.account) in CUSTOMER_KINDS
    ]
    closing = sum(line.closing_minor for line in wallets)
    change = closing - sum(line.opening_minor for line in wallets)
    sign = "+" if change > 0 else ""
    fees = [line for line in report.fees if line.currency == unit.currency]
    return [
        _tile("Paid in", sum(psp.paid_in_minor for psp in ours), unit, _times(sum(psp.paid_in for psp in ours))),
        _tile("Paid out", sum(psp.paid_out_minor for psp in ours), unit, _times(sum(psp.paid_out for psp in ours))),
        _tile("Within the house", sum(line.amount_minor for line in inside), unit,
              _times(sum(line.payments for line in inside))),
        _tile("Fees", sum(line.fees_minor for line in fees), unit, _times(sum(line.fees for line in fees), "fee")),
        _tile("Owed to customers", closing, unit, f"{sign}{amount(change, unit.exponent)} net"),
    ]  # fmt: skip


def _tile(name: str, amount_minor: int, unit: Unit, said: str) -> Markup:
    return element(
        "div",
        element("h3", text(name)),
        element("b", text(amount(amount_minor, unit.exponent))),
        element("p", text(said), class_="soft"),
        class_="card tile",
    )


def _times(count: int, thing: str = "payment") -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _footer(report: Report) -> Markup:
    return element(
        "footer",
        element("p", text(
            "Money counts for the day in which the ledger moved it; balances are credits less debits, so that what is "
            "owed stands above zero and what we have below. What was open is told by the database's clock at the end."
        )),
        element("p", text(f"SHA-256 of the figures as JSON: {sha256(write_json(report))}")),
    )  # fmt: skip
