"""The consumer loop under outages on a real Valkey: whatever is away or lost, every entry ends exactly once."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from shared.errors import OutcomeUnknown, Transient
from shared.streams import dead_letters, keys
from shared.streams import group as calls
from shared.streams.worker import Entry, Verdict
from tests.integration.streams.crew import QUICK, Recorder, finish_all, finished, hired, reasons, results, self_named
from tests.integration.streams.lossy import LossyProxy
from tests.integration.streams.scene import (
    STREAM,
    add,
    age,
    envelope_fields,
    fill,
    member,
    stream_entries,
)
from tests.waiting import until


@pytest.mark.parametrize(
    "error",
    [
        Transient("database away"),
        OutcomeUnknown("ledger silent"),
        RedisConnectionError("gone"),
        TimeoutError(),
        ConnectionResetError(),
    ],
)
async def test_outage_hands_the_batch_back_and_counts_nothing(client: Redis, redis_url: str, error: Exception) -> None:
    """However long a dependency is away, entries come back together, as fresh as they were."""
    expected = await fill(client, 50)
    outages = 0

    async def away(entry: Entry) -> Verdict:
        nonlocal outages
        outages += 1
        if outages <= 6:
            raise error
        assert entry.deliveries == 1
        return finished(entry)

    handler = Recorder({"e30": away})
    async with hired(redis_url, "a", handler) as crew:
        await finish_all(client)
        assert crew.counted("handed_back") == 6 * 50
    assert [len(call) for call in handler.calls] == [50] * 7
    assert await results(client) == expected
    assert await client.exists(keys.solo(STREAM)) == 0


async def test_outage_while_alone_takes_the_run_back(client: Redis, redis_url: str) -> None:
    """A redelivered entry outlives any number of outages, and its neighbours wait with it."""
    await fill(client, 5)
    entries = await calls.read(client, member("dead"), count=5, block_ms=100)
    await age(client, member("dead"), [entry.id for entry in entries], 60_000)
    outages = 0

    async def away(entry: Entry) -> Verdict:
        nonlocal outages
        outages += 1
        if outages <= 5:
            raise Transient("database away")
        return finished(entry)

    handler = Recorder({"e0": away})
    async with hired(redis_url, "a", handler):
        await finish_all(client)
    assert sorted(await results(client)) == [f"e{number}" for number in range(5)]
    assert await reasons(client) == {}
    assert all(len(call) == 1 for call in handler.calls)


async def test_emptied_store_is_noticed_and_survived(client: Redis, redis_url: str) -> None:
    """After FLUSHALL the group is made anew from the beginning, loudly, and work goes on."""
    await fill(client, 3)
    async with hired(redis_url, "a", Recorder()) as crew:
        await finish_all(client)
        await client.flushall()
        await client.script_flush()
        await until(lambda: crew.counted("group_recreated") >= 1, "the new group")
        await fill(client, 5)
        await finish_all(client)
        assert not crew.task.done()
    assert sorted(await results(client)) == [f"e{number}" for number in range(5)]


async def test_store_emptied_under_a_running_batch_ends_in_lost_fences(client: Redis, redis_url: str) -> None:
    """The batch's entries are gone; its finish is told so and publishes nothing."""
    await fill(client, 3)
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(entry: Entry) -> Verdict:
        started.set()
        await release.wait()
        return finished(entry)

    async with hired(redis_url, "a", Recorder({"e1": slow})) as crew:
        await asyncio.wait_for(started.wait(), 10)
        await client.flushall()
        await until(lambda: crew.counted("group_recreated") >= 1, "the new group")
        release.set()
        await until(lambda: crew.counted("lost") >= 3, "three lost entries")
    assert await results(client) == []


async def test_worker_starts_before_its_server(client: Redis, redis_url: str) -> None:
    """The loop never exits because the server is away, not even at the start."""
    async with LossyProxy(redis_url) as proxy:
        proxy.swallow_replies()
        async with hired(proxy.url, "a", Recorder()) as crew:
            await until(lambda: proxy.swallowed >= 3, "three attempts")
            assert not crew.task.done()
            proxy.pass_replies()
            expected = await fill(client, 3)
            await finish_all(client)
    assert sorted(await results(client)) == expected


