"""The door: up to 256 intents enter their stream in one script, each exactly once, or are told why not.

The order inside the script is the promise: dedupe first (a replay is answered even when the door is closed), then
mesh, clock, admission and the id's own marker, and only then the writes. Every outcome that leads to a 202 writes,
replays included, so that WAIT covers it. This module must never say ACCEPTED before the server has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError

from shared.contracts import Envelope
from shared.errors import OutcomeUnknown, Transient, require
from shared.ids import parse_intent_id, partition_of, unix_ms_of
from shared.streams import keys
from shared.streams.client import WAIT_MS_MAX, command, refused, unreachable
from shared.streams.script import Argument, Script
from shared.streams.verdicts import ENTRIES_MAX

BYTES_MAX: Final = 1 << 20
"""How many body bytes one accept takes; one call must not hold the server up."""

_SCRIPT: Final = Script("accept")


class AcceptStatus(StrEnum):
    """What became of one entry at the door."""

    ACCEPTED = "ACCEPTED"
    REPLAYED = "REPLAYED"
    """The same request again; the id is the first one's."""
    CONFLICT = "CONFLICT"
    """The same idempotency key with another request; the id is the first one's."""
    BUSY = "BUSY"
    """The stream is at its admission limit, or memory is short."""
    CLOCK = "CLOCK"
    """The id's time is too far from the server's; nothing was accepted."""
    WRONG_MESH = "WRONG_MESH"
    """The slot belongs to another mesh or another epoch, or to none."""
    CLASH = "CLASH"
    """The id has been given out before; try again with a new one."""


_BY_LETTER: Final = {
    65: AcceptStatus.ACCEPTED,  # A
    82: AcceptStatus.REPLAYED,  # R
    67: AcceptStatus.CONFLICT,  # C
    66: AcceptStatus.BUSY,  # B
    84: AcceptStatus.CLOCK,  # T
    87: AcceptStatus.WRONG_MESH,  # W
    88: AcceptStatus.CLASH,  # X
}
_STANDING: Final = frozenset({AcceptStatus.ACCEPTED, AcceptStatus.REPLAYED})


