"""The one consumer loop: read, hold, hand to the handler, settle; whatever breaks, no entry is lost or doubled.

::

    reader ────┐  ≤ batch_max entries a slot            finish · dead letter · retry · hand back
               ├─→ slot ─→ handler(batch) ─→ verdicts ─→ (one script each)
    reclaimer ─┘     └─ failed, redelivered or redriven: each entry alone, its runs counted beforehand

Entries that were delivered before, that came back from the dead letters, or whose batch failed are processed alone,
so that a poison entry takes nobody along; an outage counts nothing and hands everything back. Whatever is held is
beaten until its handler has run for too long; then the beat stops and `run` raises, since a process that hangs must
end. The loop survives lost connections, restarts, failovers and emptied stores. It must never acknowledge before the
handler has answered, and never hold an entry that it does not beat.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import count
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from shared.contracts import NewerVersion
from shared.errors import InvariantViolation, PaymeshError, require
from shared.streams import group as calls
from shared.streams.dead_letters import Reason
from shared.streams.events import wait_for_any, wait_up_to
from shared.streams.faults import outage, redacted
from shared.streams.group import Release, SoloStatus
from shared.streams.metrics import StreamMetrics
from shared.streams.seat import Seat, WorkerClients
from shared.streams.settings import BEATS_PER_IDLE, WorkerSettings
from shared.streams.verdicts import (
    ENTRIES_MAX,
    REDRIVES_FIELD,
    DeadLetter,
    Done,
    Entry,
    Gone,
    HandBack,
    Handler,
    Member,
    Retry,
    Verdict,
)

__all__ = [
    "DeadLetter",
    "Done",
    "Entry",
    "Gate",
    "Gone",
    "HandBack",
    "Handler",
    "HoldExceeded",
    "Retry",
    "Verdict",
    "Worker",
    "WorkerClients",
    "WorkerSettings",
]

Gate = Callable[[asyncio.Event], Awaitable[None]]
"""Holds a worker back until it may take entries on, or until the event, which stops the worker, is set."""

_CANCELS_MAX: Final = 20
_CANCEL_PAUSE_S: Final = 0.1
_log = structlog.get_logger(__name__)


class HoldExceeded(PaymeshError):
    """A handler ran for longer than an entry may be held; the process must end."""

    code = "hold_exceeded"


class Worker:
    """One consumer of one stream.

    Args:
        clients: connections to the stream's server; the caller opens and closes them.
        stream: the work stream.
        group: its one consumer group, created from the very beginning where it is missing.
        consumer: this process's name, never used by another and never again.
        handler: judges a batch; its verdicts are carried out here, one per entry in order.
        settings: limits.
        metrics: counters shared by the process's workers.
        alone: lock shared by the process's workers, so that an entry processed alone is alone with its crash.
        gate: awaited before every look for entries, fresh or abandoned.
        jitter: a random number in [0, 1).
    """

    def __init__(
        self,
        *,
        clients: WorkerClients,
        stream: str,
        group: str,
        consumer: str,
        handler: Handler,
        settings: WorkerSettings | None = None,
        metrics: StreamMetrics | None = None,
        alone: asyncio.Lock | None = None,
        gate: Gate | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._handler = handler
        self._settings = settings or WorkerSettings()
        self._metrics = metrics or StreamMetrics()
        self._seat = Seat(clients=clients, member=Member(stream, group, consumer), metrics=self._metrics, jitter=jitter)
        self._jitter = jitter
        self._gate = gate
        self._alone = alone or asyncio.Lock()
        self._slots = asyncio.Semaphore(self._settings.batches_in_flight)
        self._stop = asyncio.Event()
        self._reclaim_now = asyncio.Event()
        self._promote_now = asyncio.Event()
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = count(1)
        self._outages = 0
        self._resume_s = 0.0

    @property
    def healthy(self) -> bool:
        """Whether the process may live on: False once a handler hangs or the worker has failed."""
        return self._failure is None

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set, then hand back, drain and leave.

        Raises:
            HoldExceeded: a handler hangs.
            InvariantViolation: a handler found the books contradicting themselves; its entry is quarantined.
        """
        self._stop = stop
        keepers = {self._spawn(self._beat_loop()), self._spawn(self._promote_loop())}
        self._spawn(self._read_loop())
        self._spawn(self._reclaim_loop())
        try:
            await wait_for_any(stop, self._failed)
            await self._drain(keepers)
        finally:
            await self._leave()
        if self._failure is not None:
            raise self._failure

    # Reading.

    async def _read_loop(self) -> None:
        await self._seat.insist(self._seat.establish)
        while not self._ending():
            await self._slots.acquire()
            await self._rest()
            entries = await self._read()
            if not entries:
                self._slots.release()
            elif self._ending():
                await self._seat.hand_back([entry.id for entry in entries], Release.UNCOUNTED)
            else:
                self._spawn(self._in_slot(entries))

    async def _read(self) -> list[Entry]:
        if self._ending():
            return []
        settings = self._settings
        return await self._seat.insist(lambda: self._read_once(settings.batch_max, settings.block_ms))

    async def _read_once(self, batch_max: int, block_ms: int) -> list[Entry]:
        # An outage must not keep a stopping worker at the door.
        return [] if self._ending() else await self._seat.read(count=batch_max, block_ms=block_ms)

    async def _in_slot(self, entries: Sequence[Entry]) -> None:
        try:
            await self._process(entries)
        finally:
            self._slots.release()

    async def _reclaim_loop(self) -> None:
        settings = self._settings
        period_s = min(settings.idle_ms / 2, settings.reclaim_ms) / 1000
        while not self._ending():
            await self._nap(self._reclaim_now, period_s * (0.75 + self._jitter() / 2))
            cursor = b""
            while cursor != b"0-0" and not self._ending():
                async with self._slots:
                    await self._rest()
                    if self._ending():
                        return
                    cursor, entries = await self._seat.reclaim(
                        idle_ms=settings.idle_ms, count=settings.batch_max, cursor=cursor or b"0-0"
                    )
                    await self._process(entries)

    # Processing.

    async def _process(self, entries: Sequence[Entry]) -> None:
        apart = [entry for entry in entries if entry.deliveries > 1 or REDRIVES_FIELD in entry.fields]
        together = [entry for entry in entries if entry.deliveries <= 1 and REDRIVES_FIELD not in entry.fields]
        if together and not await self._run_together(together):
            apart += together
        for place, entry in enumerate(apart):
            if self._ending() or self._resting() or not await self._run_alone(entry):
                await self._seat.hand_back([waiting.id for waiting in apart[place:]], Release.UNCOUNTED)
                return

    async def _run_together(self, entries: Sequence[Entry]) -> bool:
        """Process fresh entries at once; say whether they are dealt with."""
        try:
            verdicts = await self._call(entries)
        except Exception as error:  # noqa: BLE001 - the boundary: a handler may fail in any way; what it means is decided here
            if not outage(error):
                _log.warning("stream_batch_failed", stream=self._stream, error=redacted(error), entries=len(entries))
                return False
            await self._put_off(entries, error, Release.UNCOUNTED)
            return True
        await self._settle(entries, verdicts, Release.UNCOUNTED)
        return True

    async def _run_alone(self, entry: Entry) -> bool:
        """Process one entry under the count of its runs; say whether the next may follow."""
        async with self._alone:
            if self._ending():
                return False
            if entry.id not in self._seat.held:
                return True
            token = f"{self._seat.member.consumer}.{next(self._turns)}"
            solo = await self._seat.begin_solo(entry, runs_max=self._settings.solo_max, token=token)
            if solo.status is not SoloStatus.GO:
                return True
            try:
                verdicts = await self._call([entry])
            except InvariantViolation as error:
                await self._bury(entry, Reason.INVARIANT, error)
                raise
            except NewerVersion:
                verdicts = [HandBack()]
            except Exception as error:  # noqa: BLE001 - the same boundary, for one entry
                return await self._failed_alone(entry, error, solo.runs)
            await self._settle([entry], verdicts, Release.SOLO_UNCOUNTED)
            return True

    async def _failed_alone(self, entry: Entry, error: Exception, runs: int) -> bool:
        if outage(error):
            await self._put_off([entry], error, Release.SOLO_UNCOUNTED)
            return False
        _log.warning("stream_entry_failed", stream=self._stream, error=redacted(error), runs=runs)
        if runs >= self._settings.solo_max:
            await self._bury(entry, Reason.PERMANENT, error)
        else:
            await self._seat.hand_back([entry.id], Release.COUNTED)
        return True

    async def _call(self, entries: Sequence[Entry]) -> Sequence[Verdict]:
        held, ids = self._seat.held, [entry.id for entry in entries]
        held.start(ids, _now_s())
        try:
            with self._metrics.batch_seconds.labels(self._stream).time():
                verdicts = await self._handler(entries)
        except Exception:
            held.rest(ids)
            raise
        # A cancelled call stays noted as started: nobody knows how far it came, so it is not ours to hand back.
        held.rest(ids)
        require(len(verdicts) == len(entries), f"{len(verdicts)} verdicts on {len(entries)} entries")
        self._outages = 0
        return verdicts

    async def _settle(self, entries: Sequence[Entry], verdicts: Sequence[Verdict], hand_back_as: Release) -> None:
        if await self._seat.settle(list(zip(entries, verdicts, strict=True)), hand_back_as=hand_back_as):
            self._promote_now.set()

    async def _put_off(self, entries: Sequence[Entry], error: Exception, how: Release) -> None:
        """Hand entries back because of an outage, and take nothing on for a while."""
        longest_s = self._settings.pause_ms_max / 1000
        pause_s = min(longest_s, longest_s / 50 * 2 ** min(self._outages, 10)) * (0.5 + self._jitter() / 2)
        self._outages += 1
        self._metrics.outages.labels(self._stream).inc()
        _log.warning("stream_dependency_outage", stream=self._stream, error=redacted(error), pause_s=round(pause_s, 3))
        await self._seat.hand_back([entry.id for entry in entries], how)
        # Counted from here, so that whoever asks next finds us resting, however short the pause.
        self._resume_s = _now_s() + pause_s
        self._reclaim_now.set()

    async def _bury(self, entry: Entry, reason: Reason, error: Exception) -> None:
        await self._seat.bury([(entry.id, DeadLetter(reason, type(error).__name__, redacted(error)))])

    # Keeping.

    async def _beat_loop(self) -> None:
        held, settings = self._seat.held, self._settings
        while True:
            await asyncio.sleep(settings.idle_ms / 1000 / BEATS_PER_IDLE)
            longest_ms = held.longest_s(_now_s()) * 1000
            if longest_ms > settings.hold_max_ms:
                raise HoldExceeded(f"a handler on {self._stream} has been running for {longest_ms:.0f} ms")
            ids = held.ids()
            try:
                for first in range(0, len(ids), ENTRIES_MAX):
                    await self._seat.beat(ids[first : first + ENTRIES_MAX])
            except (RedisError, OSError) as error:
                if not outage(error):
                    raise
                _log.warning("stream_beat_missed", stream=self._stream, error=type(error).__name__, held=len(ids))

    async def _promote_loop(self) -> None:
        seat, pause_max_s = self._seat, self._settings.promote_ms / 1000
        while True:
            promoted = await seat.insist(lambda: calls.promote(seat.clients.commands, self._stream))
            self._metrics.promoted.labels(self._stream).inc(promoted.moved)
            next_s = pause_max_s if promoted.next_ms is None else min(pause_max_s, promoted.next_ms / 1000)
            await self._nap(self._promote_now, next_s)

    # Stopping.

    async def _drain(self, keepers: set[asyncio.Task[None]]) -> None:
        """Let handlers end, up to the deadline; a failure ends the waiting."""
        self._reclaim_now.set()
        deadline_s = _now_s() + self._settings.drain_timeout_ms / 1000
        while self._failure is None and (working := self._tasks - keepers):
            left_s = deadline_s - _now_s()
            if left_s <= 0:
                _log.warning("stream_drain_timeout", stream=self._stream, tasks=len(working))
                return
            await asyncio.wait(working, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    async def _leave(self) -> None:
        """End every task, hand back what was not started, and give the name up if it holds nothing."""
        for _ in range(_CANCELS_MAX):
            if not self._tasks:
                break
            # More than once: a library may swallow a cancellation, as redis-py and wait_for of Python 3.11 do.
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks), timeout=_CANCEL_PAUSE_S)
        if self._tasks:
            _log.error("stream_handler_refuses_to_end", stream=self._stream, tasks=len(self._tasks))
        seat = self._seat
        waiting = seat.held.waiting()
        try:
            for first in range(0, len(waiting), ENTRIES_MAX):
                page = [(entry_id, Release.UNCOUNTED) for entry_id in waiting[first : first + ENTRIES_MAX]]
                await calls.release(seat.clients.commands, seat.member, page)
            await calls.retire_consumer(seat.clients.commands, seat.member)
        except (RedisError, OSError) as error:
            # Whatever we still hold is taken over by others once it has been idle.
            _log.warning("stream_left_in_a_hurry", stream=self._stream, error=type(error).__name__)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._failure is None:
            self._failure = error
            self._failed.set()

    def _ending(self) -> bool:
        return self._stop.is_set() or self._failure is not None

    @property
    def _stream(self) -> str:
        return self._seat.member.stream

    def _resting(self) -> bool:
        return self._resume_s > _now_s()

    async def _rest(self) -> None:
        """Wait out the pause after an outage, then at the gate, unless the worker is to stop."""
        if self._resting():
            await wait_up_to(self._stop, self._resume_s - _now_s())
        if self._gate is not None and not self._ending():
            await self._gate(self._stop)

    async def _nap(self, wake: asyncio.Event, seconds: float) -> None:
        await wait_up_to(wake, seconds)
        wake.clear()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
