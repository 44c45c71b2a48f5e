"""A consumer's seat in its group: what it holds, and calls on it that outlast every outage of the server.

All calls made here may be repeated (see `shared.streams.group`), so a lost reply is answered by asking again until
the server answers or the task is cancelled. This module must never call a handler.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Self, TypeVar, assert_never

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.streams import group as calls
from shared.streams.client import connect, no_group
from shared.streams.faults import outage
from shared.streams.group import Reclaimed, Release, Solo, SoloStatus
from shared.streams.holding import Holding
from shared.streams.metrics import StreamMetrics
from shared.streams.verdicts import DeadLetter, Done, Entry, Gone, HandBack, Member, Retry, Verdict

T = TypeVar("T")

_RECONNECT_FIRST_S: Final = 0.05
_RECONNECT_MAX_S: Final = 1.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerClients:
    """The connections of one worker: a reader that blocks, a heart that must not wait, and one for the rest."""

    commands: Redis
    reader: Redis
    heart: Redis

    @classmethod
    def open(cls, url: str) -> Self:
        """Describe the three clients; each connects with its first command."""
        return cls(connect(url), connect(url, blocking=True, connections_max=1), connect(url, connections_max=1))

    async def aclose(self) -> None:
        """Close all three."""
        for client in (self.commands, self.reader, self.heart):
            await client.aclose()


class Seat:
    """One consumer's place: its connections, its holding, its counters."""

    def __init__(
        self, *, clients: WorkerClients, member: Member, metrics: StreamMetrics, jitter: Callable[[], float]
    ) -> None:
        self.clients = clients
        self.member = member
        self.metrics = metrics
        self.held = Holding()
        self._jitter = jitter
        self._established = False

    async def establish(self) -> None:
        """Make sure of the group; a group that has vanished since is a loss of data, and said loudly."""
        created = await calls.ensure_group(self.clients.commands, self.member.stream, self.member.group)
        if created and self._established:
            self.metrics.group_recreated.labels(self.member.stream).inc()
            _log.error("stream_group_was_gone", stream=self.member.stream, group=self.member.group)
        self._established = True

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, again and again through outages, until the server answers."""
        attempt = 0
        missing = False
        while True:
            try:
                if missing:
                    await self.establish()
                    missing = False
                return await call()
            except (RedisError, OSError) as error:
                if not outage(error):
                    raise
                missing = missing or no_group(error)
                await self._pause(error, attempt)
                attempt += 1

    async def read(self, *, count: int, block_ms: int) -> list[Entry]:
        """Take fresh entries and hold them."""
        entries = await calls.read(self.clients.reader, self.member, count=count, block_ms=block_ms)
        self._take(entries)
        self.metrics.read.labels(self.member.stream).inc(len(entries))
        return entries

    async def reclaim(self, *, idle_ms: int, count: int, cursor: bytes) -> tuple[bytes, list[Entry]]:
        """Take abandoned entries over and hold them; what is held already was not abandoned, only late."""
        page: Reclaimed = await self.insist(
            partial(calls.reclaim, self.clients.commands, self.member, idle_ms=idle_ms, count=count, cursor=cursor)
        )
        self._ghosts(page.ghosts)
        entries = [entry for entry in page.entries if entry.id not in self.held]
        self._take(entries)
        self.metrics.reclaimed.labels(self.member.stream).inc(len(entries))
        return page.cursor, entries

    async def beat(self, ids: Sequence[bytes]) -> None:
        """Renew the hold on entries, and let go of what is not ours any more."""
        beat = await calls.heartbeat(self.clients.heart, self.member, ids)
        # What is being settled is gone through us, or its settling call will say otherwise.
        lost = [entry_id for entry_id in beat.lost if entry_id in self.held and not self.held.settling(entry_id)]
        self._lose(lost, "beat")
        self._ghosts(beat.ghosts)

    async def begin_solo(self, entry: Entry, *, runs_max: int, token: str) -> Solo:
        """Count a run alone before it starts; a buried or lost entry is let go of."""
        solo = await self.insist(
            partial(calls.begin_solo, self.clients.commands, self.member, entry.id, runs_max=runs_max, token=token)
        )
        if solo.status is SoloStatus.LOST:
            self._lose([entry.id], "solo")
        elif solo.status is SoloStatus.BURIED:
            self.let_go([entry.id])
            self._count_dead("max_deliveries", "Crash", [entry.id])
        return solo

    async def settle(self, judged: Sequence[tuple[Entry, Verdict]], *, hand_back_as: Release) -> bool:
        """Carry verdicts out, one script per kind; say whether any entry was put off, or may have been."""
        self.held.settle(entry.id for entry, _ in judged)
        done: list[tuple[bytes, Done]] = []
        dead: list[tuple[bytes, DeadLetter]] = []
        late: list[tuple[bytes, int]] = []
        back: list[bytes] = []
        gone: list[bytes] = []
        for entry, verdict in judged:
            match verdict:
                case Done():
                    done.append((entry.id, verdict))
                case DeadLetter():
                    dead.append((entry.id, verdict))
                case Retry():
                    late.append((entry.id, verdict.delay_ms))
                case HandBack():
                    back.append(entry.id)
                case Gone():
                    gone.append(entry.id)
                case _:
                    assert_never(verdict)
        if done:
            await self._finish(done)
        if dead:
            await self.bury(dead)
        if late:
            await self._retry(late)
        await self.hand_back(back, hand_back_as)
        self.let_go(gone)
        return bool(late or gone)

    async def bury(self, letters: Sequence[tuple[bytes, DeadLetter]]) -> None:
        """Dead-letter entries."""
        self.held.settle(entry_id for entry_id, _ in letters)
        lost = await self.insist(partial(calls.dead_letter, self.clients.commands, self.member, letters))
        self._lose(lost, "dead_letter")
        for entry_id, letter in letters:
            if entry_id not in lost:
                self._count_dead(letter.reason, letter.error_class, [entry_id])
        self.let_go([entry_id for entry_id, _ in letters])

    async def hand_back(self, ids: Sequence[bytes], how: Release) -> None:
        """Hand entries back to whoever comes first."""
        ids = [entry_id for entry_id in ids if entry_id in self.held]
        if not ids:
            return
        self.held.settle(ids)
        released = [(entry_id, how) for entry_id in ids]
        found = await self.insist(partial(calls.release, self.clients.commands, self.member, released))
        self._lose(found.lost, "release")
        self._ghosts(found.ghosts)
        self.metrics.handed_back.labels(self.member.stream).inc(len(ids) - len(found.lost) - len(found.ghosts))
        self.let_go(ids)

    def let_go(self, ids: Sequence[bytes]) -> None:
        """Hold these entries no longer."""
        self.held.drop(ids)
        self.metrics.held.labels(self.member.stream).set(len(self.held))

    async def _finish(self, done: Sequence[tuple[bytes, Done]]) -> None:
        lost = await self.insist(partial(calls.finish, self.clients.commands, self.member, done))
        self._lose(lost, "finish")
        self.metrics.finished.labels(self.member.stream).inc(len(done) - len(lost))
        self.let_go([entry_id for entry_id, _ in done])

    async def _retry(self, late: Sequence[tuple[bytes, int]]) -> None:
        lost = await self.insist(partial(calls.retry, self.clients.commands, self.member, late))
        self._lose(lost, "retry")
        self.metrics.retried.labels(self.member.stream).inc(len(late) - len(lost))
        self.let_go([entry_id for entry_id, _ in late])

    def _take(self, entries: Sequence[Entry]) -> None:
        self.held.take(entry.id for entry in entries)
        self.metrics.held.labels(self.member.stream).set(len(self.held))

    def _lose(self, ids: Sequence[bytes], step: str) -> None:
        if ids:
            self.let_go(ids)
            self.metrics.lost.labels(self.member.stream, step).inc(len(ids))
            _log.warning("stream_entries_lost", stream=self.member.stream, step=step, entries=len(ids))

    def _ghosts(self, ids: Sequence[bytes]) -> None:
        if ids:
            self.let_go(ids)
            self.metrics.ghosts.labels(self.member.stream).inc(len(ids))
            self._count_dead("ghost", "Ghost", ids)

    def _count_dead(self, reason: str, error_class: str, ids: Sequence[bytes]) -> None:
        stream = self.member.stream
        self.metrics.dead_lettered.labels(stream, reason).inc(len(ids))
        _log.error(
            "stream_dead_letter",
            stream=stream,
            reason=reason,
            error_class=error_class,
            entries=[entry_id.decode() for entry_id in ids],
        )

    async def _pause(self, error: BaseException, attempt: int) -> None:
        self.metrics.outages.labels(self.member.stream).inc()
        longest_s = min(_RECONNECT_MAX_S, _RECONNECT_FIRST_S * 2 ** min(attempt, 10))
        _log.warning("stream_server_outage", stream=self.member.stream, error=type(error).__name__, attempt=attempt)
        await asyncio.sleep(longest_s * (0.5 + self._jitter() / 2))
