"""The digest: walks the ledger once, a page at a time, and adds up by business day what moved.

Whatever a report needs of the ledger is added up here when it is new, so that no report ever scans history. A page is
counted in the transaction that advances the cursor: two digests at once, or one that is killed, count nothing twice
and leave nothing out. The mesh's own ticks, which the ledger takes every ten seconds, carry the walk across midnight
where nobody pays.

This module must never change what a closed day says, and never conclude anything about an intent.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

import tigerbeetle as tb

from reconciler.reports.days import NS, BusinessDay, Calendar, ZoneCalendar, moment
from reconciler.reports.flows import Course, Flow, Operation, add_up, by_account, continues, ends_hold
from reconciler.reports.names import Names
from reconciler.reports.standing import look, write_standing
from reconciler.reports.statements import Connection, statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import violated
from shared.ledger.accounts import LIMITS_LEDGER, MESH_LEDGER
from shared.ledger.port import Ledger

PAGE: Final = 2000
PAGES_MAX: Final = 50
"""How far one round walks; the next goes on from there."""
STANDING_MAX: Final = timedelta(days=8)
"""A day that is closed later than this after its end, such as those before an upgrade, is not asked what was open."""

_NO_MONEY: Final = (MESH_LEDGER, LIMITS_LEDGER)


@dataclass(frozen=True, slots=True)
class Digested:
    """How far a round has come: `lag_s` is how old the last transfer is that it counted, 0 where nothing was left."""

    walked: int
    done: bool
    lag_s: float


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk stands."""

    walked_ns: int
    today: BusinessDay | None
    time_zone: str


class Digest:
    """One process's walk; whoever else walks too does no harm."""

    def __init__(
        self,
        *,
        pool: Pool,
        ledger: Ledger,
        calendar: Callable[[str], Calendar] = ZoneCalendar,
        page: int = PAGE,
        share: float = 1.0,
    ) -> None:
        """Stand on the stores.

        Args:
            pool: the database.
            ledger: the books.
            calendar: makes the calendar of a time zone.
            page: how many transfers are counted at once.
            share: how much of the time it works while it walks; the rest it leaves to the saga.
        """
        self._pool = pool
        self._ledger = ledger
        self._calendar = calendar
        self._page = page
        self._share = share
        self._names = Names(pool=pool, ledger=ledger)

    async def round(self, *, pages: int = PAGES_MAX) -> Digested:
        """Go on for a while, or until nothing is left.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; the next round goes on.
        """
        walked = 0
        step = _Step(0, 0, more=True)
        for _ in range(pages):
            started = time.monotonic()
            step = await self._step()
            walked += step.walked
            if not step.more:
                return Digested(walked, done=True, lag_s=0.0)
            await asyncio.sleep((time.monotonic() - started) * (1 / self._share - 1))
        return Digested(walked, done=False, lag_s=max(0.0, time.time() - step.walked_ns / NS))

    async def to_the_end(self) -> int:
        """Go on until nothing is left; return how many transfers were counted."""
        walked = 0
        while True:
            digested = await self.round()
            walked += digested.walked
            if digested.done:
                return walked

    async def _step(self) -> "_Step":
        """Count one page, or what of it belongs to the day that is open."""
        place = await self._place()
        before, page = await self._read(place.walked_ns)
        if not page:
            return _Step(0, place.walked_ns, more=False)
        calendar = self._calendar(place.time_zone)
        today = place.today or calendar.first(page[0].timestamp)
        counted = page[: _belonging(page, today, before)]
        over = len(counted) < len(page)
        flows = await self._flows(counted)
        tomorrow = calendar.after(today) if over else None
        reached = _Reached(counted[-1].timestamp if counted else place.walked_ns, (tomorrow or today).day)
        with database():
            async with self._pool.acquire() as connection, connection.transaction():
                if not await _advance(connection, place, reached):
                    return _Step(0, reached.walked_ns, more=True)  # Another process counted it.
                if place.today is None:
                    await _open(connection, today)
                await _add(connection, today.day, flows)
                if tomorrow is not None:
                    await _close(connection, today)
                    await _open(connection, tomorrow)
                    await connection.execute(statement("carry_over"), today.day, tomorrow.day)
        return _Step(len(counted), reached.walked_ns, more=over or len(page) >= self._page)

    async def _place(self) -> _Place:
        with database():
            row = await self._pool.fetchrow(statement("digest_state"))
        if row is None:
            violated("the digest has no cursor")
        today = None
        if row["day"] is not None:
            today = BusinessDay(row["day"], row["day_zone"], row["starts_ns"], row["ends_ns"])
        return _Place(row["walked_ns"], today, row["time_zone"])

    async def _read(self, walked_ns: int) -> tuple[tb.Transfer | None, list[tb.Transfer]]:
        """Return the transfer that was counted last, and the page after it."""
        found = await self._ledger.query_transfers(
            tb.QueryFilter(
                user_data_128=0, user_data_64=0, user_data_32=0, ledger=0, code=0, timestamp_min=walked_ns,
                timestamp_max=0, limit=self._page + 1, flags=tb.QueryFilterFlags.NONE,
            )
        )  # fmt: skip
        if found and found[0].timestamp == walked_ns:
            return found[0], found[1:]
        return None, found[: self._page]

    async def _flows(self, counted: Sequence[tb.Transfer]) -> dict[Course, Flow]:
        money = [each for each in counted if each.ledger not in _NO_MONEY]
        if not money:
            return {}
        return add_up(
            money,
            names=await self._names.of(money),
            operations=await self._operations(money),
            holds=await self._holds(money),
        )

    async def _operations(self, transfers: Sequence[tb.Transfer]) -> Mapping[int, Operation]:
        ids = [UUID(int=number) for number in sorted({each.user_data_128 for each in transfers})]
        with database():
            rows = await self._pool.fetch(statement("operations"), ids)
        return {row["id"].int: Operation(row["operation_type"], row["channel"]) for row in rows}

    async def _holds(self, transfers: Sequence[tb.Transfer]) -> Mapping[int, int]:
        """Return what each hold that is ended here had held."""
        wanted = sorted({each.pending_id for each in transfers if ends_hold(each)})
        held = await self._ledger.lookup_transfers(wanted) if wanted else []
        return {each.id: each.amount for each in held}


