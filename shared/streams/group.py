"""What one consumer of a group may do to the entries of its stream: typed calls over the Lua scripts.

Every call takes at most 256 ids, is one round trip, and may be repeated after a lost reply: whoever no longer owns
an entry, or has acknowledged it already, is told so and changes nothing. What a call returns as *lost* is another
consumer's business now, and dropping it is right. This module must never decide; it only carries out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.errors import require
from shared.streams import keys
from shared.streams.client import BLOCK_MS_MAX, command
from shared.streams.dead_letters import books_of
from shared.streams.script import Argument, Script
from shared.streams.verdicts import ENTRIES_MAX, DeadLetter, Done, Entry, Fields, Member

_FINISH: Final = Script("finish")
_HEARTBEAT: Final = Script("heartbeat", "pending", "dead_letter_books", "bury")
_RECLAIM: Final = Script("reclaim", "pending", "dead_letter_books", "bury")
_BEGIN_SOLO: Final = Script("begin_solo", "pending", "dead_letter_books", "bury")
_RELEASE: Final = Script("release", "pending", "dead_letter_books", "bury")
_RETRY: Final = Script("retry", "pending", "dead_letter_books", "bury", "put_off")
_PROMOTE: Final = Script("promote")
_DEAD_LETTER: Final = Script("dead_letter", "pending", "dead_letter_books", "bury")
_RETIRE: Final = Script("retire_consumer")


@dataclass(frozen=True, slots=True)
class Beat:
    """What renewing or giving up a hold found out: ids that belong to others by now, ids whose payload is gone."""

    lost: tuple[bytes, ...]
    ghosts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """One page of abandoned entries, now ours; `cursor` is ``b"0-0"`` when the scan has come round."""

    cursor: bytes
    entries: tuple[Entry, ...]
    ghosts: tuple[bytes, ...]
    """Ids whose payload was gone; each is a dead letter already and must be alarmed."""


class SoloStatus(StrEnum):
    """Whether an entry may be processed alone."""

    GO = "GO"
    LOST = "LOST"
    """Somebody else owns it."""
    BURIED = "BURIED"
    """It had used up its runs and is a dead letter now."""


@dataclass(frozen=True, slots=True)
class Solo:
    """The answer to `begin_solo`; `runs` counts this run too."""

    status: SoloStatus
    runs: int


class Release(StrEnum):
    """How an entry is handed back; decides what is counted against it."""

    UNCOUNTED = "UNCOUNTED"
    """Not started, or stopped by an outage while processed with others: the delivery is taken back."""
    SOLO_UNCOUNTED = "SOLO_UNCOUNTED"
    """Stopped by an outage while processed alone: delivery and solo run are taken back."""
    COUNTED = "COUNTED"
    """It failed by itself: delivery and solo run stand."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """How many entries went back to their stream, and in how many ms the next is due (None: none waits)."""

    moved: int
    next_ms: int | None


async def ensure_group(client: Redis, stream: str, group: str) -> bool:
    """Create the group, and the stream with it, from the very beginning; say whether it was missing."""
    try:
        await command(client, "XGROUP", "CREATE", stream, group, "0", "MKSTREAM")
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
        return False
    return True


async def read(client: Redis, member: Member, *, count: int, block_ms: int) -> list[Entry]:
    """Take up to `count` entries nobody has seen yet, waiting `block_ms` for the first."""
    require(0 < count <= ENTRIES_MAX, f"a read takes 1 to {ENTRIES_MAX} entries, not {count}")
    require(0 < block_ms <= BLOCK_MS_MAX, f"a read waits 1 to {BLOCK_MS_MAX} ms, not {block_ms}")
    words = ("GROUP", member.group, member.consumer, "COUNT", count, "BLOCK", block_ms, "STREAMS", member.stream, ">")
    reply = await command(client, "XREADGROUP", *words)
    if not reply:
        return []
    return [Entry(member.stream, entry_id, fields, deliveries=1) for entry_id, fields in reply[0][1]]


async def finish(client: Redis, member: Member, finished: Sequence[tuple[bytes, Done]]) -> list[bytes]:
    """Take finished entries off the stream; return the ids that somebody else had taken off before.

    Per id, XACK = 1 is the fence: only behind it are the markers deleted, the results appended, the hints published.
    """
    _check_size(finished)
    tag = keys.hash_tag(member.stream)
    script_keys = [member.stream, keys.solo(member.stream)]
    args: list[Argument] = [member.group]
    for entry_id, done in finished:
        args += (entry_id, len(done.delete), len(done.publish), len(done.append), len(done.append_if_lost))
        for key in done.delete:
            require(tag in key, "a marker of another slot")
            script_keys.append(key)
        for channel, message in done.publish:
            args += (channel, message)
        for stream, fields in (*done.append, *done.append_if_lost):
            require(tag in stream, "a result stream of another slot")
            script_keys.append(stream)
            args.append(2 * len(fields))
            for name, value in fields.items():
                args += (name, value)
    lost: list[bytes] = await _FINISH.run(client, script_keys, args)
    return lost


async def heartbeat(client: Redis, member: Member, ids: Sequence[bytes]) -> Beat:
    """Renew the hold on entries that are still ours; never take one back from whoever has it now."""
    _check_size(ids)
    args: list[Argument] = [member.group, member.consumer, app_version(), *ids]
    lost, ghosts = await _HEARTBEAT.run(client, _burying_keys(member), args)
    return Beat(tuple(lost), tuple(ghosts))


async def reclaim(client: Redis, member: Member, *, idle_ms: int, count: int, cursor: bytes = b"0-0") -> Reclaimed:
    """Take over entries that nobody has beaten for `idle_ms`; write a dead letter for each ghost among them."""
    require(0 < count <= ENTRIES_MAX, f"reclaim takes 1 to {ENTRIES_MAX} entries, not {count}")
    args = (member.group, member.consumer, app_version(), idle_ms, count, cursor)
    following, claimed, ghosts = await _RECLAIM.run(client, _burying_keys(member), args)
    entries = tuple(Entry(member.stream, entry_id, _fields(flat), count) for entry_id, count, flat in claimed)
    return Reclaimed(following, entries, tuple(ghosts))


async def begin_solo(client: Redis, member: Member, entry_id: bytes, *, runs_max: int, token: str) -> Solo:
    """Count one run of an entry processed alone, before it starts; after `runs_max` bury it instead.

    The token names the run, so that repeating a call whose reply was lost does not count twice.
    """
    args = (member.group, member.consumer, app_version(), entry_id, runs_max, token)
    status, runs = await _BEGIN_SOLO.run(client, _burying_keys(member), args)
    return Solo(SoloStatus(status.decode()), runs)


async def release(client: Redis, member: Member, released: Sequence[tuple[bytes, Release]]) -> Beat:
    """Hand entries back, claimable by anybody at once; return the ids that were not ours any more, and ghosts."""
    _check_size(released)
    args: list[Argument] = [member.group, member.consumer, keys.RELEASED_CONSUMER, app_version()]
    for entry_id, how in released:
        args += (entry_id, how.value)
    lost, ghosts = await _RELEASE.run(client, _burying_keys(member), args)
    return Beat(tuple(lost), tuple(ghosts))


async def retry(client: Redis, member: Member, retries: Sequence[tuple[bytes, int]]) -> list[bytes]:
    """Move entries into the delay set, each due after its ms; return the ids that were not ours any more."""
    _check_size(retries)
    args: list[Argument] = [member.group, member.consumer, app_version()]
    for entry_id, delay_ms in retries:
        require(delay_ms >= 0, f"a delay of {delay_ms} ms")
        args += (entry_id, delay_ms)
    lost: list[bytes] = await _RETRY.run(client, retrying_keys(member), args)
    return lost


async def promote(client: Redis, stream: str, *, count: int = ENTRIES_MAX) -> Promoted:
    """Put up to `count` due entries back on their stream, past admission."""
    require(0 < count <= ENTRIES_MAX, f"promote takes 1 to {ENTRIES_MAX} entries, not {count}")
    moved, next_ms = await _PROMOTE.run(client, [stream, keys.delay(stream)], [count])
    return Promoted(moved, None if next_ms < 0 else next_ms)


async def dead_letter(client: Redis, member: Member, letters: Sequence[tuple[bytes, DeadLetter]]) -> list[bytes]:
    """Move entries to the dead letters, every field untouched; return the ids that were not ours any more."""
    _check_size(letters)
    args: list[Argument] = [member.group, member.consumer, app_version()]
    for entry_id, letter in letters:
        args += (entry_id, letter.reason, letter.error_class, letter.error)
    lost: list[bytes] = await _DEAD_LETTER.run(client, _burying_keys(member), args)
    return lost


async def retire_consumer(client: Redis, member: Member) -> bool:
    """Delete the consumer's name unless it holds entries (deleting it would destroy them); say whether it is gone."""
    retired: int = await _RETIRE.run(client, [member.stream], [member.group, member.consumer])
    return retired == 1


@cache
def app_version() -> str:
    """Return the version that dead letters are stamped with."""
    return version("paymesh")


def retrying_keys(member: Member) -> list[str]:
    """Return the keys of a script that puts an entry of the member's stream off, or buries it."""
    return [*_burying_keys(member), keys.delay(member.stream)]


def _check_size(items: Sequence[Any]) -> None:
    require(0 < len(items) <= ENTRIES_MAX, f"one call takes 1 to {ENTRIES_MAX} entries, not {len(items)}")


def _burying_keys(member: Member) -> list[str]:
    stream = member.stream
    return [stream, keys.solo(stream), keys.dlq(stream), *books_of(stream)]


def _fields(flat: Sequence[bytes]) -> Fields:
    return dict(zip(flat[::2], flat[1::2], strict=True))
