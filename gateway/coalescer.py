"""Coalescing: while one call is in flight the others gather, and the next call carries them all.

An idle machine waits for nothing: the first item leaves at once. Under load a call carries as many items as came in
during the one before. This module must never answer an item whose call has not returned.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from shared.errors import OutcomeUnknown, PaymeshError, Transient

ITEMS_MAX: Final = 256
BYTES_MAX: Final = 1 << 20

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Waiting(Generic[ItemT, AnswerT]):
    item: ItemT
    size: int
    since: float
    answer: "asyncio.Future[AnswerT]"


class Coalescer(Generic[ItemT, AnswerT]):
    """One lane: at most one call in flight, everything else queued behind it in order.

    Args:
        carry: the call; answers one item each, in order. Raises for all of them or none.
        size_of: an item's size in bytes, where a call is bounded in bytes as well as in items.
        queue_max: how many items may wait; more are refused.
        queue_bytes_max: and how many bytes of them.
        age_max_s: an item that has waited longer is refused instead of carried.
    """

    def __init__(
        self,
        carry: Callable[[Sequence[ItemT]], Awaitable[Sequence[AnswerT]]],
        *,
        size_of: Callable[[ItemT], int] = lambda _: 0,
        queue_max: int = 16 * ITEMS_MAX,
        queue_bytes_max: int = 16 * BYTES_MAX,
        age_max_s: float = 2.0,
    ) -> None:
        self._carry = carry
        self._size_of = size_of
        self._queue_max = queue_max
        self._queue_bytes_max = queue_bytes_max
        self._queue_bytes = 0
        self._age_max_s = age_max_s
        self._queue: deque[_Waiting[ItemT, AnswerT]] = deque()
        self._driver: asyncio.Task[None] | None = None

    async def submit(self, item: ItemT) -> AnswerT:
        """Hand one item in and wait for its answer.

        Raises:
            Transient: nothing happened: too many items wait, or this one waited too long.
            OutcomeUnknown: the call ended without an answer.
            PaymeshError: what the call raised.
        """
        size = self._size_of(item)
        if len(self._queue) >= self._queue_max or self._queue_bytes + size > self._queue_bytes_max:
            raise Transient("too many requests wait for this partition", code="busy")
        loop = asyncio.get_running_loop()
        waiting: _Waiting[ItemT, AnswerT] = _Waiting(item, size, loop.time(), loop.create_future())
        self._queue.append(waiting)
        self._queue_bytes += size
        if self._driver is None:
            self._start()
        return await waiting.answer

    async def drain(self) -> None:
        """Wait until nothing is queued or in flight."""
        while self._driver is not None:
            await asyncio.wait({self._driver})

    def _start(self) -> None:
        self._driver = asyncio.get_running_loop().create_task(self._drive())
        self._driver.add_done_callback(self._driven)

    def _driven(self, driver: "asyncio.Task[None]") -> None:
        self._driver = None
        if not driver.cancelled() and driver.exception() is not None:
            _log.error("coalescer_failed", exc_info=driver.exception())
        if self._queue:
            self._start()

    async def _drive(self) -> None:
        while self._queue:
            batch = self._take()
            if not batch:
                continue
            try:
                answers = await self._carry([waiting.item for waiting in batch])
                for waiting, answer in zip(batch, answers, strict=True):
                    if not waiting.answer.done():
                        waiting.answer.set_result(answer)
            except PaymeshError as error:
                _fail(batch, error)
            finally:
                # Only a fault of ours gets here with anyone unanswered; nobody may be left waiting for ever.
                _fail(batch, OutcomeUnknown("the call ended without an answer"))

    def _take(self) -> list[_Waiting[ItemT, AnswerT]]:
        """Take as many items as one call may carry; refuse the ones that have waited too long."""
        oldest = asyncio.get_running_loop().time() - self._age_max_s
        batch: list[_Waiting[ItemT, AnswerT]] = []
        size = 0
        while self._queue and len(batch) < ITEMS_MAX:
            waiting = self._queue[0]
            if batch and size + waiting.size > BYTES_MAX:
                break
            self._queue.popleft()
            self._queue_bytes -= waiting.size
            if waiting.answer.done():  # its request has been given up
                continue
            if waiting.since < oldest:
                _fail([waiting], Transient("the request waited too long for its turn", code="busy"))
                continue
            batch.append(waiting)
            size += waiting.size
        return batch


def _fail(batch: Sequence[_Waiting[ItemT, AnswerT]], error: PaymeshError) -> None:
    """Answer everyone who has no answer yet with an error of their own, since tracebacks grow on shared ones."""
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(type(error)(str(error), code=error.code))
