"""Business days: contiguous whatever the clocks do, and whatever the zone is changed to."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.reports.days import NS, BusinessDay, ZoneCalendar, moment
from shared.errors import BadInput

_ZONES = st.sampled_from(
    ["UTC", "Asia/Bangkok", "Europe/Moscow", "America/Sao_Paulo", "Europe/London", "Pacific/Kiritimati", "Etc/GMT+12"]
)


def ns(text: str) -> int:
    """A moment in UTC by the ledger's clock."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


def hours(day: BusinessDay) -> float:
    """How long a day is."""
    return (day.ends_ns - day.starts_ns) / NS / 3600


def test_a_day_begins_at_midnight_where_the_business_is() -> None:
    """The last second of a day in Bangkok is 16:59:59 in UTC; the next nanosecond is another day."""
    calendar = ZoneCalendar("Asia/Bangkok")
    day = calendar.first(ns("2026-11-28T16:59:59"))
    assert day == BusinessDay(date(2026, 11, 28), "Asia/Bangkok", ns("2026-11-27T17:00:00"), ns("2026-11-28T17:00:00"))
    assert calendar.first(day.ends_ns - 1) == day
    assert calendar.first(day.ends_ns) == calendar.after(day)


@pytest.mark.parametrize(("night", "length"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_a_day_is_as_long_as_the_clocks_make_it(night: str, length: int) -> None:
    """In spring an hour is missing in London, in autumn there is one twice."""
    calendar = ZoneCalendar("Europe/London")
    assert hours(calendar.first(ns(f"{night}T12:00:00"))) == length


def test_a_midnight_that_the_clocks_skip_is_when_they_jump() -> None:
    """In Brazil summer time began at midnight: 4 November 2018 began at one o'clock."""
    day = ZoneCalendar("America/Sao_Paulo").first(ns("2018-11-04T12:00:00"))
    assert (moment(day.starts_ns).hour, hours(day)) == (3, 23)


@pytest.mark.parametrize(
    ("before", "after", "number", "length"),
    [
        ("Asia/Bangkok", "Europe/London", 29, 31),
        ("Europe/London", "Asia/Bangkok", 29, 17),
        ("Etc/GMT+12", "Pacific/Kiritimati", 30, 22),
    ],
)
def test_another_zone_makes_one_day_longer_or_shorter(before: str, after: str, number: int, length: int) -> None:
    """The open day ends as it was going to, the next one where the new zone's days do; a whole day may be swallowed."""
    first = ZoneCalendar(before).first(ns("2026-11-28T13:00:00"))
    assert first.day == date(2026, 11, 28)
    following = ZoneCalendar(after).after(first)
    assert (following.day, following.starts_ns, hours(following)) == (date(2026, 11, number), first.ends_ns, length)


def test_a_date_that_was_never_there_has_no_day() -> None:
    """Samoa went from 29 to 31 December 2011 when it crossed the date line."""
    calendar = ZoneCalendar("Pacific/Apia")
    last = calendar.first(ns("2011-12-30T09:00:00"))
    following = calendar.after(last)
    assert (last.day, following.day) == (date(2011, 12, 29), date(2011, 12, 31))
    assert hours(following) == 24
    assert calendar.after(following).day == date(2012, 1, 1)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1)), st.lists(_ZONES, min_size=2, max_size=8))  # noqa: DTZ001
def test_no_moment_belongs_to_two_days_or_to_none(at: datetime, zones: list[str]) -> None:
    """Whatever the zone is changed to, day by day."""
    days = [ZoneCalendar(zones[0]).first(int(at.replace(tzinfo=UTC).timestamp()) * NS)]
    for zone in zones[1:]:
        days.append(ZoneCalendar(zone).after(days[-1]))
    for one, following in pairwise(days):
        assert one.starts_ns < one.ends_ns == following.starts_ns < following.ends_ns
        assert one.day < following.day


def test_an_unknown_zone_is_refused() -> None:
    """In a sentence, and not with a traceback of the library."""
    with pytest.raises(BadInput, match="Asia/Bangkok"):
        ZoneCalendar("Mars/Olympus").first(ns("2026-11-28T12:00:00"))
