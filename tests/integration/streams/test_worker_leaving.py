"""How a worker holds on and lets go: slow and hung handlers, contradictions, shutdown."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.errors import InvariantViolation, violated
from shared.streams import dead_letters, keys
from shared.streams import group as calls
from shared.streams.metrics import StreamMetrics
from shared.streams.seat import Seat
from shared.streams.worker import Done, Entry, HoldExceeded, Verdict, WorkerClients
from tests.integration.streams.crew import QUICK, Recorder, finish_all, finished, hired, reasons, results
from tests.integration.streams.scene import (
    GROUP,
    STREAM,
    add,
    age,
    envelope_fields,
    fill,
    member,
    pending,
)
from tests.waiting import until


async def test_contradiction_in_the_books_is_quarantined_before_the_process_ends(client: Redis, redis_url: str) -> None:
    """The entry goes first, then `run` raises; its neighbours are finished, here or by the next process."""
    expected = await fill(client, 20)

    async def contradiction(_: Entry) -> Verdict:
        violated("transit is not zero")

    handler = Recorder({"e7": contradiction})
    async with hired(redis_url, "a", handler) as crew:
        with pytest.raises(InvariantViolation, match="transit"):
            await crew.task
        assert not crew.worker.healthy
    [record] = await dead_letters.read_page(client, STREAM)
    assert (record.id, record.reason, record.error_class) == ("e7", "invariant", "InvariantViolation")
    assert record.error == "invariant_violation: transit is not zero"
    async with hired(redis_url, "b", Recorder()):
        await finish_all(client)
    assert sorted(await results(client)) == sorted(set(expected) - {"e7"})


async def test_unstarted_entries_of_a_failed_process_are_claimable_at_once(client: Redis, redis_url: str) -> None:
    """Even a process that ends in anger hands back what it never started, uncounted."""
    await fill(client, 20)

    async def contradiction(_: Entry) -> Verdict:
        violated("no")

    async with hired(redis_url, "a", Recorder({"e0": contradiction})) as crew:
        with pytest.raises(InvariantViolation):
            await crew.task
    assert {owner for owner, _, _ in (await pending(client)).values()} == {keys.RELEASED_CONSUMER}
    page = await calls.reclaim(client, member("b"), idle_ms=3_600_000, count=100)
    assert [entry.deliveries for entry in page.entries] == [1] * 19


async def test_slow_handler_keeps_its_entries(client: Redis, redis_url: str) -> None:
    """Everything held is beaten, the waiting included: others wait in vain for three idle times."""
    await fill(client, 3)
    await add(client, envelope_fields("waiting", redrives=b"1"))
    settings = replace(QUICK, idle_ms=300)
    started = asyncio.Event()
    release = asyncio.Event()

    async def slow(entry: Entry) -> Verdict:
        started.set()
        await release.wait()
        return finished(entry)

    handler, other = Recorder({"e1": slow}), Recorder()
    async with hired(redis_url, "a", handler, settings=settings) as crew:
        await asyncio.wait_for(started.wait(), 10)
        async with hired(redis_url, "b", other, settings=settings):
            beats = asyncio.get_running_loop().time() + 3 * settings.idle_ms / 1000
            await until(lambda: asyncio.get_running_loop().time() > beats, "three idle times")
            assert {owner for owner, _, _ in (await pending(client)).values()} == {"a"}
            release.set()
            await finish_all(client)
        assert crew.counted("lost") == 0
    assert other.calls == []
    assert sorted(await results(client)) == ["e0", "e1", "e2", "waiting"]


async def test_hung_handler_ends_the_process_and_loses_its_entries(client: Redis, redis_url: str) -> None:
    """Past the maximum hold the beat stops and `run` raises, so that another process takes over."""
    await fill(client, 3)

    async def hang(_: Entry) -> Verdict:
        await asyncio.Event().wait()
        raise AssertionError

    settings = replace(QUICK, hold_max_ms=300)
    async with hired(redis_url, "a", Recorder({"e1": hang}), settings=settings) as crew:
        with pytest.raises(HoldExceeded):
            await asyncio.wait_for(crew.task, 10)
        assert not crew.worker.healthy
        assert {owner for owner, _, _ in (await pending(client)).values()} == {"a"}
        async with hired(redis_url, "b", Recorder()):
            await finish_all(client)
    assert sorted(await results(client)) == ["e0", "e1", "e2"]


async def test_handler_that_cannot_be_cancelled_does_not_keep_the_process(client: Redis, redis_url: str) -> None:
    """`run` raises even if the hung call swallows its cancellation."""
    await fill(client, 1)
    release = asyncio.Event()

    async def stubborn(entry: Entry) -> Verdict:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return finished(entry)

    settings = replace(QUICK, hold_max_ms=200)
    async with hired(redis_url, "a", Recorder({"e0": stubborn}), settings=settings) as crew:
        with pytest.raises(HoldExceeded):
            await asyncio.wait_for(crew.task, 10)
        release.set()
        await until(lambda: not crew.worker._tasks, "the stubborn call's end")


async def test_shutdown_hands_unstarted_entries_back_uncounted(client: Redis, redis_url: str) -> None:
    """The one that runs is finished; the others are anybody's at once, with the deliveries they had."""
    await fill(client, 6)
    entries = await calls.read(client, member("dead"), count=6, block_ms=100)
    await age(client, member("dead"), [entry.id for entry in entries], 60_000)
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(entry: Entry) -> Verdict:
        started.set()
        await release.wait()
        return finished(entry)

    handler = Recorder({"e0": slow})
    async with hired(redis_url, "a", handler) as crew:
        await asyncio.wait_for(started.wait(), 10)
        crew.stop.set()
        release.set()
        await crew.task
    assert handler.calls == [["e0"]]
    assert await results(client) == ["e0"]
    left = await pending(client)
    assert {owner for owner, _, _ in left.values()} == {keys.RELEASED_CONSUMER}
    assert "a" not in {row["name"].decode() for row in await client.xinfo_consumers(STREAM, GROUP)}
    page = await calls.reclaim(client, member("b"), idle_ms=3_600_000, count=100)
    assert [entry.deliveries for entry in page.entries] == [2] * 5


