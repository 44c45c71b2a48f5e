"""The sandbox's time: the wall clock, which a test may move ahead instead of waiting; sleepers wake accordingly.

How far it was moved is part of the books, since what has expired must not come back to life with a restart. Time
never runs backwards here.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from adapters.sandbox.books import Books, Record

_KEY = "clock"


class Ahead(Record):
    """How far the sandbox is ahead of the wall."""

    ahead_ms: int


class Clock:
    """Unix milliseconds; `wall_ms` is the real ones."""

    def __init__(self, *, books: Books, wall_ms: Callable[[], int]) -> None:
        self._table = books.table("clock", Ahead, key=lambda _row: _KEY)
        self._wall_ms = wall_ms
        self._moved = asyncio.Event()

    @property
    def ahead_ms(self) -> int:
        """How far the sandbox is ahead."""
        row = self._table.get(_KEY)
        return 0 if row is None else row.ahead_ms

    def now_ms(self) -> int:
        """Return the sandbox's time."""
        return self._wall_ms() + self.ahead_ms

    def wall_ms(self) -> int:
        """Return the real time, by which signatures are dated."""
        return self._wall_ms()

    def advance(self, by_ms: int) -> int:
        """Move ahead; return the new time."""
        self._table.put(Ahead(ahead_ms=self.ahead_ms + by_ms))
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        return self.now_ms()

    async def sleep(self, ms: int) -> None:
        """Sleep so long, by this clock."""
        due_ms = self.now_ms() + ms
        while (left_ms := due_ms - self.now_ms()) > 0:
            try:
                async with asyncio.timeout(left_ms / 1000):
                    await self._moved.wait()
            except TimeoutError:
                continue


def iso(unix_ms: int) -> str:
    """Write a time as the sandboxes' APIs do, ``2026-01-31T12:00:00.000Z``."""
    moment = datetime.fromtimestamp(unix_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
