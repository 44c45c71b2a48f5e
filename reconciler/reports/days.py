"""Business days as the ledger's clock cuts them: contiguous, one after the other. Pure.

A day ends at midnight in the business time zone. Where the zone is changed, the day that is open ends as it was going
to, and the next one ends at the first midnight of the new zone: one day is longer or shorter than others, and no
moment belongs to two days or to none. This module must never read a clock.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.errors import BadInput

NS: Final = 1_000_000_000
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class BusinessDay:
    """A day from its first nanosecond to the first one after it."""

    day: date
    time_zone: str
    starts_ns: int
    ends_ns: int


class Calendar(Protocol):
    """What decides where days begin and end."""

    def first(self, at_ns: int) -> BusinessDay:
        """Return the day of a moment, for a ledger that has no days yet."""
        ...

    def after(self, day: BusinessDay) -> BusinessDay:
        """Return the day that follows."""
        ...


@dataclass(frozen=True, slots=True)
class ZoneCalendar:
    """The calendar of an IANA time zone, such as ``Asia/Bangkok``."""

    time_zone: str

    def first(self, at_ns: int) -> BusinessDay:
        """Return the day of a moment.

        Raises:
            BadInput: with code ``bad_time_zone``.
        """
        day = self._date(at_ns)
        return BusinessDay(day, self.time_zone, self._begins_ns(day), self._begins_ns(day + _DAY))

    def after(self, day: BusinessDay) -> BusinessDay:
        """Return the day that follows: a date that the zone, or a change of it, leaves out has no day.

        Raises:
            BadInput: with code ``bad_time_zone``.
        """
        following = max(day.day + _DAY, self._date(day.ends_ns))
        return BusinessDay(following, self.time_zone, day.ends_ns, self._begins_ns(following + _DAY))

    def _date(self, at_ns: int) -> date:
        return datetime.fromtimestamp(at_ns // NS, self._zone()).date()

    def _begins_ns(self, day: date) -> int:
        """Return when a day begins; where midnight is skipped, the moment that the clock jumps."""
        return round(datetime.combine(day, time(0), self._zone()).timestamp()) * NS

    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadInput("not a time zone of the IANA database, such as Asia/Bangkok", code="bad_time_zone") from None


def moment(at_ns: int) -> datetime:
    """Return a moment of the ledger's clock in UTC, to the microsecond."""
    return datetime.fromtimestamp(at_ns // NS, UTC) + timedelta(microseconds=at_ns % NS // 1000)
