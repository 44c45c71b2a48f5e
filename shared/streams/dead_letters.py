"""Dead letters: reading them, counting them, putting them back.

A record says where the entry came from, how often it was tried, who gave it up and why, and carries every original
field untouched under ``o:<name>``. Nothing accepted ends here: the sweeper or a person redrives each record, or ends
its intent first. This module must never drop a record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
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
_REDRIVE: Final = Script("redrive")


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
    fields: Fields


async def read_page(
    client: Redis, stream: str, *, after: bytes = b"0-0", count: int = ENTRIES_MAX
) -> list[DeadLetterRecord]:
    """Return up to `count` dead letters of a work stream that follow the record `after`, oldest first."""
    require(0 < count <= ENTRIES_MAX, f"a page has 1 to {ENTRIES_MAX} records, not {count}")
    page = await command(client, "XRANGE", keys.dlq(stream), b"(" + after, "+", "COUNT", count)
    return [_record(entry_id, fields) for entry_id, fields in page]


async def counts(client: Redis, stream: str) -> dict[str, int]:
    """Return how many dead letters of each reason stand at present."""
    found: Mapping[bytes, bytes] = await command(client, "HGETALL", keys.dlq_counts(stream))
    return {reason.decode(): int(number) for reason, number in found.items()}


async def redrive(client: Redis, stream: str, entry_id: bytes) -> bool:
    """Put one dead letter back on its stream, past admission; it will be processed alone.

    Returns:
        False if the record is gone: somebody else has moved it.

    Raises:
        Permanent: the record has no payload to put back (a ghost).
    """
    script_keys = [stream, keys.dlq(stream), keys.dlq_counts(stream)]
    moved: int = await _REDRIVE.run(client, script_keys, [entry_id])
    if moved < 0:
        raise Permanent("the dead letter has no payload to put back", code="nothing_to_redrive")
    return moved == 1


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
    )
