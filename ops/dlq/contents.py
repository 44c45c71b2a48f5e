"""What a dead letter holds, for people: what can be read is shown with everything personal covered.

A body that is not one of ours is described by its size and hash alone, since nobody knows what is in it; so is every
field that ours do not have. This module must never open a sealed text, nor show one that should have been sealed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from ops.dlq.addresses import Address, psp_of
from shared.contracts import (
    Envelope,
    IntentMessage,
    JobMessage,
    Kind,
    OpenAccountMessage,
    ResultMessage,
    ResumeMessage,
    read_body,
    read_envelope,
    read_job,
    read_result,
)
from shared.errors import PaymeshError
from shared.ids import is_intent_id
from shared.sealing import is_sealed, mask
from shared.streams.dead_letters import DeadLetterRecord
from shared.streams.verdicts import Fields

Content = IntentMessage | OpenAccountMessage | ResumeMessage | JobMessage | ResultMessage

SEALED: Final = "(sealed)"
COVERED: Final = "(covered)"
_PERSONAL: Final = frozenset({"from_name", "to_name", "comment", "proxy", "qr", "recipient_name"})
_HIDDEN: Final = frozenset({"raw", "fingerprints", "idempotency_key", "next_action"})
_PLAIN_PLACES: Final = frozenset({"proxy_type", "bank_code", "ttl_s", "static"})
"""What a job may say in plain words about where money goes; everything else there is somebody's."""
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A body that is none of ours: why, how long it is, and what it hashes to."""

    why: str
    size_bytes: int
    sha256: str


def read_content(record: DeadLetterRecord) -> Content | Unreadable:
    """Return what a dead letter asked for, or told."""
    if not record.fields:
        why = "too many fields to be read" if record.packed_bytes else "the payload is gone"
        return Unreadable(why, record.packed_bytes, "")
    try:
        envelope = read_envelope(record.fields)
        return _read(envelope)
    except PaymeshError as error:
        size, digest = fields_digest(record.fields)
        return Unreadable(f"{error.code}: {error}", size, digest)


def intent_of(record: DeadLetterRecord) -> str | None:
    """Return the intent that a record names, if what it names can be one."""
    return record.id if is_intent_id(record.id) else None


def amount_of(content: Content | Unreadable) -> tuple[int, str] | None:
    """Return the amount that is at stake, with its currency; None where there is none."""
    match content:
        case IntentMessage():
            return content.operation.amount_minor, content.operation.currency
        case JobMessage():
            return content.amount_minor, content.currency
        case ResultMessage() if content.amount_minor is not None:
            return content.amount_minor, content.currency or ""
        case _:
            return None


def describe(stream: str, record: DeadLetterRecord) -> dict[str, Any]:
    """Return everything that people may see of a dead letter."""
    content = read_content(record)
    amount = amount_of(content)
    return {
        "address": str(Address(stream, record.entry_id)),
        "stream": stream,
        "psp": psp_of(stream),
        "intent_id": intent_of(record),
        "kind": record.kind if record.kind in set(Kind) else ("?" if record.kind else ""),
        "reason": record.reason,
        "error_class": record.error_class,
        "error": printable(record.error),
        "amount_minor": amount[0] if amount is not None else None,
        "currency": amount[1] if amount is not None else None,
        "attempts": record.attempts,
        "deliveries": record.deliveries,
        "replays": record.replay_count,
        "entry_id": record.src_id.decode(errors="replace"),
        "group": record.group,
        "last_consumer": record.last_consumer,
        "first_at": _time(record.first_ms),
        "dead_at": _time(record.dead_ms),
        "trace_id": record.trace_id,
        "app_version": record.app_version,
        "content": covered(content),
    }


def covered(content: Content | Unreadable) -> dict[str, Any]:
    """Return what was read, with everything personal covered."""
    if isinstance(content, Unreadable):
        return {"unreadable": content.why, "size_bytes": content.size_bytes, "sha256": content.sha256}
    return _cover(content.model_dump(mode="json", exclude_defaults=True))


def fields_digest(fields: Fields) -> tuple[int, str]:
    """Return how many bytes the fields take, and the hash of them in order of their names."""
    digest, size = sha256(), 0
    for name, value in sorted(fields.items()):
        size += len(name) + len(value)
        digest.update(b"%d:%b%d:%b" % (len(name), name, len(value), value))
    return size, digest.hexdigest()


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _read(envelope: Envelope) -> Content:
    match envelope.kind:
        case Kind.JOB:
            return read_job(envelope)
        case Kind.RESULT | Kind.OBSERVATION:
            return read_result(envelope)
        case _:
            return read_body(envelope)


def _cover(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _covered(name, value) for name, value in values.items()}


def _covered(name: str, value: Any) -> Any:
    if name in _HIDDEN:
        return COVERED
    if name == "destination" and isinstance(value, dict):
        return {
            place: text if place in _PLAIN_PLACES and not is_sealed(text) else _personal(text)
            for place, text in value.items()
        }
    if isinstance(value, dict):
        return _cover(value)
    if isinstance(value, str):
        return _personal(value) if name in _PERSONAL or is_sealed(value) else printable(value)
    return value


def _personal(text: str) -> str:
    return SEALED if is_sealed(text) else mask(text)


def _time(unix_ms: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC) if unix_ms else None
    except (OverflowError, ValueError, OSError):
        return None