async def test_server_that_refuses_writes_is_waited_for(client: Redis, redis_url: str) -> None:
    """Too few replicas, read-only after a failover: finish is repeated until it is taken."""
    expected = await fill(client, 10)
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(entry: Entry) -> Verdict:
        started.set()
        await release.wait()
        return finished(entry)

    async with hired(redis_url, "a", Recorder({"e3": slow})) as crew:
        await asyncio.wait_for(started.wait(), 10)
        await client.config_set("min-replicas-to-write", 1)
        try:
            release.set()
            await until(lambda: crew.counted("outages") >= 3, "three refusals")
            assert await results(client) == []
        finally:
            await client.config_set("min-replicas-to-write", 0)
        await finish_all(client)
    assert await results(client) == expected


async def test_lost_replies_lose_and_double_nothing(client: Redis, redis_url: str) -> None:
    """Whatever reply gets lost, every entry has exactly one result in the end."""
    count = 1_500
    async with LossyProxy(redis_url) as proxy, hired(proxy.url, "a", Recorder()) as crew:
        expected: list[str] = []
        for _ in range(6):
            expected += [f"{len(expected)}.{name}" for name in await self_named(client, len(expected), count // 6)]
            proxy.swallow_replies()
            lost = proxy.swallowed + 3
            await until(partial(proxy.has_swallowed, lost), "lost replies")
            proxy.pass_replies()
        await finish_all(client)
        assert not crew.task.done()
    done = await results(client)
    assert len(done) == count
    assert len(set(done)) == count
    assert await reasons(client) == {}


async def test_deleted_payloads_are_buried_and_counted(client: Redis, redis_url: str) -> None:
    """A trimmed work stream is data loss; the worker says so and goes on."""
    await fill(client, 4)
    entries = await calls.read(client, member("dead"), count=4, block_ms=100)
    await age(client, member("dead"), [entry.id for entry in entries], 60_000)
    await client.xdel(STREAM, entries[1].id, entries[2].id)
    async with hired(redis_url, "a", Recorder()) as crew:
        await finish_all(client)
        await until(lambda: crew.counted("ghosts") == 2, "two ghosts")
        assert crew.counted("dead_lettered", reason="ghost") == 2
    assert sorted(await results(client)) == ["e0", "e3"]
    assert len(await dead_letters.read_page(client, STREAM)) == 2


async def test_outage_ends_with_its_pause_however_rarely_others_look(client: Redis, redis_url: str) -> None:
    """What we handed back ourselves we look for ourselves, at once."""
    await fill(client, 3)
    outages = 0

    async def away(entry: Entry) -> Verdict:
        nonlocal outages
        outages += 1
        if outages <= 3:
            raise Transient("database away")
        return finished(entry)

    settings = replace(QUICK, idle_ms=3_600_000, reclaim_ms=3_600_000)
    async with hired(redis_url, "a", Recorder({"e1": away}), settings=settings):
        await finish_all(client, timeout_s=10)
    assert await results(client) == ["e0", "e1", "e2"]


async def test_nothing_is_tried_alone_during_an_outage(client: Redis, redis_url: str) -> None:
    """Entries to be processed alone wait for the end of the outage that stopped their fresh neighbours."""
    await fill(client, 2)
    await add(client, envelope_fields("back", redrives=b"1"))
    outages = 0

    async def away(entry: Entry) -> Verdict:
        nonlocal outages
        outages += 1
        if outages == 1:
            raise Transient("database away")
        return finished(entry)

    handler = Recorder({"e0": away})
    async with hired(redis_url, "a", handler):
        await finish_all(client)
    assert handler.calls == [["e0", "e1"], ["e0", "e1"], ["back"]]


async def test_payload_deleted_under_a_running_handler_is_buried(client: Redis, redis_url: str) -> None:
    """The beat notices, while the handler still works on its copy; the loss is on record and counted."""
    await fill(client, 2)
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(entry: Entry) -> Verdict:
        started.set()
        await release.wait()
        return finished(entry)

    async with hired(redis_url, "a", Recorder({"e0": slow})) as crew:
        await asyncio.wait_for(started.wait(), 10)
        [(gone, _), _] = await stream_entries(client)
        await client.xdel(STREAM, gone)
        await until(lambda: crew.counted("ghosts") == 1, "the ghost")
        release.set()
        await finish_all(client)
    [record] = await dead_letters.read_page(client, STREAM)
    assert (record.src_id, record.reason) == (gone, "ghost")
    assert await results(client) == ["e1"]


async def test_error_that_is_no_outage_ends_the_worker(client: Redis, redis_url: str) -> None:
    """A key of the wrong kind will not mend itself: better to stop than to try for ever."""
    await client.delete(STREAM)
    await client.set(STREAM, "not a stream")
    async with hired(redis_url, "a", Recorder()) as crew:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await asyncio.wait_for(crew.task, 10)
        assert not crew.worker.healthy
