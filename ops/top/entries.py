"""Looking into one stream: its entries in order, and what is held of it, a page at a time.

Bodies are covered (see `ops.top.masking`). This module must never read more than a page, and never change anything:
a look delivers nothing to anybody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ops.top.masking import cover
from ops.top.screen import printable
from ops.top.stream_look import entry_ms
from shared.errors import Permanent
from shared.streams import keys
from shared.streams.client import command, no_group, server
from shared.streams.verdicts import FIRST_MS_FIELD, REDRIVES_FIELD, Fields

PAGE_MAX: Final = 256
SCAN_MAX: Final = 10_000
"""How many pending entries one call looks through for those that were asked for."""
_BEGIN: Final = b"0-0"


class NoStream(Permanent):
    """There is no such stream, or nobody has read it yet."""

    code = "no_stream"


@dataclass(frozen=True, slots=True)
class Hold:
    """Who has an entry: for how long without a sign of life, and how often it was delivered."""

    consumer: str
    idle_s: float
    deliveries: int


@dataclass(frozen=True, slots=True)
class Peeked:
    """One entry of a stream.

    Attributes:
        entry_id: its id in the stream.
        age_s: since it was added first.
        hold: who has it; None while it waits.
        kind: of its envelope.
        id: of its envelope, an intent's as a rule.
        attempt: of its envelope: planned retries.
        redrives: how often it came back from the dead letters.
        body: covered.
    """

    entry_id: str
    age_s: float
    hold: Hold | None
    kind: str
    id: str
    attempt: str
    redrives: int
    body: Any


@dataclass(frozen=True, slots=True)
class PendingRow:
    """One entry that is held; a ghost's payload is gone."""

    entry_id: str
    age_s: float
    hold: Hold
    ghost: bool


@dataclass(frozen=True, slots=True)
class Pending:
    """What is held of a stream: how many in all, and a page of them.

    `next` is where the page after this one begins; None where the end was reached.
    """

    stream: str
    group: str
    total: int
    rows: tuple[PendingRow, ...]
    scanned: int
    next: str | None


async def peek(redis: Redis, stream: str, group: str, *, after: bytes = _BEGIN, count: int) -> list[Peeked]:
    """Return the entries that follow an id, with whoever holds each.

    Raises:
        NoStream: there is none of that name.
        OutcomeUnknown, Transient: Redis is out of reach.
    """
    with server():
        now_ms = await _now_ms(redis)
        if not await command(redis, "EXISTS", stream):
            raise NoStream(f"there is no stream {stream}")
        page = await command(redis, "XRANGE", stream, b"(" + after, "+", "COUNT", min(count, PAGE_MAX))
        holds = await _holds(redis, stream, group, [entry_id for entry_id, _ in page])
    return [_peeked(entry_id, fields, hold, now_ms) for (entry_id, fields), hold in zip(page, holds, strict=True)]


async def pending(
    redis: Redis,
    stream: str,
    group: str,
    *,
    after: bytes = _BEGIN,
    consumer: str | None = None,
    idle_ms: int = 0,
    count: int,
) -> Pending:
    """Return what is held, oldest first: all of it, of one consumer, or silent for that long.

    Raises:
        NoStream: there is no such stream, or no group.
        OutcomeUnknown, Transient: Redis is out of reach.
    """
    found: list[tuple[bytes, Hold]] = []
    scanned, more = 0, True
    with server():
        now_ms = await _now_ms(redis)
        total = await _total(redis, stream, group)
        while more and len(found) < count and scanned < SCAN_MAX:
            words = (stream, group, b"(" + after, "+", min(count - len(found), PAGE_MAX) if idle_ms == 0 else PAGE_MAX)
            page = await _pending_page(redis, words, consumer)
            for entry_id, hold in page:
                after, scanned = entry_id, scanned + 1
                if hold.idle_s * 1000 >= idle_ms:
                    found.append((entry_id, hold))
                    if len(found) == count:
                        break
            more = len(page) == words[-1] or len(found) == count
        payloads = await _exist(redis, stream, [entry_id for entry_id, _ in found])
    return Pending(
        stream=stream,
        group=group,
        total=total,
        rows=tuple(
            PendingRow(entry_id.decode(), _age_s(entry_ms(entry_id), now_ms), hold, ghost=not there)
            for (entry_id, hold), there in zip(found, payloads, strict=True)
        ),
        scanned=scanned,
        next=after.decode() if more and scanned else None,
    )


async def _now_ms(redis: Redis) -> int:
    seconds, micros = await command(redis, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def _total(redis: Redis, stream: str, group: str) -> int:
    """Return how many entries are held, which the server knows without counting."""
    try:
        summary = await command(redis, "XPENDING", stream, group)
    except ResponseError as error:
        if no_group(error):
            raise NoStream(f"there is no stream {stream} that the group {group} reads") from None
        raise
    return int(summary["pending"])


async def _pending_page(
    redis: Redis, words: tuple[str | bytes | int, ...], consumer: str | None
) -> list[tuple[bytes, Hold]]:
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.execute_command("XPENDING", *words, *([consumer] if consumer is not None else []), parse_detail=True)
        (page,) = await pipeline.execute()
    return [(each["message_id"], _hold(each)) for each in page]


async def _holds(redis: Redis, stream: str, group: str, ids: Sequence[bytes]) -> list[Hold | None]:
    if not ids:
        return []
    async with redis.pipeline(transaction=False) as pipeline:
        for entry_id in ids:
            pipeline.execute_command("XPENDING", stream, group, entry_id, entry_id, 1, parse_detail=True)
        replies = await pipeline.execute(raise_on_error=False)
    holds: list[Hold | None] = []
    for reply in replies:
        if isinstance(reply, Exception):
            if not no_group(reply):
                raise reply
            holds.append(None)
        else:
            holds.append(_hold(reply[0]) if reply else None)
    return holds


async def _exist(redis: Redis, stream: str, ids: Sequence[bytes]) -> list[bool]:
    if not ids:
        return []
    async with redis.pipeline(transaction=False) as pipeline:
        for entry_id in ids:
            pipeline.execute_command("XRANGE", stream, entry_id, entry_id, "COUNT", 1)
        return [bool(reply) for reply in await pipeline.execute()]


def _hold(found: dict[str, Any]) -> Hold:
    name: bytes = found["consumer"]
    return Hold(_text(name), found["time_since_delivered"] / 1000, found["times_delivered"])


def _peeked(entry_id: bytes, fields: Fields, hold: Hold | None, now_ms: int) -> Peeked:
    first, redrives = fields.get(FIRST_MS_FIELD, b""), fields.get(REDRIVES_FIELD, b"")
    return Peeked(
        entry_id=entry_id.decode(),
        age_s=_age_s(int(first) if first.isdigit() else entry_ms(entry_id), now_ms),
        hold=hold,
        kind=_text(fields.get(b"kind", b"")),
        id=_text(fields.get(b"id", b"")),
        attempt=_text(fields.get(b"attempt", b"")),
        redrives=int(redrives) if redrives.isdigit() else 0,
        body=cover(fields.get(b"body", b"")),
    )


def released(hold: Hold) -> bool:
    """Say whether an entry was handed back and belongs to whoever comes first."""
    return hold.consumer == keys.RELEASED_CONSUMER


def _age_s(then_ms: int, now_ms: int) -> float:
    return max(now_ms - then_ms, 0) / 1000


def _text(raw: bytes) -> str:
    return printable(raw.decode(errors="replace"))[:128]
