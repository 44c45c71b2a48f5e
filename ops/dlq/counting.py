"""How many dead letters there are, by stream, reason and age, out of the counts that the scripts keep.

A million records cost no more than one. This module must never read a record.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from redis.asyncio import Redis

from ops.dlq.addresses import psp_of
from ops.dlq.reach import reading_redis
from ops.dlq.search import Wanted
from shared.streams.dead_letters import HourCount, hour_counts

_HOUR_S: Final = 3600
_DAY_H: Final = 24
_WEEK_H: Final = 7 * _DAY_H


@dataclass(frozen=True, slots=True)
class Tally:
    """The dead letters of one stream and reason; ages are told to the hour.

    Attributes:
        oldest_at: the hour in which the oldest died.
        newest_at: the hour in which the youngest died.
        hour: how many died in the last hour, or in the one that it began in.
        day: how many in the last day, those included.
        week: how many in the last week, those included.
    """

    stream: str
    psp: str | None
    reason: str
    records: int
    oldest_at: datetime
    newest_at: datetime
    hour: int
    day: int
    week: int


async def count_dead_letters(redis: Redis, streams: Sequence[str], wanted: Wanted) -> list[Tally]:
    """Count what is meant, the most of it first; of `wanted` only reasons and age count, the latter to the hour.

    Raises:
        Transient: Redis did not answer.
    """
    now_h = int(time.time()) // _HOUR_S
    tallies: list[Tally] = []
    for stream in streams:
        by_reason: dict[str, list[HourCount]] = {}
        with reading_redis():
            async for count in hour_counts(redis, stream):
                if _meant(count, wanted):
                    by_reason.setdefault(count.reason, []).append(count)
        tallies += [_tally(stream, reason, counts, now_h) for reason, counts in sorted(by_reason.items())]
    return sorted(tallies, key=lambda tally: -tally.records)


def _meant(count: HourCount, wanted: Wanted) -> bool:
    if wanted.reasons and count.reason not in wanted.reasons:
        return False
    hour_ms = count.hour * _HOUR_S * 1000
    if wanted.before_ms is not None and hour_ms >= wanted.before_ms:
        return False
    return wanted.since_ms is None or hour_ms + _HOUR_S * 1000 > wanted.since_ms


def _tally(stream: str, reason: str, counts: Sequence[HourCount], now_h: int) -> Tally:
    hours = [count.hour for count in counts]

    def within(span_h: int) -> int:
        return _sum(count for count in counts if count.hour >= now_h - span_h)

    return Tally(
        stream=stream,
        psp=psp_of(stream),
        reason=reason,
        records=_sum(counts),
        oldest_at=datetime.fromtimestamp(min(hours) * _HOUR_S, UTC),
        newest_at=datetime.fromtimestamp(max(hours) * _HOUR_S, UTC),
        hour=within(1),
        day=within(_DAY_H),
        week=within(_WEEK_H),
    )


def _sum(counts: Iterable[HourCount]) -> int:
    return sum(count.records for count in counts)
