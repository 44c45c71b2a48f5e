"""Dead letters: reading them, counting them, finding an intent's, putting them back.

A record says where the entry came from, how often it was tried, who gave it up and why, and carries every original
field untouched under ``o:<name>``. Nothing accepted ends here: the sweeper or a person redrives each record, or ends
its intent first. How many stand of each reason and hour, and which are an intent's, the scripts that move records
write down beside the stream, so that nobody has to read a million of them to know. This module must never drop a
record whose bytes nobody else has kept.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from redis.asyncio import Redis

from shared.errors import Permanent, require
from shared.streams import keys
from shared.streams.client import command
from shared.streams.script import Script
from shared.streams.verdicts import ENTRIES_MAX, Fields

ERROR_BYTES_MAX: Final = 512
_DIGITS_MAX: Final = 18

_ORIGINAL: Final = b"o:"
_PACKED: Final = b"packed"
_FOUND_MAX: Final = 256
_REDRIVE: Final = Script("redrive", "dead_letter_books")
_DISCARD: Final = Script("discard", "dead_letter_books")


class Reason(StrEnum):
    """Why an entry was given up; the stream layer's own reasons, to which handlers may add."""

    MAX_DELIVERIES = "max_deliveries"
    """Its process ended each time while it was processed alone."""
    PERMANENT = "permanent"
    """Its handler failed each time with an error that is not an outage."""
    INVARIANT = "invariant"
    """The books contradict themselves; only an operator redrives it."""
    DECODE = "decode"
    """It is not a message of ours."""
    OVERSIZE = "oversize"
    """It has more fields than can be added again."""
    GHOST = "ghost"
    """Its payload was deleted while it was pending: somebody trimmed a work stream."""


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """One record of a dead-letter stream.

    Attributes:
        entry_id: the record's own id, which `redrive` takes.
        id: the original envelope's id, empty where there was none.
        kind: the original envelope's kind, empty where there was none.
        src: the stream it came from.
        src_id: its entry id there.
        group: the group that gave it up.
        attempts: planned attempts so far, from the envelope.
        deliveries: how often it had been delivered; 0 where that is no longer known.
        reason: see `Reason`.
        error_class: the class of the last error.
        error: redacted text of the last error, ≤ 512 bytes.
        last_consumer: who had it last.
        first_ms: when it was added first, unix ms, whatever became of it since.
        dead_ms: when it was given up, unix ms.
        trace_id: of the original traceparent.
        app_version: of whoever gave it up.
        replay_count: how often it had been redriven before.
        fields: the original fields, untouched; empty for a ghost.
        packed_bytes: how many bytes the original fields take where there were too many of them to be fields here.
    """

    entry_id: bytes
    id: str
    kind: str
    src: str
    src_id: bytes
    group: str
    attempts: int
    deliveries: int
    reason: str
    error_class: str
    error: str
    last_consumer: str
    first_ms: int
    dead_ms: int
    trace_id: str
    app_version: str
    replay_count: int
    fields: Fields = field(repr=False)
    packed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HourCount:
    """How many records of one reason died in one hour and stand at present; `hour` counts from 1970."""

    reason: str
    hour: int
    records: int


class Moved(IntEnum):
    """What became of a record that was to be put back."""

    MOVED = 1
    GONE = 0
    """Somebody else has moved it."""
    NO_PAYLOAD = -1
    """There is nothing to put back: a ghost, or more fields than can be added again."""


async def read_page(
    client: Redis, stream: str, *, after: bytes = b"0-0", count: int = ENTRIES_MAX, until: bytes = b"+"
) -> list[DeadLetterRecord]:
    """Return up to `count` dead letters of a work stream that follow the record `after`, oldest first.

    `until` is the last one that may be returned.
    """
    require(0 < count <= ENTRIES_MAX, f"a page has 1 to {ENTRIES_MAX} records, not {count}")
    page = await command(client, "XRANGE", keys.dlq(stream), b"(" + after, until, "COUNT", count)
    return [_record(entry_id, fields) for entry_id, fields in page]


async def read_record(client: Redis, stream: str, entry_id: bytes) -> tuple[DeadLetterRecord, Fields] | None:
    """Return one dead letter, and every field of it as it stands in the stream; None where it is gone."""
    page = await command(client, "XRANGE", keys.dlq(stream), entry_id, entry_id, "COUNT", 1)
    return (_record(*page[0]), page[0][1]) if page else None


