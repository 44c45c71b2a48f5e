"""Allowances: which ones an intent uses, for which period, and what it is beyond by itself."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.rules.calendar import BusinessCalendar
from shared.rules.limits import LimitReached, uses
from shared.rules.model import LimitRule, Scope, Subject

BANGKOK = BusinessCalendar("Asia/Bangkok")
NEW_YORK = BusinessCalendar("America/New_York")
SCOPE = Scope(("P2P_TRANSFER",), "THB")


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    """A moment in UTC."""
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def subject(amount_minor: int, at_ms: int) -> Subject:
    """A transfer of ann's in baht."""
    return Subject("P2P_TRANSFER", "THB", amount_minor, at_ms, "user:ann")


def test_an_allowance_is_named_for_holder_rule_measure_and_period() -> None:
    """The name is the account; the cap is no part of it, so that a change of the rule needs no other account."""
    rule = LimitRule(
        "day", 7, SCOPE, daily_max_minor=500, daily_max_count=3, monthly_max_minor=900, monthly_max_count=9
    )
    found = uses([rule], subject(100, ms(2026, 11, 30, 17)), BANGKOK)
    assert not isinstance(found, LimitReached)
    assert [(use.account, use.units, use.cap, use.version) for use in found] == [
        ("limit:user:ann:THB:day:amount:2026-12-01", 100, 500, 7),
        ("limit:user:ann:THB:day:count:2026-12-01", 1, 3, 7),
        ("limit:user:ann:THB:day:amount:2026-12", 100, 900, 7),
        ("limit:user:ann:THB:day:count:2026-12", 1, 9, 7),
    ]
    assert [use.resets_ms for use in found] == [ms(2026, 12, 1, 17)] * 2 + [ms(2026, 12, 31, 17)] * 2


@pytest.mark.parametrize(
    ("rule", "period", "cap"),
    [
        (LimitRule("once", 1, SCOPE, transaction_max_minor=99), "transaction", 99),
        (LimitRule("day", 1, SCOPE, daily_max_minor=99), "2026-11-30", 99),
        (LimitRule("none", 1, SCOPE, daily_max_count=0), "2026-11-30", 0),
        (LimitRule("month", 1, SCOPE, monthly_max_minor=99), "2026-11", 99),
    ],
)
def test_an_intent_beyond_a_whole_period_is_refused_before_the_ledger_is_asked(
    rule: LimitRule, period: str, cap: int
) -> None:
    """No chain could hold it."""
    found = uses([rule], subject(100, ms(2026, 11, 30, 12)), BANGKOK)
    assert isinstance(found, LimitReached)
    assert (found.rule, found.period, found.cap) == (rule.name, period, cap)
    assert (found.resets_ms is None) == (period == "transaction")


def test_tags_bound_whom_a_limit_is_for() -> None:
    """A rule with tags is for intents that carry them all."""
    rule = LimitRule("new", 1, Scope(("P2P_TRANSFER",), "THB", ("new",)), daily_max_minor=1)
    assert uses([rule], subject(100, 0), BANGKOK) == ()


@given(st.integers(0, 4_000_000_000_000))
def test_a_moment_lies_in_its_day_and_month_and_those_join_without_a_gap(at_ms: int) -> None:
    """Also where clocks are put forward and back."""
    for calendar in (BANGKOK, NEW_YORK):
        day, month = calendar.day(at_ms), calendar.month(at_ms)
        assert at_ms < day.resets_ms <= month.resets_ms
        assert day.name.startswith(month.name)
        assert calendar.day(day.resets_ms - 1) == day
        assert calendar.day(day.resets_ms).name > day.name
        assert 22 <= (calendar.day(day.resets_ms).resets_ms - day.resets_ms) / 3_600_000 <= 26


def test_a_day_has_twenty_five_hours_where_clocks_are_put_back() -> None:
    """2026-11-01 in New York."""
    day = NEW_YORK.day(ms(2026, 11, 1, 12))
    assert (day.name, day.resets_ms) == ("2026-11-01", ms(2026, 11, 2, 5))
    assert NEW_YORK.day(ms(2026, 11, 1, 3, 59)).name == "2026-10-31"
