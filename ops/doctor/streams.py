"""The streams: is everything read, does anybody hold what they should not, what waits for people, or for a PSP.

Every look is bounded: counts come from the counters that the scripts keep, and of what is pending only the oldest
are looked at one by one. This module must never walk a stream.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ops.doctor.findings import Finding, critical, warning
from reconciler.consumers import SILENT_MS, groups
from shared.streams import keys
from shared.streams.breaker import BreakerState, read_breaker
from shared.streams.client import no_group, server
from shared.streams.dead_letters import Reason, counts, read_page
from shared.streams.script import Script
from shared.streams.verdicts import ENTRIES_MAX

SAMPLE: Final = 500
"""How many pending entries of a stream are looked at one by one, the oldest."""
READING_MS: Final = 60_000
"""Whoever lives asks for entries more often than this."""
HOLDING_MS: Final = 600_000
"""For how long entries may stay with a silent consumer before somebody should have taken them over."""
REPLAYS_MIN: Final = 3
"""What has died again after so many times of being put back does not mend by itself."""
_FIND_GHOSTS: Final = Script("find_ghosts")
_CLI: Final = 'redis-cli -u "$REDIS_URL"'
_FOR_PEOPLE: Final = frozenset({Reason.INVARIANT, Reason.GHOST})


@dataclass(frozen=True, slots=True)
class Consumer:
    """One name in a group; `idle_ms` since it last asked for anything."""

    name: str
    pending: int
    idle_ms: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a stream gave; `pending` is None where it has no group."""

    stream: str
    group: str
    length: int
    pending: int | None
    consumers: tuple[Consumer, ...]
    dead: Mapping[str, int]
    ghosts: tuple[str, ...] = ()
    sampled: int = 0
    stubborn: tuple[str, ...] = ()
    """Of the oldest dead letters that the reconciler puts back: why those died that have died again and again."""

    @property
    def read(self) -> bool:
        """Whether somebody reads it just now."""
        return any(consumer.idle_ms < READING_MS for consumer in self.consumers)


async def look_at_streams(redis: Redis, *, partitions: int, psps: Sequence[str]) -> list[Finding]:
    """Look at every stream that is read, its group, its consumers and its dead letters.

    Raises:
        Transient, OutcomeUnknown: Redis is out of reach.
    """
    found: list[Finding] = []
    with server():
        for stream, group in groups(partitions, psps):
            seen = await see(redis, stream, group)
            found += [*group_faults(seen), *ghost_faults(seen), *consumer_faults(seen)]
            found += [*dead_letter_faults(seen), *stubborn_faults(seen)]
        for psp in psps:
            found += breaker_faults(psp, (await read_breaker(redis, psp)).state)
    return found


async def see(redis: Redis, stream: str, group: str) -> Seen:
    """Take one bounded look at a stream."""
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.xlen(stream)
        pipeline.xpending(stream, group)
        pipeline.xinfo_consumers(stream, group)
        length, pending, consumers = await pipeline.execute(raise_on_error=False)
    dead = await counts(redis, stream)
    stubborn = await _stubborn(redis, stream, dead)
    for reply in (length, pending, consumers):
        if isinstance(reply, Exception) and not _absent(reply):
            raise reply
    if isinstance(pending, Exception) or isinstance(consumers, Exception):
        return Seen(stream, group, length, None, (), dead, stubborn=stubborn)
    sampled, ghosts = 0, []
    if pending["pending"]:
        sampled, ghosts = await _FIND_GHOSTS.run(redis, [stream], [group, SAMPLE])
    return Seen(
        stream=stream,
        group=group,
        length=length,
        pending=pending["pending"],
        consumers=tuple(map(_consumer, consumers)),
        dead=dead,
        ghosts=tuple(ghost.decode() for ghost in ghosts),
        sampled=sampled,
        stubborn=stubborn,
    )


def group_faults(seen: Seen) -> Iterator[Finding]:
    """Say where nobody reads."""
    if seen.pending is None:
        create = f"{_CLI} XGROUP CREATE '{seen.stream}' {seen.group} 0 MKSTREAM"
        detail = f"the group {seen.group} is missing: nobody reads {seen.length} entries"
        yield critical("streams.group", seen.stream, detail, f"{create} && {_program(seen.stream)}")
    elif not seen.read:
        detail = f"nobody of {seen.group} has asked for entries for a minute; {seen.length} stand in it"
        yield critical("streams.unread", seen.stream, detail, _program(seen.stream))