async def test_drain_ends_at_its_deadline_and_keeps_the_name(client: Redis, redis_url: str) -> None:
    """What still runs stays ours on record until it has been idle: nobody knows how far it came."""
    await fill(client, 2)
    started = asyncio.Event()

    async def hang(_: Entry) -> Verdict:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    settings = replace(QUICK, drain_timeout_ms=100)
    async with hired(redis_url, "a", Recorder({"e0": hang}), settings=settings) as crew:
        await asyncio.wait_for(started.wait(), 10)
        await asyncio.wait_for(crew.leave(), 10)
    assert {owner for owner, _, _ in (await pending(client)).values()} == {"a"}
    assert [row["name"] for row in await client.xinfo_consumers(STREAM, GROUP)] == [b"a"]
    async with hired(redis_url, "b", Recorder()):
        await finish_all(client)
    assert sorted(await results(client)) == ["e0", "e1"]


async def test_stop_before_the_first_entry_is_quick(client: Redis, redis_url: str) -> None:
    """An idle worker leaves within its read's wait."""
    assert await client.xlen(STREAM) == 0
    async with hired(redis_url, "a", Recorder()) as crew:
        await until(lambda: crew.worker.healthy)
        await asyncio.wait_for(crew.leave(), 2)


async def test_missing_verdict_is_a_contradiction(client: Redis, redis_url: str) -> None:
    """A handler that answers for other entries than it was given cannot be trusted with any."""
    await fill(client, 1)

    async def silent(_: Sequence[Entry]) -> list[Verdict]:
        return []

    async with hired(redis_url, "a", silent) as crew:
        with pytest.raises(InvariantViolation, match="0 verdicts on 1"):
            await crew.task
    assert await reasons(client) == {"e0": "invariant"}