async def find_records(client: Redis, stream: str, intent_id: str) -> list[DeadLetterRecord]:
    """Return the dead letters of a stream that name an intent, the oldest first, by the index beside it."""
    first, last = b"[%s " % intent_id.encode(), b"[%s!" % intent_id.encode()
    words = ("ZRANGE", keys.dlq_index(stream), first, last, "BYLEX", "LIMIT", 0, _FOUND_MAX)
    ids = [member.rpartition(b" ")[2] for member in await command(client, *words)]
    found = [await read_record(client, stream, entry_id) for entry_id in ids]
    return sorted((record for record, _ in filter(None, found)), key=lambda record: record.dead_ms)


async def newest(client: Redis, stream: str) -> bytes | None:
    """Return the id of the youngest dead letter; None where there is none."""
    page = await command(client, "XREVRANGE", keys.dlq(stream), "+", "-", "COUNT", 1)
    return page[0][0] if page else None


async def counts(client: Redis, stream: str) -> dict[str, int]:
    """Return how many dead letters of each reason stand at present."""
    found: Mapping[bytes, bytes] = await command(client, "HGETALL", keys.dlq_counts(stream))
    return {reason.decode(): int(number) for reason, number in found.items()}


async def hour_counts(client: Redis, stream: str) -> AsyncIterator[HourCount]:
    """Say how many dead letters of each reason and hour stand at present; a few of them at a time."""
    cursor = 0
    seen: set[bytes] = set()
    while True:
        cursor, page = await command(client, "HSCAN", keys.dlq_hours(stream), cursor, "COUNT", 256)
        for name, number in page.items():
            reason, _, hour = name.rpartition(b"|")
            if name not in seen:
                seen.add(name)
                yield HourCount(reason.decode(errors="replace"), int(hour), int(number))
        if not cursor:
            return


async def redrive(client: Redis, stream: str, entry_id: bytes) -> bool:
    """Put one dead letter back on its stream, past admission; it will be processed alone.

    Returns:
        False if the record is gone: somebody else has moved it.

    Raises:
        Permanent: the record has no payload to put back (a ghost).
    """
    (moved,) = await redrive_all(client, stream, [entry_id])
    if moved is Moved.NO_PAYLOAD:
        raise Permanent("the dead letter has no payload to put back", code="nothing_to_redrive")
    return moved is Moved.MOVED


async def redrive_all(client: Redis, stream: str, entry_ids: Sequence[bytes]) -> list[Moved]:
    """Put dead letters back on their stream in one step; say of each what became of it, in order."""
    require(0 < len(entry_ids) <= ENTRIES_MAX, f"one call moves 1 to {ENTRIES_MAX} records, not {len(entry_ids)}")
    replies = await _REDRIVE.run(client, [stream, keys.dlq(stream), *books_of(stream)], list(entry_ids))
    return [Moved(reply) for reply in replies]


async def discard(client: Redis, stream: str, entry_id: bytes, *, markers: Sequence[str] = ()) -> bool:
    """Take one dead letter away for good, and delete `markers` (keys of its slot) along with it.

    The caller has kept its bytes elsewhere, and has ended whatever hung on it.

    Returns:
        False if the record is gone: somebody else has moved it, and no marker was touched.
    """
    tag = keys.hash_tag(stream)
    require(all(tag in marker for marker in markers), "a marker of another slot")
    taken = await _DISCARD.run(client, [keys.dlq(stream), *books_of(stream), *markers], [entry_id])
    return bool(taken)


def books_of(stream: str) -> tuple[str, str, str]:
    """Name the three books beside a dead-letter stream, in the order in which every script takes them."""
    return keys.dlq_counts(stream), keys.dlq_hours(stream), keys.dlq_index(stream)


def _record(entry_id: bytes, fields: Fields) -> DeadLetterRecord:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    def number(name: bytes) -> int:
        value = fields.get(name, b"")
        return int(value) if value.isdigit() and len(value) <= _DIGITS_MAX else 0

    return DeadLetterRecord(
        entry_id=entry_id,
        id=text(b"id"),
        kind=text(b"kind"),
        src=text(b"src"),
        src_id=fields.get(b"src_id", b""),
        group=text(b"group"),
        attempts=number(b"attempts"),
        deliveries=number(b"deliveries"),
        reason=text(b"reason"),
        error_class=text(b"error_class"),
        error=text(b"error"),
        last_consumer=text(b"last_consumer"),
        first_ms=number(b"first_ms"),
        dead_ms=number(b"dead_ms"),
        trace_id=text(b"trace_id"),
        app_version=text(b"app_version"),
        replay_count=number(b"replay_count"),
        fields={name.removeprefix(_ORIGINAL): value for name, value in fields.items() if name.startswith(_ORIGINAL)},
        packed_bytes=len(fields.get(_PACKED, b"")),
    )
