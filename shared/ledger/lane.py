"""One lane of requests: calls made while a request is in flight share the next one, chains whole.

The TigerBeetle client has one request in flight at a time. While it is, calls wait here and then travel together:
for many small calls that is several times cheaper than a packet each. A call larger than a request is cut between
chains. The request belongs to the lane and not to its callers, so that a caller who is cancelled or runs out of time
leaks nothing: what was sent carries on underneath, what was not is forgotten.

This module must never look inside an event beyond where its chain ends.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import tigerbeetle as tb

from shared.errors import OutcomeUnknown, require
from shared.ledger.port import CHAIN_EVENTS_MAX


class Event(Protocol):
    """What a lane needs to know of an event."""

    @property
    def linked(self) -> bool:
        """Whether the next event belongs to the same chain."""
        ...


E = TypeVar("E", bound=Event)
R = TypeVar("R")


class RequestSize:
    """How many events a request may have: assumed large, and learned when a server turns out to be small."""

    def __init__(self, events_max: int) -> None:
        self.events_max = events_max

    def learn_small(self, refused: int) -> bool:
        """Note that a request of `refused` events was too much; return whether a smaller one may be tried."""
        if refused <= CHAIN_EVENTS_MAX:
            return False
        self.events_max = CHAIN_EVENTS_MAX
        return True


class _Call(Generic[E, R]):
    """Somebody waiting for the results of their events."""

    __slots__ = ("answer", "events", "results")

    def __init__(self, events: Sequence[E], answer: "asyncio.Future[list[R]]") -> None:
        self.events = events
        self.answer = answer
        self.results: list[R] = []

    @property
    def rest(self) -> int:
        """How many events have no result yet."""
        return len(self.events) - len(self.results)


class Lane(Generic[E, R]):
    """Requests of one kind, one after the other."""

    def __init__(self, *, send: Callable[[list[E]], Awaitable[list[R]]], size: RequestSize) -> None:
        """Open a lane.

        Args:
            send: carries one request; returns one result per event. It must bring its own patience: an error it
                raises goes to every caller of the request.
            size: the limit on a request's events, shared between lanes.
        """
        self._send = send
        self._size = size
        self._waiting: deque[_Call[E, R]] = deque()
        self._pump: asyncio.Task[None] | None = None
        self.requests = 0

    async def call(self, events: Sequence[E], *, timeout_s: float) -> list[R]:
        """Return one result per event.

        Raises:
            OutcomeUnknown: no answer came in time.
            tigerbeetle.TooMuchDataError: a chain is too long for a request; nothing was sent.
        """
        if not events:
            return []
        check_chains(events)
        call: _Call[E, R] = _Call(events, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(timeout_s):
                return await call.answer
        except TimeoutError:
            raise OutcomeUnknown(f"the ledger has not answered within {timeout_s:g} s") from None
        finally:
            # A silent server must not collect the calls of callers who have long gone away.
            if call.answer.cancelled() and call in self._waiting:
                self._waiting.remove(call)

    async def drain(self) -> None:
        """Wait until the request in flight and those behind it have ended."""
        if self._pump is not None:
            await asyncio.wait({self._pump})

    async def _run(self) -> None:
        """Send until nobody waits."""
        try:
            while batch := self._next_request():
                await self._round(batch)
        finally:
            self._pump = None

    async def _round(self, batch: list[tuple[_Call[E, R], int]]) -> None:
        events: list[E] = []
        for call, count in batch:
            events += call.events[len(call.results) : len(call.results) + count]
        self.requests += 1
        sent = asyncio.create_task(self._request(events))
        await asyncio.wait({sent})
        error = sent.exception()
        if error is None:
            self._deliver(batch, sent.result())
        elif isinstance(error, tb.TooMuchDataError) and self._size.learn_small(len(events)):
            self._waiting.extendleft(call for call, _ in reversed(batch) if not call.answer.done())
        else:
            for call, _ in batch:
                if not call.answer.done():
                    call.answer.set_exception(error)

    async def _request(self, events: list[E]) -> list[R]:
        results = await self._send(events)
        require(len(results) == len(events), f"{len(results)} results for {len(events)} events")
        return results

    def _deliver(self, batch: list[tuple[_Call[E, R], int]], results: list[R]) -> None:
        start = 0
        for call, taken in batch:
            call.results += results[start : start + taken]
            start += taken
            if call.answer.done():
                continue
            if call.rest:
                self._waiting.appendleft(call)
            else:
                call.answer.set_result(call.results)

    def _next_request(self) -> list[tuple[_Call[E, R], int]]:
        """Take the calls, and how many events of each, that travel together next."""
        batch: list[tuple[_Call[E, R], int]] = []
        room = self._size.events_max
        while self._waiting and room:
            call = self._waiting[0]
            if call.answer.done():
                self._waiting.popleft()
                continue
            if call.rest > room and batch:
                break
            count = call.rest if call.rest <= room else self._cut(call, room)
            batch.append((self._waiting.popleft(), count))
            room -= count
            # A chain left open swallows what follows it in the request: nothing may.
            if count < call.rest or call.events[-1].linked:
                break
        return batch

    def _cut(self, call: _Call[E, R], room: int) -> int:
        """Return how many events fit such that the last of them ends a chain."""
        start = len(call.results)
        stop = start + room
        while call.events[stop - 1].linked:
            stop -= 1
        return stop - start


def check_chains(events: Sequence[Event]) -> None:
    """Refuse a chain that no server is bound to take.

    Raises:
        tigerbeetle.TooMuchDataError: a chain has more than `CHAIN_EVENTS_MAX` events.
    """
    if len(events) <= CHAIN_EVENTS_MAX:
        return
    length = 1
    for event in events:
        if length > CHAIN_EVENTS_MAX:
            raise tb.TooMuchDataError
        length = length + 1 if event.linked else 1
