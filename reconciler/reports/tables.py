"""The tables of a report's page. Pure; see `reconciler.reports.page`."""

from collections.abc import Iterable, Sequence
from typing import Final

from reconciler.reports.amounts import amount
from reconciler.reports.contents import Balance, Report
from reconciler.reports.markup import Markup, element, text
from reconciler.reports.standing import AGES_DAYS, OpenBreaks
from reconciler.reports.totals import kind_of
from reconciler.reports.wording import account_words, age, operation_words

_INSIDE: Final = "within the house"
Row = Sequence[Markup]
_NONE: Final = "\u2013"
_ORDER: Final = ("user", "merchant", "fee", "suspense", "psp", "transit", "liquidity", "equity")
_GRAVEST: Final = ("emergency", "critical", "warning")
_BADGES: Final = {"critical": "bad", "emergency": "bad", "warning": "wait", "IN_DOUBT": "wait"}


def tables(report: Report) -> list[Markup]:
    """Return every section that is a table."""
    return [
        _section("Operations", _operations(report)),
        _section("Our money at PSPs", _psps(report)),
        _section("Fees", _fees(report)),
        _section("Balances", _balances(report)),
        _section("Open when it ended", _intents(report)),
        _section("Open breaks by age", _breaks(report)),
        _section("Checks", _checks(report)),
    ]


def _operations(report: Report) -> Markup:
    rows = [
        [
            _plain(operation_words(line.operation_type)), _plain(line.psp or _INSIDE), _plain(line.currency),
            _count(line.payments),
            _money(report, line.currency, line.amount_minor), _money(report, line.currency, line.fees_minor),
            _money(report, line.currency, line.held_minor), _money(report, line.currency, line.voided_minor),
        ]
        for line in report.operations
    ]  # fmt: skip
    heads = ["Operation", "PSP", "Currency", "Payments>", "Amount>", "Fees>", "Held>", "Given back>"]
    return _table(heads, rows, "Nothing moved.")


def _psps(report: Report) -> Markup:
    rows = [
        [
            _plain(line.psp), _plain(line.currency), _money(report, line.currency, line.opening_minor),
            _money(report, line.currency, line.paid_in_minor), _money(report, line.currency, line.paid_out_minor),
            _money(report, line.currency, line.closing_minor, strong=True),
        ]
        for line in report.psps
    ]  # fmt: skip
    return _table(
        ["PSP", "Currency", "Opening>", "Paid in>", "Paid out>", "Closing>"], rows, "No PSP has moved money yet."
    )


def _fees(report: Report) -> Markup:
    rows = [
        [
            _plain(line.account), _plain(operation_words(line.operation_type)), _plain(line.psp or _INSIDE),
            _plain(line.currency), _count(line.fees), _money(report, line.currency, line.fees_minor),
        ]
        for line in report.fees
    ]  # fmt: skip
    return _table(["Fee account", "Operation", "PSP", "Currency", "Fees>", "Amount>"], rows, "No fees were taken.")


def _balances(report: Report) -> Markup:
    rows = [
        [
            _plain(account_words(line.account)), _plain(line.currency),
            _money(report, line.currency, line.opening_minor),
            _money(report, line.currency, line.debits_minor), _money(report, line.currency, line.credits_minor),
            _money(report, line.currency, line.closing_minor, strong=True),
            _money(report, line.currency, line.held_minor), _money(report, line.currency, line.due_minor),
        ]
        for line in sorted(report.balances, key=_for_readers)
    ]  # fmt: skip
    heads = ["Account", "Currency", "Opening>", "Debits>", "Credits>", "Closing>", "Held>", "Due>"]
    return _table(heads, rows, "No account has moved yet.")


def _for_readers(line: Balance) -> tuple[str, int, str]:
    """Sort what is owed before what stands against it."""
    return line.currency, _ORDER.index(kind_of(line.account)) if kind_of(line.account) in _ORDER else 0, line.account


def _intents(report: Report) -> Markup:
    if report.open_intents is None:
        return _nothing("Not noted: the day was closed too long after its end.")
    rows = [
        [
            _state(line.state), _plain(operation_words(line.operation_type)), _plain(line.psp or _INSIDE),
            _plain(line.currency), _count(line.intents), _money(report, line.currency, line.amount_minor),
            _plain(line.oldest_at),
        ]
        for line in report.open_intents
    ]  # fmt: skip
    heads = ["State", "Operation", "PSP", "Currency", "Intents>", "Amount>", "Oldest accepted"]
    return _table(heads, rows, "No intent was open.")


def _breaks(report: Report) -> Markup:
    if report.open_breaks is None:
        return _nothing("Not noted: the day was closed too long after its end.")
    kinds: dict[tuple[str, str, str, str], list[OpenBreaks]] = {}
    for line in report.open_breaks:
        kinds.setdefault((line.severity, line.kind, line.psp, line.currency), []).append(line)
    rows = []
    for (severity, kind, psp, currency), lines in sorted(kinds.items(), key=lambda item: _GRAVEST.index(item[0][0])):
        by_age = {line.age_days_min: line.breaks for line in lines}
        known = [line.delta_minor for line in lines if line.delta_minor is not None]
        rows.append([
            _state(severity), _plain(kind.replace("_", " ")), _plain(psp or _NONE),
            *(_count(by_age.get(days, 0)) for days in AGES_DAYS),
            _count(sum(by_age.values())),
            _money(report, currency, sum(known)) if known else _cell(_NONE, "n zero"),
            _plain(currency or _NONE),
        ])  # fmt: skip
    ages = [f"{age(days)}>" for days in AGES_DAYS]
    heads = ["Severity", "Kind", "PSP", *ages, "All>", "Difference>", "Currency"]
    return _table(heads, rows, "No break was open.")


def _checks(report: Report) -> Markup:
    rows = [
        [
            _badge("holds", "good") if line.holds else _badge(f"off by {line.off_minor:,} minor units", "bad"),
            _plain(line.promise),
        ]
        for line in report.checks
    ]
    return _table(["", "Promise"], rows, "")


def _section(title: str, content: Markup) -> Markup:
    return element("section", element("h2", text(title)), element("div", content, class_="card table"))


def _table(heads: Sequence[str], rows: Iterable[Row], nothing: str) -> Markup:
    written = [element("tr", *row) for row in rows]
    if not written:
        return _nothing(nothing)
    top = [
        element("th", text(head.removesuffix(">")), class_="n" if head.endswith(">") else None, scope="col")
        for head in heads
    ]
    return element("table", element("thead", element("tr", *top)), element("tbody", *written))


def _nothing(said: str) -> Markup:
    return element("p", text(said), class_="none")


def _plain(said: str) -> Markup:
    return element("td", text(said))


def _money(report: Report, currency: str, amount_minor: int, *, strong: bool = False) -> Markup:
    look = "n zero" if not amount_minor else "n strong" if strong else "n"
    return _cell(amount(amount_minor, report.exponents.get(currency, 0)), look)


def _count(count: int) -> Markup:
    return _cell(f"{count:,}", "n" if count else "n zero")


def _cell(said: str, look: str) -> Markup:
    return element("td", text(said), class_=look)


def _state(name: str) -> Markup:
    look = _BADGES.get(name)
    return _plain(name) if look is None else _badge(name, look)


def _badge(said: str, look: str) -> Markup:
    return element("td", element("span", text(said), class_=f"badge {look}"))