@dataclass(frozen=True, slots=True)
class AcceptEntry:
    """One request at the door.

    Attributes:
        envelope: what goes into the stream; its id carries the partition and the time.
        idem_key: the Redis key of the idempotency key, from `keys.idem`.
        fingerprints: one per live key of the ring; the first is stored, any of them recognises a replay.
        owner: whose intent it is, for the marker that GET checks.
    """

    envelope: Envelope
    idem_key: str
    fingerprints: tuple[str, ...]
    owner: str


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """The answer to one request; `id` is the id that stands: its own, or the original's."""

    status: AcceptStatus
    id: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Under which conditions the door is open.

    Attributes:
        epoch: ``<mesh id>:<epoch>``, as the slot must name it.
        length_max: the stream's admission limit, in entries.
        memory_full: the caller has seen the server's memory above its mark.
        dedupe_ttl_ms: how long an idempotency key is remembered here.
        clock_skew_ms: how far an id's time may be from the server's.
    """

    epoch: str
    length_max: int
    memory_full: bool
    dedupe_ttl_ms: int
    clock_skew_ms: int = 5000


async def accept(
    client: Redis,
    *,
    partition: int,
    entries: Sequence[AcceptEntry],
    admission: Admission,
    replicas_min: int = 0,
    replica_timeout_ms: int = 1000,
) -> list[AcceptResult]:
    """Offer up to 256 entries (≤ 1 MiB of bodies) to one partition; one answer each, in order.

    With `replicas_min`, the answer is given only after that many replicas have acknowledged the writes.

    Raises:
        OutcomeUnknown: the reply was lost, or too few replicas acknowledged; ask again with the same keys.
        Transient: the server takes no writes for now; nothing was accepted.
        InvariantViolation: more than a call may take, or an id of another partition.
    """
    require(0 < len(entries) <= ENTRIES_MAX, f"accept takes 1 to {ENTRIES_MAX} entries, not {len(entries)}")
    require(sum(len(entry.envelope.body) for entry in entries) <= BYTES_MAX, f"accept takes {BYTES_MAX} bytes at most")
    require(0 < replica_timeout_ms <= WAIT_MS_MAX, f"WAIT takes 1 to {WAIT_MS_MAX} ms, not {replica_timeout_ms}")
    script_keys, args = _pack(partition, entries, admission)
    try:
        if replicas_min > 0:
            reply = await _run_and_wait(client, script_keys, args, replicas_min, replica_timeout_ms)
        else:
            reply = await _SCRIPT.run(client, script_keys, args)
    except OutOfMemoryError:
        return [AcceptResult(AcceptStatus.BUSY, entry.envelope.id) for entry in entries]
    except (RedisError, OSError) as error:
        raise _translated(error) from error
    return [_result(entry, answer) for entry, answer in zip(entries, reply, strict=True)]


async def append(client: Redis, *, partition: int, envelope: Envelope) -> None:
    """Add an entry past the door: for the sweeper, whose entries concern intents accepted long ago.

    Raises:
        OutcomeUnknown: the reply was lost; the entry may stand in the stream.
        Transient: the server takes no writes for now.
    """
    flat = [part for pair in envelope.fields().items() for part in pair]
    try:
        await command(client, "XADD", keys.intents(partition), "*", *flat)
    except (RedisError, OSError) as error:
        raise _translated(error) from error


async def acc_owner(client: Redis, intent_id: str) -> tuple[str, int] | None:
    """Return owner and acceptance time (unix ms) of an accepted intent that is not finished yet.

    Raises:
        BadInput: not an intent id.
        Transient: the server did not answer.
    """
    partition = partition_of(parse_intent_id(intent_id))
    try:
        marker: bytes | None = await command(client, "GET", keys.acc(partition, intent_id))
    except (RedisError, OSError) as error:
        if unreachable(error) or refused(error):
            raise Transient(f"the stream server did not answer: {type(error).__name__}") from error
        raise
    if marker is None:
        return None
    unix_ms, _, owner = marker.partition(b" ")
    return owner.decode(), int(unix_ms)


def _pack(partition: int, entries: Sequence[AcceptEntry], admission: Admission) -> tuple[list[str], list[Argument]]:
    script_keys = [keys.intents(partition), keys.mesh(keys.slot(partition))]
    args: list[Argument] = [
        admission.epoch,
        admission.length_max,
        int(admission.memory_full),
        admission.dedupe_ttl_ms,
        admission.clock_skew_ms,
    ]
    names = entries[0].envelope.fields()
    args += (len(names), *names)
    tag = keys.hash_tag(script_keys[0])
    for entry in entries:
        envelope = entry.envelope
        intent = parse_intent_id(envelope.id)
        require(partition_of(intent) == partition, "an id of another partition")
        require(tag in entry.idem_key and entry.fingerprints, "an entry without its idempotency key")
        script_keys += (entry.idem_key, keys.acc(partition, envelope.id))
        args += (envelope.id, unix_ms_of(intent), entry.owner, len(entry.fingerprints))
        args += entry.fingerprints
        args += envelope.fields().values()
    return script_keys, args


async def _run_and_wait(
    client: Redis, script_keys: list[str], args: list[Argument], replicas_min: int, timeout_ms: int
) -> Any:
    # WAIT counts the writes of its own connection only; a pipeline is sent on one.
    for verb, text in (("EVALSHA", _SCRIPT.sha), ("EVAL", _SCRIPT.text)):
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(verb, text, len(script_keys), *script_keys, *args)
            pipeline.execute_command("WAIT", replicas_min, timeout_ms)
            reply, acknowledged = await pipeline.execute(raise_on_error=False)
        if isinstance(reply, NoScriptError):
            continue
        if isinstance(reply, Exception):
            raise reply
        standing = any(_BY_LETTER[answer[0]] in _STANDING for answer in reply)
        if standing and (not isinstance(acknowledged, int) or acknowledged < replicas_min):
            raise OutcomeUnknown(f"{acknowledged} of {replicas_min} replicas acknowledged the intents")
        return reply
    raise Transient("the server forgets scripts faster than they are sent")


def _result(entry: AcceptEntry, answer: bytes) -> AcceptResult:
    status = _BY_LETTER[answer[0]]
    return AcceptResult(status, answer[1:].decode() if len(answer) > 1 else entry.envelope.id)


def _translated(error: Exception) -> Exception:
    if unreachable(error):
        return OutcomeUnknown(f"the stream server's reply was lost: {type(error).__name__}")
    if refused(error):
        return Transient(f"the stream server takes no writes for now: {type(error).__name__}")
    return error
