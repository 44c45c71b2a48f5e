"""Business days: when they begin, and which one a moment belongs to. Pure.

A day is a calendar day in the business time zone, however many hours it has there. This module must never read a
clock; the moment is always that at which an intent was accepted, which its id carries.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.errors import BadInput

_DAYS_REMEMBERED: Final = 1024
_DECEMBER: Final = 12


@dataclass(frozen=True, slots=True)
class Period:
    """A period in which an allowance is used: its name, such as ``2026-11-29`` or ``2026-11``, and when it ends."""

    name: str
    resets_ms: int


class BusinessCalendar:
    """The calendar of one time zone."""

    def __init__(self, time_zone: str) -> None:
        """Take a name of the IANA time zone database.

        Raises:
            BadInput: with code ``bad_time_zone``.
        """
        try:
            self._zone = ZoneInfo(time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadInput("not a time zone of the IANA database, such as Asia/Bangkok", code="bad_time_zone") from None
        self.time_zone = time_zone

    def hour(self, at_ms: int) -> int:
        """Return the hour, 0 to 23."""
        return self._local(at_ms).hour

    def weekday(self, at_ms: int) -> int:
        """Return the day of the week by ISO 8601: 1 is Monday, 7 Sunday."""
        return self._local(at_ms).isoweekday()

    def day(self, at_ms: int) -> Period:
        """Return the business day of a moment."""
        local = self._local(at_ms)
        return _day(self._zone, local.year, local.month, local.day)

    def month(self, at_ms: int) -> Period:
        """Return the business month of a moment."""
        local = self._local(at_ms)
        return _month(self._zone, local.year, local.month)

    def _local(self, at_ms: int) -> datetime:
        return datetime.fromtimestamp(at_ms / 1000, self._zone)


@lru_cache(_DAYS_REMEMBERED)
def _day(zone: ZoneInfo, year: int, month: int, day: int) -> Period:
    following = date(year, month, day) + timedelta(days=1)
    return Period(f"{year:04}-{month:02}-{day:02}", _begins_ms(zone, following))


@lru_cache(_DAYS_REMEMBERED)
def _month(zone: ZoneInfo, year: int, month: int) -> Period:
    following = date(year + 1, 1, 1) if month == _DECEMBER else date(year, month + 1, 1)
    return Period(f"{year:04}-{month:02}", _begins_ms(zone, following))


def _begins_ms(zone: ZoneInfo, day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