@dataclass(frozen=True, slots=True)
class _Step:
    """What a step counted, and whether the ledger may have more: a mesh at work always has, but not a whole page."""

    walked: int
    walked_ns: int
    more: bool


@dataclass(frozen=True, slots=True)
class _Reached:
    walked_ns: int
    day: date


def _belonging(page: Sequence[tb.Transfer], today: BusinessDay, before: tb.Transfer | None) -> int:
    """Return how many transfers, from the first on, belong to the day that is open."""
    for index, each in enumerate(page):
        if each.timestamp >= today.ends_ns and not continues(each, page[index - 1] if index else before):
            return index
    return len(page)


async def _advance(connection: Connection, place: _Place, reached: _Reached) -> bool:
    day = None if place.today is None else place.today.day
    advanced = await connection.fetchval(
        statement("advance_digest"), place.walked_ns, day, reached.walked_ns, reached.day
    )
    return advanced is not None


async def _open(connection: Connection, day: BusinessDay) -> None:
    await connection.execute(statement("open_day"), day.day, day.time_zone, day.starts_ns, day.ends_ns)


async def _close(connection: Connection, day: BusinessDay) -> None:
    """Close a day for good, with what was open when it ended."""
    ended = moment(day.ends_ns)
    standing = None
    if datetime.now(UTC) - ended < STANDING_MAX:
        standing = write_standing(await look(connection, ended))
    await connection.execute(statement("close_day"), day.day, standing)


async def _add(connection: Connection, day: date, flows: Mapping[Course, Flow]) -> None:
    if not flows:
        return
    rows = [(*course, *astuple(flows[course])) for course in sorted(flows)]
    await connection.execute(statement("add_flows"), day, *zip(*rows, strict=True))
    movements = by_account(flows)
    lines = [(name, *astuple(movements[name])) for name in sorted(movements)]
    await connection.execute(statement("add_movements"), day, *zip(*lines, strict=True))