async def test_entry_lost_while_waiting_is_not_started(client: Redis, redis_url: str) -> None:
    """What another consumer took over in the meantime is its business."""
    await fill(client, 3)
    entries = await calls.read(client, member("dead"), count=3, block_ms=100)
    await age(client, member("dead"), [entry.id for entry in entries], 60_000)
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(entry: Entry) -> Verdict:
        started.set()
        await release.wait()
        return finished(entry)

    handler = Recorder({"e0": slow})
    async with hired(redis_url, "a", handler) as crew:
        await asyncio.wait_for(started.wait(), 10)
        await calls.finish(client, member("thief"), [(entries[1].id, Done())])
        await until(lambda: crew.counted("lost", step="beat") == 1, "the loss")
        release.set()
        await until(lambda: handler.runs("e2") == 1, "the third entry")
        assert crew.counted("lost") == 1
    assert handler.runs("e1") == 0
    assert sorted(await results(client)) == ["e0", "e2"]


async def test_entries_that_arrive_while_stopping_are_handed_back(client: Redis, redis_url: str) -> None:
    """The last read may still bring something; it is anybody's at once, uncounted, and not started."""
    handler = Recorder()
    async with hired(redis_url, "a", handler, settings=replace(QUICK, block_ms=5_000)) as crew:

        async def blocked() -> Any:
            return (await client.info("clients"))["blocked_clients"] == 1

        await until(blocked, "a blocked reader")
        crew.stop.set()
        await fill(client, 1)
        await asyncio.wait_for(crew.task, 10)
    assert handler.calls == []
    assert {owner for owner, _, _ in (await pending(client)).values()} == {keys.RELEASED_CONSUMER}
    page = await calls.reclaim(client, member("b"), idle_ms=3_600_000, count=100)
    assert [entry.deliveries for entry in page.entries] == [1]


async def test_entries_that_are_only_late_are_not_started_twice(client: Redis, redis_url: str) -> None:
    """A process that was asleep finds its own entries abandoned; it takes them over without a second run."""
    await fill(client, 3)
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(entry: Entry) -> Verdict:
        started.set()
        await release.wait()
        return finished(entry)

    handler = Recorder({"e1": slow})
    async with hired(redis_url, "a", handler) as crew:
        await asyncio.wait_for(started.wait(), 10)

        async def taken_over() -> Any:
            held = await pending(client)
            await age(client, member("a"), list(held), 60_000)
            return all(deliveries > 1 for _, _, deliveries in held.values())

        await until(taken_over, "a reclaim of its own")
        release.set()
        await finish_all(client)
        assert crew.counted("reclaimed") == 0
    assert handler.calls == [["e0", "e1", "e2"]]
    assert await results(client) == ["e0", "e1", "e2"]


async def test_beat_that_meets_its_own_finish_loses_nothing(client: Redis, redis_url: str) -> None:
    """What is gone through our own finish is not counted as somebody else's."""
    await fill(client, 2)
    clients, metrics = WorkerClients.open(redis_url), StreamMetrics()
    seat = Seat(clients=clients, member=member("a"), metrics=metrics, jitter=lambda: 0.5)
    ours, theirs = await seat.read(count=2, block_ms=100)
    seat.held.settle([ours.id])
    await calls.finish(client, member("a"), [(ours.id, Done()), (theirs.id, Done())])
    await seat.beat([ours.id, theirs.id])
    assert seat.held.ids() == [ours.id]
    assert metrics.lost.labels(STREAM, "beat")._value.get() == 1
    await clients.aclose()


async def test_beat_counts_what_was_deleted_under_it(client: Redis, redis_url: str) -> None:
    """The server tells of such an entry once; whoever hears it says so."""
    await fill(client, 2)
    clients, metrics = WorkerClients.open(redis_url), StreamMetrics()
    seat = Seat(clients=clients, member=member("a"), metrics=metrics, jitter=lambda: 0.5)
    gone, kept = await seat.read(count=2, block_ms=100)
    await client.xdel(STREAM, gone.id)
    await seat.beat([gone.id, kept.id])
    assert seat.held.ids() == [kept.id]
    assert metrics.ghosts.labels(STREAM)._value.get() == 1
    assert metrics.dead_lettered.labels(STREAM, "ghost")._value.get() == 1
    await clients.aclose()
