"""Days and weeks as the reconciler makes and keeps their reports, whatever is or is not in them."""

from datetime import timedelta
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from reconciler.breaks import Break, Closing, close_breaks, open_breaks
from reconciler.kinds import BreakKind
from reconciler.reports import digest as digests
from reconciler.reports.formats import write_csv, write_json
from reconciler.reports.keeping import compare, keep_due
from reconciler.reports.page import write_html
from reconciler.reports.periods import parse_span
from reconciler.reports.reading import find_span, make_report
from reconciler.reports.rounds import ReportRounds
from shared.errors import BadInput
from shared.ledger.mesh_mark import TickingLedger
from tests.integration.reconciler.reports.history import FIRST, History


async def test_an_empty_day_has_a_report(quick_history: History) -> None:
    """Nothing moved on it: every account closes as it opened, and the book of the day before is not lost."""
    await quick_history.deposit(5_000)
    await quick_history.end_day()
    await quick_history.end_day()
    await quick_history.deposit(1)
    report = await quick_history.report(1)
    assert report.period.complete
    assert (report.operations, report.fees, report.open_intents, report.open_breaks) == ((), (), (), ())
    stood = [(line.opening_minor, line.closing_minor) for line in report.balances]
    assert stood == [(-5_000, -5_000), (0, 0), (5_000, 5_000)]
    assert [(day.day, day.paid_in_minor) for day in report.trend] == [("2026-11-26", 5_000), ("2026-11-27", 0)]
    assert report.holds


async def test_a_week_over_the_turn_of_a_month_adds_its_days_up(quick_history: History) -> None:
    """30 November to 6 December; the week before it began before the ledger did."""
    for number in range(11):
        await quick_history.deposit(10**number)
        await quick_history.end_day()
    await quick_history.deposit(1)
    week = await quick_history.report(parse_span("2026-W49"))
    assert week.period.complete
    assert [(line.payments, line.amount_minor) for line in week.operations] == [(7, 11_111_110_000)]
    wallets = week.balances[-1]
    assert (wallets.opening_minor, wallets.credits_minor) == (1_111, 11_111_110_000)
    assert wallets.closing_minor == 11_111_111_111
    assert week.holds
    before = await make_report(quick_history.pool, parse_span("2026-W48"))
    assert (before.period.complete, before.balances[-1].closing_minor) == (True, 1_111)
    assert [day.day for day in before.trend] == [(FIRST + timedelta(days=number)).isoformat() for number in range(4)]


async def test_currencies_have_their_own_digits(quick_history: History) -> None:
    """Yen none, dinars three, and none of them is added to another."""
    await quick_history.deposit(1_234, "JPY")
    await quick_history.deposit(1_234_567, "KWD")
    report = await quick_history.report(0)
    assert report.exponents == {"JPY": 0, "KWD": 3}
    assert [(psp.currency, psp.closing_minor) for psp in report.psps] == [("JPY", 1_234), ("KWD", 1_234_567)]
    page = write_html(report)
    assert ">1,234<" in page
    assert ">1,234.567<" in page


async def test_reports_are_kept_once_when_their_period_has_ended(quick_history: History) -> None:
    """A day when it has, the week with its Sunday; what is open has to wait."""
    kept = []
    for _ in range(5):
        await quick_history.deposit(100)
        await quick_history.digest().to_the_end()
        kept.append(await keep_due(quick_history.pool))
        await quick_history.end_day()
    assert kept == [[], ["2026-11-26"], ["2026-11-27"], ["2026-11-28"], ["2026-W48", "2026-11-29"]]
    assert await keep_due(quick_history.pool) == []
    row = await quick_history.pool.fetchrow("SELECT body, sha256 FROM pm.report WHERE period = '2026-W48'")
    assert row is not None
    made = await compare(quick_history.pool, parse_span("2026-W48"))
    assert (made.body, made.sha256, made.same) == (row["body"], row["sha256"], True)
    assert (await compare(quick_history.pool, parse_span("2026-11-30"))).same is None


async def test_a_report_that_has_changed_is_noticed(quick_history: History) -> None:
    """Somebody has been at the figures that it is made of."""
    await quick_history.deposit(100)
    await quick_history.end_day()
    await quick_history.deposit(100)
    await quick_history.digest().to_the_end()
    await keep_due(quick_history.pool)
    await quick_history.pool.execute("UPDATE pm.ledger_day SET credits = credits + 1 WHERE account LIKE 'user:%'")
    made = await compare(quick_history.pool, quick_history.day(0))
    assert made.same is False
    assert not made.report.holds


