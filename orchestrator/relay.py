"""The relay: moves jobs from the outbox onto the PSPs' streams, a task per PSP.

A turn takes unsent rows of one PSP under lock, adds as many to its stream as there is room for, marks those as sent
and commits. A crash, or a lost reply, between adding and committing leaves rows unsent that stand in the stream: they
are added once more. That is harmless, and the only order that is: every copy of a job contends for the same permit,
of which there is one, while a job marked before it is added could vanish. Relays of several processes step over each
other's rows.

It is poked in process when rows have been written, and polls as a backstop. A PSP that is full, paused or unknown
keeps its rows; the tasks of the others know nothing of it. This module must never mark a row that was not added, and
never drop or change one.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog
from redis.asyncio import Redis

from orchestrator.outbound_metrics import OutboundMetrics
from orchestrator.psp_register import PspRegister
from orchestrator.records import statement
from shared.contracts import Envelope, Kind
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from shared.streams.dispatch import dispatch
from shared.streams.events import wait_up_to
from shared.streams.verdicts import ENTRIES_MAX

JOBS_MAX: Final = 10_000
"""How many jobs of one PSP may be under way, in its stream and in its delay set together."""
_PAUSE_MAX_S: Final = 2.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn came to."""

    offered: int
    sent: int

    @property
    def full(self) -> bool:
        """Whether the stream had no room for all of them."""
        return self.sent < self.offered

    @property
    def more(self) -> bool:
        """Whether there may be more to send at once."""
        return self.offered == self.sent == ENTRIES_MAX


class Relay:
    """Moves the jobs of every registered PSP."""

    def __init__(
        self,
        *,
        pool: Pool,
        redis: Redis,
        psps: PspRegister,
        metrics: OutboundMetrics,
        jobs_max: int = JOBS_MAX,
        poll_s: float = 0.5,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._psps = psps
        self._metrics = metrics
        self._jobs_max = jobs_max
        self._poll_s = poll_s
        self._pokes: dict[str, asyncio.Event] = {}

    def poke(self, psp: str) -> None:
        """Say that rows of a PSP have been committed; they are sent at once if there is room."""
        if psp in self._pokes:
            self._pokes[psp].set()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep a task per registered PSP until `stop`; one that is registered meanwhile gets its own within a poll."""
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                for psp in self._psps.psps:
                    if psp not in self._pokes:
                        self._pokes[psp] = asyncio.Event()
                        tasks.create_task(self._serve(psp, stop), name=f"relay-{psp}")
                await wait_up_to(stop, self._poll_s)

    async def turn(self, psp: str) -> Turn:
        """Send what there is room for, at most `ENTRIES_MAX` jobs.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; whatever stands in the stream is sent once more.
        """
        control = self._psps.control(psp)
        if control.all_paused:
            return Turn(0, 0)
        with database():
            async with self._pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(statement("unsent_jobs"), psp, list(control.paused), ENTRIES_MAX)
                if not rows:
                    return Turn(0, 0)
                jobs = [Envelope(Kind.JOB, str(row["intent_id"]), row["body"].encode()) for row in rows]
                sent = await dispatch(self._redis, psp, jobs, jobs_max=self._jobs_max)
                # From here on the jobs may be carried out; should this not commit, they are sent again.
                marked = [(row["intent_id"], row["attempt"], row["action"]) for row in rows[:sent]]
                if marked:
                    await connection.execute(statement("mark_sent"), *zip(*marked, strict=True))
        self._metrics.dispatched(psp, sent, full=sent < len(rows))
        return Turn(len(rows), sent)

    async def _serve(self, psp: str, stop: asyncio.Event) -> None:
        poked, pause_s = self._pokes[psp], self._poll_s
        while not stop.is_set():
            poked.clear()
            try:
                turn = await self.turn(psp)
            except (Transient, OutcomeUnknown) as error:
                _log.warning("jobs_not_sent", psp=psp, error=error.code)
                await wait_up_to(stop, pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
                continue
            pause_s = self._poll_s
            if turn.full:
                # Pokes are no news now: only the adapter makes room.
                await wait_up_to(stop, self._poll_s)
            elif not turn.more:
                await self._rest(poked, stop)

    async def _rest(self, poked: asyncio.Event, stop: asyncio.Event) -> None:
        if not stop.is_set():
            await wait_up_to(poked, self._poll_s)
