"""Periods by name: a day is 2026-11-28, a week 2026-W48 (ISO 8601: Monday to Sunday). Pure.

This module must never read a clock; what "yesterday" is depends on the ledger's.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from shared.errors import BadInput

DAYS_A_WEEK: Final = 7
_WEEK: Final = re.compile(r"(\d{4})-?W(\d{2})")


@dataclass(frozen=True, slots=True)
class Span:
    """The days of a period, first and last included."""

    kind: str
    name: str
    first: date
    last: date

    @property
    def days(self) -> tuple[date, ...]:
        """Every day of it, in order."""
        return tuple(self.first + timedelta(days=count) for count in range((self.last - self.first).days + 1))


def day_span(day: date) -> Span:
    """Return the period of one day."""
    return Span("day", day.isoformat(), day, day)


def week_span(day: date) -> Span:
    """Return the week that a day lies in."""
    year, week, weekday = day.isocalendar()
    monday = day - timedelta(days=weekday - 1)
    return Span("week", f"{year:04}-W{week:02}", monday, monday + timedelta(days=DAYS_A_WEEK - 1))


def parse_span(text: str) -> Span:
    """Read a period's name.

    Raises:
        BadInput: with code ``bad_period``.
    """
    try:
        if match := _WEEK.fullmatch(text):
            return week_span(date.fromisocalendar(int(match[1]), int(match[2]), 1))
        return day_span(date.fromisoformat(text))
    except ValueError:
        raise BadInput(
            "a period is a day, such as 2026-11-28, or a week, such as 2026-W48", code="bad_period"
        ) from None