async def test_breaks_are_told_by_age_as_they_stood(quick_history: History) -> None:
    """One was closed on the next day, one had been for a week, one came later."""
    await quick_history.deposit(100)
    pool = quick_history.pool
    fresh = Break(BreakKind.PSP_MISSING, "a", psp="ipps", delta_minor=-700, currency="THB")
    await open_breaks(pool, [fresh, Break(BreakKind.PSP_MISSING, "b", psp="ipps", delta_minor=50, currency="THB")])
    old = await open_breaks(pool, [Break(BreakKind.TRANSIT_NOT_ZERO, "transit:THB")])
    await open_breaks(pool, [Break(BreakKind.PSP_UNKNOWN, "c", psp="qp")])
    await close_breaks(pool, [Closing(BreakKind.PSP_UNKNOWN, "c", "a file explained it")])
    for table, key in (("reconciliation_break SET first_at", "id"), ("reconciliation_break_event SET at", "break_id")):
        await pool.execute(f"UPDATE pm.{table} = now() - interval '8 days' WHERE {key} = ANY ($1)", list(old.opened))
    await quick_history.end_day()
    await close_breaks(pool, [Closing(BreakKind.PSP_MISSING, "a", "paid after all")])
    await open_breaks(pool, [Break(BreakKind.PSP_MISSING, "d", psp="ipps")])
    await quick_history.deposit(100)
    report = await quick_history.report(0)
    assert report.open_breaks is not None
    assert [(line.kind, line.psp, line.age_days_min, line.breaks, line.delta_minor) for line in report.open_breaks] == [
        ("psp_missing", "ipps", 0, 2, 750),
        ("transit_not_zero", "", 7, 1, None),
    ]


async def test_a_day_closed_long_after_its_end_does_not_guess(
    quick_history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was open then is left out, not told as nothing; the money is told all the same."""
    monkeypatch.setattr(digests, "STANDING_MAX", timedelta(0))
    await quick_history.deposit(100)
    await quick_history.end_day()
    await quick_history.deposit(100)
    report = await quick_history.report(0)
    assert (report.open_intents, report.open_breaks) == (None, None)
    assert report.operations[0].amount_minor == 100


async def test_money_of_an_intent_that_nobody_knows_is_counted_and_named_so(quick_history: History) -> None:
    """As after a database that was restored from an older copy."""
    intent = await quick_history.deposit(100)
    await quick_history.pool.execute("DELETE FROM pm.intent WHERE id = $1", intent)
    report = await quick_history.report(0)
    (line,) = report.operations
    assert (line.operation_type, line.psp, line.amount_minor) == ("UNKNOWN", "unknown", 100)
    assert report.holds


async def test_no_form_of_a_report_names_a_customer(quick_history: History) -> None:
    """Wallets stand there in total."""
    await quick_history.deposit(100)
    await quick_history.deposit(100, name="somchai")
    await quick_history.transfer(10, fee=1)
    report = await quick_history.report(0)
    for written in (write_json(report), write_csv(report), write_html(report)):
        assert not [name for name in ("somchai", "ann", "bo-t", quick_history.tag) if name in written]
    assert "user:*:THB" in write_json(report)


async def test_a_day_ends_where_nobody_pays(quick_history: History) -> None:
    """The mesh's own tick carries the walk across midnight, and is no money."""
    await quick_history.deposit(100)
    await quick_history.end_day()
    assert not (await quick_history.report(0)).period.complete
    mesh, mark = uuid4(), TickingLedger(quick_history.ledger)
    await mark.claim(mesh)
    await mark.advance(mesh, since=0, until=1)
    assert (await quick_history.report(0)).period.complete
    assert (await quick_history.report(1)).operations == ()


async def test_without_a_name_the_last_day_that_has_ended_is_meant(quick_history: History) -> None:
    """Or today, where none has; before the first transfer there is no day at all."""
    pool = quick_history.pool
    with pytest.raises(BadInput, match="no days as yet"):
        await find_span(pool, None)
    await quick_history.deposit(100)
    await quick_history.digest().to_the_end()
    assert await find_span(pool, None) == await find_span(pool, "today") == quick_history.day(0)
    await quick_history.end_day()
    await quick_history.deposit(100)
    await quick_history.digest().to_the_end()
    assert await find_span(pool, None) == quick_history.day(0)
    assert await find_span(pool, "today") == quick_history.day(1)
    with pytest.raises(BadInput, match="no days in 2031-01-01"):
        await make_report(pool, parse_span("2031-01-01"))


async def test_days_are_those_of_the_business(quick_history: History) -> None:
    """By the time zone that the rules name, read anew at every step."""
    await quick_history.pool.execute("UPDATE pm.business SET time_zone = 'Pacific/Kiritimati'")
    await quick_history.deposit(100)
    counts = CollectorRegistry()
    rounds = ReportRounds(pool=quick_history.pool, ledger=quick_history.ledger, registry=counts)
    await rounds.digest()
    await rounds.keep()
    day = await quick_history.pool.fetchrow("SELECT time_zone, ends_ns FROM pm.business_day")
    assert day is not None
    assert (day["time_zone"], day["ends_ns"] // 10**9 % 86_400) == ("Pacific/Kiritimati", 36_000)
    assert counts.get_sample_value("paymesh_digest_transfers_total") == 2
    assert counts.get_sample_value("paymesh_digest_lag_seconds") == 0