def ghost_faults(seen: Seen) -> Iterator[Finding]:
    """Say where pending entries have no payload any more: somebody trimmed or deleted what was under way."""
    if seen.pending is None:
        return
    # Whatever is pending stands in the stream: the difference alone proves ghosts, however many are pending.
    surely = max(len(seen.ghosts), seen.pending - seen.length)
    if surely:
        examples = f", such as {', '.join(seen.ghosts[:3])}" if seen.ghosts else ""
        looked = f" (the oldest {seen.sampled} looked at)" if seen.sampled < seen.pending else ""
        detail = f"at least {surely} of {seen.pending} pending entries have lost their payload{examples}{looked}"
        yield critical("streams.ghosts", seen.stream, detail, f"{_program(seen.stream)}; paymesh dlq list")


def consumer_faults(seen: Seen) -> Iterator[Finding]:
    """Say which consumers are gone and have left something behind."""
    for consumer in seen.consumers:
        silent = consumer.idle_ms > HOLDING_MS and consumer.name != keys.RELEASED_CONSUMER
        if silent and consumer.pending:
            detail = (
                f"{consumer.name} has been silent for {consumer.idle_ms // 60_000} min and holds "
                f"{consumer.pending} entries that nobody has taken over"
            )
            yield warning("streams.stale_consumer", seen.stream, detail, _program(seen.stream))
    gone = [c for c in seen.consumers if not c.pending and c.idle_ms > SILENT_MS and c.name != keys.RELEASED_CONSUMER]
    if gone:
        detail = f"{len(gone)} consumers are gone for over an hour and left their names, such as {gone[0].name}"
        yield warning(
            "streams.gone_consumers", seen.stream, detail, f"paymesh streams consumers '{seen.stream}' --reap"
        )


def dead_letter_faults(seen: Seen) -> Iterator[Finding]:
    """Say which dead letters wait for people; intents of most kinds are put back by the reconciler."""
    for reason, number in sorted(seen.dead.items()):
        if number <= 0 or _swept(seen.stream, reason):
            continue
        say = critical if reason == Reason.INVARIANT else warning
        detail = f"{number} dead letters of {reason} wait for people"
        yield say("streams.dead_letters", seen.stream, detail, f"paymesh dlq list --stream '{seen.stream}'")


def stubborn_faults(seen: Seen) -> Iterator[Finding]:
    """Say which intents the reconciler puts back in vain: they wait for whatever they die of to be mended."""
    if not seen.stubborn:
        return
    detail = (
        f"{len(seen.stubborn)} intents have died again after being put back {REPLAYS_MIN} times or more, "
        f"such as of {seen.stubborn[0]}: putting them back alone does not mend it"
    )
    yield warning("streams.dead_again", seen.stream, detail, f"paymesh dlq list --records --stream '{seen.stream}'")


def breaker_faults(psp: str, state: BreakerState) -> Iterator[Finding]:
    """Say which PSP is down."""
    if state is not BreakerState.CLOSED:
        detail = f"its breaker is {state}: calls to it fail, its jobs wait, and gateways refuse what is new"
        yield warning("psps.breaker", psp, detail, f"paymesh psp status {psp}")


def _program(stream: str) -> str:
    """Return how to start who reads a stream."""
    if stream.startswith("jobs."):
        return f"python -m adapters.{keys.hash_tag(stream)[1:-1]}.main"
    return "python -m orchestrator.main"


def _swept(stream: str, reason: str) -> bool:
    """Say whether the reconciler puts such dead letters back by itself."""
    return stream.startswith("intents.") and reason not in _FOR_PEOPLE


async def _stubborn(redis: Redis, stream: str, dead: Mapping[str, int]) -> tuple[str, ...]:
    """Look at the oldest dead letters: the more often one was put back, the longer it rests."""
    if not any(number > 0 and _swept(stream, reason) for reason, number in dead.items()):
        return ()
    page = await read_page(redis, stream, count=ENTRIES_MAX)
    return tuple(
        f"{record.reason} ({record.error_class})"
        for record in page
        if _swept(stream, record.reason) and record.replay_count >= REPLAYS_MIN
    )


def _absent(error: Exception) -> bool:
    return isinstance(error, ResponseError) and (no_group(error) or "no such key" in str(error))


def _consumer(told: Mapping[str, Any]) -> Consumer:
    return Consumer(told["name"].decode(), told["pending"], told["idle"])
