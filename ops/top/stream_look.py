"""The Redis half of a look: every work stream, its group, its consumers and its dead letters, in one round trip.

Each command asks for a number, a name or one entry, however long the stream is. What could grow without bound, such
as the pending list, is only ever counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ops.top.rows import ConsumerRow, DeadRow, StreamRow
from shared.streams import keys
from shared.streams.client import error_code
from shared.streams.verdicts import FIRST_MS_FIELD

CONSUMERS_MAX: Final = 1000
"""How many names of one group a look keeps."""
_STREAMS_A_TURN: Final = 64
_COMMANDS: Final = 7


@dataclass(frozen=True, slots=True)
class StreamLook:
    """One stream, and what its counters stood at.

    `added` is how many entries it has ever had; the difference between two looks is a rate.
    """

    row: StreamRow
    added: int
    at_ms: int
    consumers: tuple[ConsumerRow, ...]
    dead: tuple[DeadRow, ...]


async def look_at_streams(redis: Redis, groups: Sequence[tuple[str, str]]) -> list[StreamLook]:
    """Look at streams, each with the group that reads it."""
    found: list[StreamLook] = []
    for start in range(0, len(groups), _STREAMS_A_TURN):
        turn = groups[start : start + _STREAMS_A_TURN]
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("TIME")
            for stream, group in turn:
                pipeline.execute_command("XINFO", "STREAM", stream)
                pipeline.execute_command("XINFO", "GROUPS", stream)
                pipeline.execute_command("XINFO", "CONSUMERS", stream, group)
                pipeline.execute_command("ZCARD", keys.delay(stream))
                pipeline.execute_command("XLEN", keys.dlq(stream))
                pipeline.execute_command("XRANGE", keys.dlq(stream), "-", "+", "COUNT", 1)
                pipeline.execute_command("HGETALL", keys.dlq_counts(stream))
            (seconds, micros), *replies = await pipeline.execute(raise_on_error=False)
        at_ms = int(seconds) * 1000 + int(micros) // 1000
        for number, (stream, group) in enumerate(turn):
            answers = replies[number * _COMMANDS : (number + 1) * _COMMANDS]
            found.append(_look(stream, group, answers, at_ms))
    return found


def rates(now: Sequence[StreamLook], before: Mapping[str, StreamLook]) -> Iterator[StreamRow]:
    """Yield the rows with what was added and finished per second since the look before."""
    for look in now:
        last = before.get(look.row.stream)
        if last is None or look.at_ms <= last.at_ms or look.added < last.added or not look.row.exists:
            yield look.row
            continue
        seconds = (look.at_ms - last.at_ms) / 1000
        added = look.added - last.added
        finished = max(added - (look.row.length - last.row.length), 0)
        yield replace(look.row, added_per_s=added / seconds, finished_per_s=finished / seconds)


def pairs(flat: Sequence[Any] | dict[bytes, Any]) -> dict[bytes, Any]:
    """Return a reply of names and values as a mapping, which RESP3 makes of it by itself."""
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


def entry_ms(entry_id: bytes) -> int:
    """Return the unix ms in an entry id."""
    return int(entry_id.partition(b"-")[0])


def _look(stream: str, group: str, replies: Sequence[Any], at_ms: int) -> StreamLook:
    info, infos, names, delayed, dead, oldest_dead, counts = (_or_none(reply) for reply in replies)
    groups = {found[b"name"]: found for found in map(pairs, infos or ())}
    mine = groups.get(group.encode())
    row = StreamRow(
        stream,
        group,
        exists=mine is not None,
        delayed=delayed or 0,
        dead=dead or 0,
        dead_oldest_s=_age_s(at_ms, entry_ms(oldest_dead[0][0])) if oldest_dead else None,
    )
    added = 0
    if info is not None:
        facts = pairs(info)
        added = facts.get(b"entries-added", 0)
        row = replace(row, length=facts[b"length"], oldest_s=_oldest_s(facts, at_ms))
    if mine is not None:
        # The lag is unknown once somebody has deleted what was never delivered; then all that nobody holds waits.
        lag = mine.get(b"lag")
        waiting = lag if lag is not None else max(row.length - mine[b"pending"], 0)
        row = replace(
            row,
            waiting=waiting,
            in_flight=mine[b"pending"],
            # What was handed out last may be of long ago, and what waits of now: the oldest entry is the bound.
            behind_s=min(_age_s(at_ms, entry_ms(mine[b"last-delivered-id"])), row.oldest_s or 0.0) if waiting else 0.0,
        )
    consumers = [pairs(found) for found in names or ()]
    consumers.sort(key=lambda found: (-found[b"pending"], found[b"idle"]))
    return StreamLook(
        row=row,
        added=added,
        at_ms=at_ms,
        consumers=tuple(
            ConsumerRow(stream, group, _text(found[b"name"]), found[b"pending"], found[b"idle"] / 1000)
            for found in consumers[:CONSUMERS_MAX]
        ),
        dead=tuple(
            DeadRow(stream, _text(reason), int(count))
            for reason, count in sorted((counts or {}).items())
            if int(count) > 0
        ),
    )


def _or_none(reply: Any) -> Any:
    """Return a reply; None where stream or group do not exist."""
    if not isinstance(reply, Exception):
        return reply
    if isinstance(reply, ResponseError) and (error_code(reply) == "NOGROUP" or "no such key" in str(reply)):
        return None
    raise reply


def _oldest_s(facts: Mapping[bytes, Any], at_ms: int) -> float | None:
    first = facts.get(b"first-entry")
    if not first:
        return None
    added_first = pairs(first[1]).get(FIRST_MS_FIELD, b"")
    return _age_s(at_ms, int(added_first) if added_first.isdigit() else entry_ms(first[0]))


def _age_s(now_ms: int, then_ms: int) -> float:
    return max(now_ms - then_ms, 0) / 1000


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
