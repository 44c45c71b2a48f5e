"""A round of reconciliation: walk what is new, look at suspects again, open breaks, and close those that are gone.

Any number of reconcilers may take rounds at once: a cursor is moved only from where it was found, suspects and breaks
are kept once, and one who finds another at work leaves it to that one. Rows of the saga are only ever read. This
module must never mend anything.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, assert_never
from uuid import UUID

from reconciler.account_map import named, transit_breaks, unmapped
from reconciler.breaks import Break, Closing, close_breaks, open_breaks
from reconciler.cursor import move_cursor, read_cursor
from reconciler.examine import examine_closely
from reconciler.history_rows import look_at_rows
from reconciler.jobs import jobs_left_behind
from reconciler.kinds import BreakKind
from reconciler.statements import statement
from reconciler.suspects import (
    Suspect,
    Watched,
    add_suspects,
    drop_suspects,
    due_suspects,
    kinds_watched,
    put_off,
    stale_breaks,
    suspects_of,
)
from reconciler.walks import AccountsWalk, Horizon, LedgerWalk, LogWalk, Memory, OpenedWalk, Walk
from reconciler.wallets import look_closely
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from shared.ledger.port import Ledger

AGAIN_MAX: Final = 500
"""How many suspects, and how many open breaks, a round looks at again."""
STALE_S: Final = 300.0
"""After which time an open break is looked at again."""
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('pm.reconcile'))"
_UNLOCK: Final = "SELECT pg_advisory_unlock_all()"
_OPEN_OF_KIND: Final = "SELECT subject FROM pm.reconciliation_break WHERE kind = $1 AND state = 'OPEN'"
_AGREES: Final = "both sides agree by now"


@dataclass(frozen=True, slots=True)
class Pace:
    """How a reconciler goes about it.

    Attributes:
        settle_s: how old a thing is before it is walked; longer than a transaction may last.
        grace_s: how long a suspect is left alone.
        pages_max: how many pages of each walk a round takes.
        share: how much of the time it works while it walks; the rest it leaves to others.
        stale_s: after which time an open break is looked at again.
        job_s: after which time a job should have left the outbox.
    """

    settle_s: float = 45.0
    grace_s: float = 10.0
    pages_max: int = 50
    share: float = 0.5
    stale_s: float = STALE_S
    job_s: float = 3600.0


@dataclass(slots=True)
class Round:
    """What a round came to."""

    walked: dict[str, int] = field(default_factory=dict)
    done: bool = True
    """Every walk has come to the horizon."""
    suspects: int = 0
    """How many things were looked at again."""
    opened: int = 0
    closed: int = 0


class Reconciliation:
    """One process's rounds over its stores."""

    def __init__(self, *, ledger: Ledger, pool: Pool, pace: Pace, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._ledger = ledger
        self._pool = pool
        self._pace = pace
        self._now_ns = now_ns
        self._memory = Memory()
        self.walks: tuple[Walk, ...] = (
            LedgerWalk(ledger=ledger, pool=pool),
            LogWalk(ledger=ledger, pool=pool, memory=self._memory),
            OpenedWalk(ledger=ledger, pool=pool),
            AccountsWalk(ledger=ledger, pool=pool),
        )

    async def round(self) -> Round | None:
        """Go on for a while; None where somebody else is at it.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; the next round goes on.
        """
        async with self._alone() as alone:
            if not alone:
                return None
            horizon = await self.horizon()
            found = Round()
            for walk in self.walks:
                await self._walk(walk, horizon, found)
            await self._note(BreakKind.TRANSIT_NOT_ZERO, await transit_breaks(self._ledger, self._pool), found)
            late = await jobs_left_behind(self._pool, after_s=self._pace.job_s)
            await self._note(BreakKind.JOB_NEVER_LEFT, late, found)
            await self.look_again(found, await self._to_look_at())
        return found

    async def horizon(self) -> Horizon:
        """Return up to when everything there is can be read."""
        with database():
            at: datetime = await self._pool.fetchval(statement("horizon"), self._pace.settle_s)
        return Horizon(at, min(self._now_ns() - int(self._pace.settle_s * 1e9), _ns(at)))

    async def look_again(self, found: Round, targets: Sequence[Suspect]) -> None:
        """Look at suspects closely: what still differs is a break, and a break that does not is closed."""
        if not targets:
            return
        breaks, moving = await self._closely(targets)
        still = {Suspect(what, key) for what, key in moving}
        looked = [one for one in targets if one not in still]
        gone = await self._gone(looked, breaks)
        with database():
            async with self._pool.acquire() as connection, connection.transaction():
                noted = await open_breaks(connection, breaks)
                closed = await close_breaks(connection, gone)
                await drop_suspects(connection, looked)
                await put_off(connection, still, grace_s=self._pace.grace_s)
        found.suspects += len(targets)
        found.opened += len(noted.opened)
        found.closed += len(closed)

    async def _walk(self, walk: Walk, horizon: Horizon, found: Round) -> None:
        pages = 1 if isinstance(walk, AccountsWalk) else self._pace.pages_max
        for _ in range(pages):
            started = time.monotonic()
            cursor = await read_cursor(self._pool, walk.name)
            step = await walk.step(cursor.position, horizon)
            if step.after is None:
                return
            with database():
                async with self._pool.acquire() as connection, connection.transaction():
                    if not await move_cursor(connection, cursor, step.after, step.walked):
                        return  # Somebody else has walked here.
                    await add_suspects(connection, suspects_of(step.suspicious), grace_s=self._pace.grace_s)
            self._memory.keep(step.versions)
            found.walked[walk.name] = found.walked.get(walk.name, 0) + step.walked
            if step.done:
                return
            await self._rest(time.monotonic() - started)
        found.done = found.done and isinstance(walk, AccountsWalk)

    async def _rest(self, worked_s: float) -> None:
        """Leave the stores, and the processor, to the saga for a while."""
        await asyncio.sleep(worked_s * (1 / self._pace.share - 1))

    async def _note(self, kind: BreakKind, breaks: Sequence[Break], found: Round) -> None:
        """Note all there is of a kind that needs no second look, and close what is gone of it."""
        noted = await open_breaks(self._pool, breaks)
        with database():
            rows = await self._pool.fetch(_OPEN_OF_KIND, str(kind))
        seen = {one.subject for one in breaks}
        gone = [Closing(kind, row["subject"], _AGREES) for row in rows if row["subject"] not in seen]
        found.opened += len(noted.opened)
        found.closed += len(await close_breaks(self._pool, gone))

    async def _to_look_at(self) -> list[Suspect]:
        due = await due_suspects(self._pool, limit=AGAIN_MAX)
        stale = await stale_breaks(self._pool, older_than_s=self._pace.stale_s, limit=AGAIN_MAX)
        return sorted({*due, *stale})

    async def _closely(self, targets: Iterable[Suspect]) -> tuple[list[Break], set[tuple[Watched, str]]]:
        by_sort: dict[Watched, list[str]] = {}
        for one in targets:
            by_sort.setdefault(one.what, []).append(one.key)
        return await look_closely_at(self._ledger, self._pool, by_sort)

    async def _gone(self, looked: Iterable[Suspect], breaks: Iterable[Break]) -> list[Closing]:
        """Return the open breaks about what was looked at that have not been seen again."""
        seen = {(one.kind, one.subject) for one in breaks}
        gone: list[Closing] = []
        by_sort: dict[Watched, list[str]] = {}
        for one in looked:
            by_sort.setdefault(one.what, []).append(one.key)
        for what, keys in by_sort.items():
            with database():
                rows = await self._pool.fetch(statement("open_of_subjects"), kinds_watched(what), keys)
            for row in rows:
                kind = BreakKind(row["kind"])
                if (kind, row["subject"]) not in seen:
                    gone.append(Closing(kind, row["subject"], _AGREES))
        return gone

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[bool]:
        """Hold the reconcilers' lock, if nobody does; losing it, with its connection, costs work done twice at most."""
        with database():
            connection = await self._pool.acquire()
        try:
            with database():
                alone = bool(await connection.fetchval(_LOCK))
            yield alone
        finally:
            # A lost connection has lost the lock with it.
            with suppress(Transient, OutcomeUnknown), database():
                await connection.execute(_UNLOCK)
            with database():
                await self._pool.release(connection)


async def look_closely_at(
    ledger: Ledger, pool: Pool, by_sort: dict[Watched, list[str]]
) -> tuple[list[Break], set[tuple[Watched, str]]]:
    """Look at things closely; return what is wrong, and what would not stand still.

    Raises:
        Transient, OutcomeUnknown: a store was out of reach.
    """
    breaks: list[Break] = []
    moving: set[tuple[Watched, str]] = set()
    for what, keys in by_sort.items():
        match what:
            case Watched.INTENT:
                breaks += (await examine_closely(ledger, pool, [UUID(key) for key in keys])).breaks
            case Watched.WALLET:
                looked = await look_closely(ledger, pool, keys)
                breaks += looked.breaks
                moving |= {(what, name) for name in looked.moving}
            case Watched.ACCOUNT:
                breaks += await named(ledger, pool, keys)
            case Watched.OPENED:
                breaks += await unmapped(pool, await ledger.lookup_accounts([UUID(key).int for key in keys]))
            case Watched.HISTORY:
                breaks += await look_at_rows(ledger, pool, keys)
            case _:
                assert_never(what)
    return breaks, moving


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1e9)
