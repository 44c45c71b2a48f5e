"""Periods by name: days and weeks, over the turn of a month and of a year."""

from datetime import date

import pytest

from reconciler.reports.periods import day_span, parse_span, week_span
from shared.errors import BadInput


def test_a_week_lies_across_the_turn_of_a_month() -> None:
    """Monday to Sunday, seven days."""
    span = parse_span("2026-W49")
    assert (span.first, span.last) == (date(2026, 11, 30), date(2026, 12, 6))
    assert len(span.days) == 7
    assert all(week_span(day) == span for day in span.days)


def test_a_week_belongs_to_the_year_that_most_of_it_lies_in() -> None:
    """1 January 2027 is a Friday: the last week of 2026 has 53 as its number."""
    assert week_span(date(2027, 1, 1)).name == "2026-W53"
    assert parse_span("2026-W53").last == date(2027, 1, 3)


def test_a_day_is_named_as_it_is_written() -> None:
    """By ISO 8601."""
    assert parse_span("2026-11-28") == day_span(date(2026, 11, 28))


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-W54", "2025-W53", "28.11.2026", "2026-W4"])
def test_what_is_no_period_is_refused(text: str) -> None:
    """With an example of either kind."""
    with pytest.raises(BadInput, match=r"2026-11-28.*2026-W48"):
        parse_span(text)
