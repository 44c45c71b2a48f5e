"""Finding dead letters: by intent through the index, by age through their ids, by everything else a page at a time.

A search reads no further than it was told, and says where it stopped; it never looks at a record that was written
after it began, so that what is put back and dies again is not found twice. This module must never ask a server for
more than a page.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis

from ops.dlq.addresses import Address
from ops.dlq.contents import amount_of, read_content
from ops.dlq.reach import reading_redis
from shared.errors import BadInput
from shared.streams.dead_letters import DeadLetterRecord, find_records, newest, read_page, read_record
from shared.streams.verdicts import ENTRIES_MAX

LOOKED_AT_MAX: Final = 10_000
"""How many records a search looks at where nobody asked for more."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is searched for; whatever is None, or empty, takes everything.

    Attributes:
        reasons: why it died.
        before_ms: it died before that, unix ms.
        since_ms: it died then or later, unix ms.
        amount_min: it is about at least so much, in minor units.
        amount_max: it is about at most so much.
        intent: it names that intent.
        records: exactly these.
    """

    reasons: frozenset[str] = frozenset()
    before_ms: int | None = None
    since_ms: int | None = None
    amount_min: int | None = None
    amount_max: int | None = None
    intent: str | None = None
    records: tuple[Address, ...] = ()

    @property
    def by_counts(self) -> bool:
        """Whether the counts alone can answer it."""
        return (self.amount_min, self.amount_max, self.intent) == (None, None, None) and not self.records

    def takes(self, record: DeadLetterRecord) -> bool:
        """Say whether a record is meant."""
        if self.reasons and record.reason not in self.reasons:
            return False
        if self.before_ms is not None and record.dead_ms >= self.before_ms:
            return False
        if self.since_ms is not None and record.dead_ms < self.since_ms:
            return False
        if self.intent is not None and record.id != self.intent:
            return False
        return self._takes_amount(record)

    def _takes_amount(self, record: DeadLetterRecord) -> bool:
        if self.amount_min is None and self.amount_max is None:
            return True
        amount = amount_of(read_content(record))
        if amount is None:
            return False
        return (self.amount_min or 0) <= amount[0] <= (self.amount_max if self.amount_max is not None else amount[0])


@dataclass(slots=True)
class Search:
    """One pass over the dead letters of some streams.

    Attributes:
        looked_at: how many records it has looked at.
        cut: it stopped at one of its bounds, and there may be more.
    """

    redis: Redis
    streams: Sequence[str]
    wanted: Wanted
    limit: int
    looked_at_max: int = LOOKED_AT_MAX
    looked_at: int = 0
    found: int = 0
    cut: bool = False
    _until: dict[str, bytes] = field(default_factory=dict)

    async def pages(self) -> AsyncIterator[tuple[str, list[DeadLetterRecord]]]:
        """Return what is meant, stream by stream, the oldest first, a page at a time."""
        if self.wanted.records:
            async for page in self._named():
                yield page
            return
        await self._remember_ends()
        for stream in self.streams:
            async for records in self._of(stream):
                taken = [record for record in records if self.wanted.takes(record)]
                if len(taken) > self.limit - self.found:
                    self.cut = True
                    taken = taken[: self.limit - self.found]
                self.found += len(taken)
                if taken:
                    yield stream, taken
                if self.cut:
                    return

    async def _named(self) -> AsyncIterator[tuple[str, list[DeadLetterRecord]]]:
        if len(self.wanted.records) > self.limit:
            raise BadInput(f"{len(self.wanted.records)} addresses; --limit is {self.limit}")
        for address in self.wanted.records:
            with reading_redis():
                found = await read_record(self.redis, address.stream, address.record_id)
            self.looked_at += 1
            if found is not None and self.wanted.takes(found[0]):
                self.found += 1
                yield address.stream, [found[0]]

    async def _of(self, stream: str) -> AsyncIterator[list[DeadLetterRecord]]:
        if self.wanted.intent is not None:
            with reading_redis():
                records = await find_records(self.redis, stream, self.wanted.intent)
            self.looked_at += len(records)
            yield records
            return
        until = self._until.get(stream)
        after = b"%d-0" % self.wanted.since_ms if self.wanted.since_ms is not None else b"0-0"
        while until is not None:
            room = self.looked_at_max - self.looked_at
            if room <= 0:
                self.cut = True
                yield []
                return
            with reading_redis():
                page = await read_page(self.redis, stream, after=after, count=min(ENTRIES_MAX, room), until=until)
            if not page:
                return
            after = page[-1].entry_id
            self.looked_at += len(page)
            yield page

    async def _remember_ends(self) -> None:
        """Note the youngest record of each stream: what comes later is not of this search."""
        if self.wanted.intent is not None:
            return
        for stream in self.streams:
            with reading_redis():
                last = await newest(self.redis, stream)
            if last is None:
                continue
            if self.wanted.before_ms is not None and int(last.partition(b"-")[0]) > self.wanted.before_ms:
                last = b"%d" % self.wanted.before_ms
            self._until[stream] = last
