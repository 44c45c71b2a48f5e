"""Coalescing: nobody waits on an idle machine, everybody shares a call on a busy one, nobody is forgotten."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.coalescer import BYTES_MAX, ITEMS_MAX, Coalescer
from shared.errors import OutcomeUnknown, Transient


class Calls:
    """A call that records what it carried and waits to be let go."""

    def __init__(self) -> None:
        self.carried: list[list[int]] = []
        self.gate = asyncio.Event()
        self.fails_with: Exception | None = None

    async def __call__(self, items: Sequence[int]) -> list[str]:
        self.carried.append(list(items))
        await self.gate.wait()
        if self.fails_with is not None:
            raise self.fails_with
        return [f"answer {item}" for item in items]


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_item_leaves_at_once() -> None:
    """Nothing is waited for."""
    calls = Calls()
    calls.gate.set()
    lane = Coalescer(calls)
    assert await lane.submit(1) == "answer 1"
    assert await lane.submit(2) == "answer 2"
    assert calls.carried == [[1], [2]]


async def test_while_a_call_is_in_flight_the_others_gather_in_order() -> None:
    """One call for all of them, and each gets its own answer."""
    calls = Calls()
    lane = Coalescer(calls)
    first = asyncio.create_task(lane.submit(0))
    await _turns()
    others = [asyncio.create_task(lane.submit(item)) for item in range(1, 10)]
    await _turns()
    assert calls.carried == [[0]]
    calls.gate.set()
    assert await asyncio.gather(first, *others) == [f"answer {item}" for item in range(10)]
    assert calls.carried == [[0], list(range(1, 10))]


async def test_a_call_carries_no_more_than_its_bounds() -> None:
    """In items, and in bytes where items have a size; one item too large for both travels alone."""
    calls = Calls()
    calls.gate.set()
    lane = Coalescer(calls)
    await asyncio.gather(*(lane.submit(item) for item in range(ITEMS_MAX * 2 + 1)))
    assert [len(batch) for batch in calls.carried] == [ITEMS_MAX, ITEMS_MAX, 1]

    calls.carried.clear()
    sized = Coalescer(calls, size_of=lambda item: item)
    await asyncio.gather(*(sized.submit(size) for size in (BYTES_MAX // 2, BYTES_MAX // 2, 1, BYTES_MAX * 2, 1)))
    assert calls.carried == [[BYTES_MAX // 2, BYTES_MAX // 2], [1], [BYTES_MAX * 2], [1]]


async def test_beyond_its_queue_it_is_busy() -> None:
    """Nothing happened to the refused one, and those in the queue are still carried."""
    calls = Calls()
    lane = Coalescer(calls, queue_max=2)
    tasks = [asyncio.create_task(lane.submit(0))]
    await _turns()
    tasks += [asyncio.create_task(lane.submit(item)) for item in (1, 2)]
    await _turns()
    with pytest.raises(Transient) as raised:
        await lane.submit(3)
    assert raised.value.code == "busy"
    calls.gate.set()
    assert len(await asyncio.gather(*tasks)) == 3


async def test_beyond_so_many_bytes_it_is_busy_until_they_have_left() -> None:
    """Large bodies fill the memory before they fill the queue."""
    calls = Calls()
    lane = Coalescer(calls, size_of=lambda item: item, queue_bytes_max=100)
    first = asyncio.create_task(lane.submit(100))
    await _turns()
    second = asyncio.create_task(lane.submit(60))
    await _turns()
    with pytest.raises(Transient):
        await lane.submit(41)
    third = asyncio.create_task(lane.submit(40))
    calls.gate.set()
    assert (await first, await second, await third) == ("answer 100", "answer 60", "answer 40")
    assert await lane.submit(100) == "answer 100"


async def test_an_item_that_waited_too_long_is_refused_and_not_carried() -> None:
    """Its id has grown old, and its client has given up."""
    calls = Calls()
    lane = Coalescer(calls, age_max_s=2.0)
    first = asyncio.create_task(lane.submit(0))
    await _turns()
    late = asyncio.create_task(lane.submit(1))
    await _turns()
    lane._queue[0].since -= 2.1
    calls.gate.set()
    with pytest.raises(Transient) as raised:
        await late
    assert raised.value.code == "busy"
    assert calls.carried == [[0]]
    assert await first == "answer 0"


async def test_a_failed_call_fails_everybody_it_carried_and_nobody_else() -> None:
    """Each with an error of the same kind and code, and of its own."""
    calls = Calls()
    calls.gate.set()
    calls.fails_with = OutcomeUnknown("lost", code="lost")
    lane = Coalescer(calls)
    outcomes = await asyncio.gather(lane.submit(1), lane.submit(2), return_exceptions=True)
    assert [(type(outcome), getattr(outcome, "code", "")) for outcome in outcomes] == [(OutcomeUnknown, "lost")] * 2
    assert outcomes[0] is not outcomes[1]
    calls.fails_with = None
    assert await lane.submit(3) == "answer 3"


async def test_a_fault_of_ours_leaves_nobody_waiting() -> None:
    """What nobody foresaw is an unknown outcome to those who were carried; the next ones are carried all the same."""
    calls = Calls()
    lane = Coalescer(calls)
    calls.fails_with = ZeroDivisionError()
    first = asyncio.create_task(lane.submit(1))
    await _turns()
    second = asyncio.create_task(lane.submit(2))
    await _turns()
    calls.gate.set()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(outcome, OutcomeUnknown) for outcome in outcomes)
    assert calls.carried == [[1], [2]]


async def test_a_call_that_answers_too_few_is_a_fault_of_ours() -> None:
    """Whoever was not answered must not wait for ever."""

    async def short(items: Sequence[int]) -> list[int]:
        return list(items)[:-1]

    lane = Coalescer(short)
    outcomes = await asyncio.gather(lane.submit(1), lane.submit(2), return_exceptions=True)
    assert isinstance(outcomes[1], OutcomeUnknown)


async def test_whoever_gave_up_is_not_carried() -> None:
    """A cancelled request costs nothing more."""
    calls = Calls()
    lane = Coalescer(calls)
    first = asyncio.create_task(lane.submit(0))
    await _turns()
    given_up, kept = asyncio.create_task(lane.submit(1)), asyncio.create_task(lane.submit(2))
    await _turns()
    given_up.cancel()
    await _turns()
    calls.gate.set()
    assert (await first, await kept) == ("answer 0", "answer 2")
    assert calls.carried == [[0], [2]]


async def test_draining_waits_for_what_is_queued_and_in_flight() -> None:
    """So that stopping loses nobody's answer."""
    calls = Calls()
    lane = Coalescer(calls)
    tasks = [asyncio.create_task(lane.submit(item)) for item in range(3)]
    await _turns()
    draining = asyncio.create_task(lane.drain())
    await _turns()
    assert not draining.done()
    calls.gate.set()
    await draining
    assert all(task.done() for task in tasks)
