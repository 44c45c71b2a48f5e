"""How calls share requests: whole chains, in order, and nobody's trouble but their own."""

import asyncio
from dataclasses import dataclass

import pytest
import tigerbeetle as tb
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvariantViolation, OutcomeUnknown
from shared.ledger.lane import Lane, RequestSize
from shared.ledger.port import CHAIN_EVENTS_MAX
from tests.waiting import until


@dataclass(frozen=True)
class Event:
    """An event that remembers who sent it."""

    name: str
    linked: bool = False


class Wire:
    """A server that answers when told to, with the names of the events it was sent."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.takes = 1 << 20

    async def send(self, events: list[Event]) -> list[str]:
        """Carry a request."""
        self.requests.append([event.name for event in events])
        await self.open.wait()
        if len(events) > self.takes:
            raise tb.TooMuchDataError
        if self.error is not None:
            raise self.error
        return [event.name for event in events]


def _events(text: str) -> list[Event]:
    """Read ``a-b c``: a is linked to b, c stands alone."""
    return [
        Event(name, linked=index < len(chain.split("-")) - 1)
        for chain in text.split()
        for index, name in enumerate(chain.split("-"))
    ]


def _lane(wire: Wire, events_max: int = 1000) -> Lane[Event, str]:
    return Lane(send=wire.send, size=RequestSize(events_max))


async def test_calls_made_while_a_request_is_in_flight_share_the_next_one() -> None:
    """Two requests for five calls, each with its own results."""
    wire = Wire()
    lane = _lane(wire)
    wire.open.clear()
    first = asyncio.create_task(lane.call(_events("a"), timeout_s=5))
    await until(lambda: wire.requests)
    others = [asyncio.create_task(lane.call(_events(name), timeout_s=5)) for name in ("b", "c-d", "e", "f")]
    await until(lambda: len(lane._waiting) == 4)
    wire.open.set()
    assert await first == ["a"]
    assert await asyncio.gather(*others) == [["b"], ["c", "d"], ["e"], ["f"]]
    assert wire.requests == [["a"], ["b", "c", "d", "e", "f"]]


async def test_an_empty_call_asks_nobody() -> None:
    """Nothing in, nothing out."""
    wire = Wire()
    assert await _lane(wire).call([], timeout_s=5) == []
    assert wire.requests == []


async def test_a_call_larger_than_a_request_is_cut_between_chains() -> None:
    """No request begins or ends within a chain."""
    wire = Wire()
    names = await _lane(wire, 4).call(_events("a-b c-d-e f g-h-i-j"), timeout_s=5)
    assert names == list("abcdefghij")
    assert wire.requests == [["a", "b"], ["c", "d", "e", "f"], ["g", "h", "i", "j"]]


async def test_a_call_that_does_not_fit_any_more_goes_whole_into_the_next_request() -> None:
    """Only what is larger than a request is ever cut."""
    wire = Wire()
    lane = _lane(wire, 4)
    answers = await asyncio.gather(*(lane.call(_events(text), timeout_s=5) for text in ("a b c", "d e", "f")))
    assert answers == [["a", "b", "c"], ["d", "e"], ["f"]]
    assert wire.requests == [["a", "b", "c"], ["d", "e", "f"]]


async def test_a_chain_left_open_swallows_nobody_elses_events() -> None:
    """The server would take the next caller's first event for its end."""
    wire = Wire()
    lane = _lane(wire)
    opened = [Event("a", linked=True)]
    answers = await asyncio.gather(*(lane.call(events, timeout_s=5) for events in (opened, _events("b"))))
    assert answers == [["a"], ["b"]]
    assert wire.requests == [["a"], ["b"]]


async def test_a_chain_too_long_for_any_server_is_refused_before_anything_is_sent() -> None:
    """Half a call must not be in the books when the other half turns out to be impossible."""
    wire = Wire()
    long = [Event(str(n), linked=n < CHAIN_EVENTS_MAX) for n in range(CHAIN_EVENTS_MAX + 1)]
    with pytest.raises(tb.TooMuchDataError):
        await _lane(wire).call([*_events("a b"), *long], timeout_s=5)
    assert wire.requests == []
    fits = [Event(str(n), linked=n < CHAIN_EVENTS_MAX - 1) for n in range(CHAIN_EVENTS_MAX)]
    assert len(await _lane(wire).call([*fits, *fits], timeout_s=5)) == 2 * CHAIN_EVENTS_MAX


async def test_a_small_server_is_recognised_and_served() -> None:
    """The refusal proves that nothing happened: the same calls travel in smaller requests, for good."""
    wire = Wire()
    wire.takes = CHAIN_EVENTS_MAX
    lane = _lane(wire)
    events = [Event(str(n)) for n in range(600)]
    both = await asyncio.gather(*(lane.call(each, timeout_s=5) for each in (events, _events("x"))))
    assert both == [[str(n) for n in range(600)], ["x"]]
    assert [len(request) for request in wire.requests] == [601, 253, 253, 95]


async def test_a_request_that_is_too_much_at_any_size_fails_its_callers() -> None:
    """No endless shrinking."""
    wire = Wire()
    wire.takes = 0
    with pytest.raises(tb.TooMuchDataError):
        await _lane(wire).call(_events("a"), timeout_s=5)


async def test_a_caller_out_of_time_is_told_unknown_and_the_request_carries_on() -> None:
    """What was sent cannot be called back; the next caller finds the lane in order."""
    wire = Wire()
    lane = _lane(wire)
    wire.open.clear()
    with pytest.raises(OutcomeUnknown):
        await lane.call(_events("a"), timeout_s=0.01)
    wire.open.set()
    assert await lane.call(_events("b"), timeout_s=5) == ["b"]
    assert wire.requests == [["a"], ["b"]]


async def test_a_silent_server_does_not_collect_the_calls_of_those_who_left() -> None:
    """One request is in flight; everything behind it goes with its caller."""
    wire = Wire()
    lane = _lane(wire)
    wire.open.clear()
    for _ in range(50):
        with pytest.raises(OutcomeUnknown):
            await lane.call(_events("a"), timeout_s=0.001)
    assert len(lane._waiting) == 0
    wire.open.set()
    await lane.drain()
    assert wire.requests == [["a"]]


async def test_cancelling_callers_disturbs_nobody() -> None:
    """Cancelled before its request, during it, and next to others in it."""
    wire = Wire()
    lane = _lane(wire)
    wire.open.clear()
    calls = [asyncio.create_task(lane.call(_events(name), timeout_s=5)) for name in ("a", "b")]
    await until(lambda: wire.requests)
    calls += [asyncio.create_task(lane.call(_events(name), timeout_s=5)) for name in ("c", "d", "e")]
    await until(lambda: len(lane._waiting) == 3)
    for index in (0, 3):
        calls[index].cancel()
    await until(lambda: len(lane._waiting) == 2)
    wire.open.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [answer if isinstance(answer, list) else type(answer) for answer in answers] == [
        asyncio.CancelledError, ["b"], ["c"], asyncio.CancelledError, ["e"],
    ]  # fmt: skip
    assert wire.requests == [["a", "b"], ["c", "e"]]


async def test_a_cancelled_call_is_not_continued_by_its_second_half() -> None:
    """What was sent stands, the rest is dropped between chains, and the lane goes on."""
    wire = Wire()
    lane = _lane(wire, 2)
    wire.open.clear()
    large = asyncio.create_task(lane.call(_events("a b c d"), timeout_s=5))
    await until(lambda: wire.requests)
    large.cancel()
    await asyncio.wait({large})
    wire.open.set()
    assert await lane.call(_events("e"), timeout_s=5) == ["e"]
    assert wire.requests == [["a", "b"], ["e"]]


async def test_an_error_reaches_every_caller_of_the_request_and_no_other() -> None:
    """The lane outlives it."""
    wire = Wire()
    lane = _lane(wire)
    wire.error = OutcomeUnknown("gone")
    failed = await asyncio.gather(*(lane.call(_events(name), timeout_s=5) for name in "ab"), return_exceptions=True)
    assert [type(error) for error in failed] == [OutcomeUnknown, OutcomeUnknown]
    wire.error = None
    assert await lane.call(_events("c"), timeout_s=5) == ["c"]


async def test_a_reply_of_another_length_is_a_violation() -> None:
    """Results are matched by position: one too few would give every later caller another's result."""

    async def send(events: list[Event]) -> list[str]:
        return [event.name for event in events[1:]]

    lane: Lane[Event, str] = Lane(send=send, size=RequestSize(10))
    with pytest.raises(InvariantViolation, match="1 results for 2 events"):
        await lane.call(_events("a b"), timeout_s=5)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=6), min_size=1, max_size=8), st.integers(5, 12))
def test_every_caller_gets_its_own_results_and_no_chain_is_ever_split(calls: list[list[int]], events_max: int) -> None:
    """Whatever the sizes: results in order, requests within their limit, chains whole."""

    async def scenario() -> None:
        wire = Wire()
        lane = _lane(wire, events_max)
        plans = [
            [
                Event(f"{call}.{chain}.{leg}", linked=leg < length - 1)
                for chain, length in enumerate(lengths)
                for leg in range(length)
            ]
            for call, lengths in enumerate(calls)
        ]
        answers = await asyncio.gather(*(lane.call(plan, timeout_s=5) for plan in plans))
        assert answers == [[event.name for event in plan] for plan in plans]
        ends = {event.name for plan in plans for event in plan if not event.linked}
        for request in wire.requests:
            assert 0 < len(request) <= events_max
            assert request[-1] in ends
            assert request[0].endswith(".0")

    asyncio.run(scenario())
