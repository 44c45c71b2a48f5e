"""The consumer loop on a real Valkey: poison, outages, hangs, shutdown; every entry ends exactly once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.contracts import MalformedMessage, NewerVersion, read_envelope
from shared.errors import InvariantViolation, OutcomeUnknown, Transient, violated
from shared.streams import dead_letters, keys
from shared.streams import group as calls
from shared.streams.worker import DeadLetter, Done, Entry, HandBack, HoldExceeded, Retry, Verdict
from tests.integration.streams.crew import QUICK, Recorder, finished, hired
from tests.integration.streams.lossy import LossyProxy
from tests.integration.streams.scene import (
    GROUP,
    RESULTS,
    STREAM,
    add,
    age,
    envelope_fields,
    fill,
    member,
    pending,
    stream_entries,
)
from tests.waiting import until


async def results(client: Redis) -> list[str]:
    """Return the names of all finished entries, as often as they were finished."""
    return [fields[b"id"].decode() for _, fields in await stream_entries(client, RESULTS)]


async def all_gone(client: Redis) -> Any:
    """Say whether nothing is left to do."""
    return not await client.xlen(STREAM) and not await client.zcard(keys.delay(STREAM))


async def finish_all(client: Redis) -> None:
    """Wait until nothing is left to do."""

    async def empty() -> Any:
        return await all_gone(client)

    await until(empty, "an empty stream", timeout_s=20)


async def reasons(client: Redis) -> dict[str, str]:
    """Return the dead letters: name → reason."""
    return {record.id: record.reason for record in await dead_letters.read_page(client, STREAM)}


async def test_batch_is_handed_over_whole_and_finished(client: Redis, redis_url: str) -> None:
    """The plain case: one call, everything finished once, and the consumer leaves no name behind."""
    expected = await fill(client, 256)
    handler = Recorder()
    async with hired(redis_url, "a", handler) as crew:
        await finish_all(client)
        await crew.leave()
        assert crew.worker.healthy
    assert handler.calls == [expected]
    assert await results(client) == expected
    assert await client.xinfo_consumers(STREAM, GROUP) == []
    assert (crew.counted("read"), crew.counted("finished"), crew.counted("lost")) == (256, 256, 0)


async def test_entries_from_before_the_group_are_seen(client: Redis, redis_url: str) -> None:
    """The group is created from the very beginning."""
    await client.delete(STREAM)
    expected = await fill(client, 3)
    async with hired(redis_url, "a", Recorder()):
        await finish_all(client)
    assert await results(client) == expected


async def test_poison_by_exception_takes_nobody_along(client: Redis, redis_url: str) -> None:
    """255 neighbours finish once; the poison is tried alone three times, then kept with its error's class."""
    expected = await fill(client, 256)

    async def poison(entry: Entry) -> Verdict:
        raise KeyError(entry.fields[b"body"])

    handler = Recorder({"e100": poison})
    async with hired(redis_url, "a", handler) as crew:
        await finish_all(client)
        assert not crew.task.done()
    assert sorted(await results(client)) == sorted(set(expected) - {"e100"})
    [record] = await dead_letters.read_page(client, STREAM)
    assert (record.id, record.reason, record.error_class) == ("e100", "permanent", "KeyError")
    assert "{}" not in record.error  # the entry's body, which the exception quotes
    assert "builtins.KeyError in poison" in record.error
    assert handler.runs("e100") == 1 + 3
    assert all(len(call) == 1 for call in handler.calls[1:])


async def test_entry_that_fails_twice_and_then_succeeds_is_finished(client: Redis, redis_url: str) -> None:
    """Three runs mean three, and a success forgets the others."""
    await fill(client, 2)
    runs = 0

    async def moody(entry: Entry) -> Verdict:
        nonlocal runs
        runs += 1
        if runs <= 3:  # once together, twice alone
            raise ValueError("not now")
        return finished(entry)

    async with hired(redis_url, "a", Recorder({"e1": moody})):
        await finish_all(client)
    assert sorted(await results(client)) == ["e0", "e1"]
    assert await reasons(client) == {}
    assert await client.exists(keys.solo(STREAM)) == 0


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


async def test_newer_version_waits_for_a_newer_process(client: Redis, redis_url: str) -> None:
    """It is handed back for as long as it takes, never dead-lettered, and its neighbours are not held up."""
    await fill(client, 3)
    await add(client, envelope_fields("newer", v=b"2"))
    handed_back = asyncio.Event()

    async def old(entries: Sequence[Entry]) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for entry in entries:
            try:
                read_envelope(entry.fields)
            except NewerVersion:
                verdicts.append(HandBack())
            else:
                verdicts.append(finished(entry))
        if len([verdict for verdict in verdicts if isinstance(verdict, HandBack)]) == len(entries):
            handed_back.set()
        return verdicts

    async with hired(redis_url, "old", old) as crew:
        await asyncio.wait_for(handed_back.wait(), 10)
        await until(lambda: crew.counted("handed_back") >= 5, "five hand-backs")
        assert sorted(await results(client)) == ["e0", "e1", "e2"]
    async with hired(redis_url, "new", Recorder()):
        await finish_all(client)
    assert "newer" in await results(client)
    assert await reasons(client) == {}


async def test_newer_version_that_escapes_the_handler_is_handed_back_too(client: Redis, redis_url: str) -> None:
    """A forgetful handler must not turn a newer message into a dead letter."""
    await add(client, envelope_fields("newer", v=b"2"))

    async def forgetful(entry: Entry) -> Verdict:
        read_envelope(entry.fields)
        return finished(entry)

    async with hired(redis_url, "old", Recorder({"newer": forgetful})) as crew:
        await until(lambda: crew.counted("handed_back") >= 5, "five hand-backs")
    assert await reasons(client) == {}
    assert await client.exists(keys.solo(STREAM)) == 0


async def test_malformed_entry_is_kept_byte_for_byte(client: Redis, redis_url: str) -> None:
    """The handler says it is none of ours; nothing of it is changed."""
    fields = {b"v": b"1", b"id": b"broken", b"\x00": b"\xff"}
    await add(client, fields)

    async def strict(entry: Entry) -> Verdict:
        try:
            read_envelope(entry.fields)
        except MalformedMessage as error:
            return DeadLetter("decode", type(error).__name__, str(error))
        return finished(entry)

    async with hired(redis_url, "a", Recorder({"broken": strict})) as crew:
        await finish_all(client)
        assert crew.counted("dead_lettered", reason="decode") == 1
    [record] = await dead_letters.read_page(client, STREAM)
    assert record.fields == fields
    assert record.error_class == "MalformedMessage"


async def test_planned_retry_comes_back_until_it_is_done(client: Redis, redis_url: str) -> None:
    """The attempt number travels in the envelope; deliveries are not touched."""
    await fill(client, 2)
    attempts: list[tuple[bytes, int]] = []

    async def patient(entry: Entry) -> Verdict:
        attempts.append((entry.fields[b"attempt"], entry.deliveries))
        return finished(entry) if entry.fields[b"attempt"] == b"3" else Retry(20)

    async with hired(redis_url, "a", Recorder({"e1": patient})) as crew:
        await finish_all(client)
        assert crew.counted("retried") == crew.counted("promoted") == 3
    assert attempts == [(b"%d" % number, 1) for number in range(4)]
    assert sorted(await results(client)) == ["e0", "e1"]


async def test_redriven_entry_is_processed_alone(client: Redis, redis_url: str) -> None:
    """What came back from the dead letters must not take fresh entries along."""
    await fill(client, 2)
    await add(client, envelope_fields("back", redrives=b"1"))
    await add(client, envelope_fields("fresh"))
    handler = Recorder()
    async with hired(redis_url, "a", handler):
        await finish_all(client)
    assert handler.calls == [["e0", "e1", "fresh"], ["back"]]


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
        await until(lambda: len(asyncio.all_tasks()) <= 2, "the stubborn call's end")


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
    assert await results(client) == [f"e{number}" for number in range(5)]


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
    assert await results(client) == expected


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


async def self_named(client: Redis, start: int, count: int) -> list[str]:
    """Add entries with names of their own."""
    named = [f"n{start + number}" for number in range(count)]
    for name in named:
        await add(client, envelope_fields(name))
    return named


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


async def test_entries_alone_are_alone_in_the_whole_process(client: Redis, redis_url: str) -> None:
    """Workers of one process share the lock: a crash must have one suspect."""
    other = "intents.{i1}"
    await calls.ensure_group(client, other, GROUP)
    for stream in (STREAM, other):
        for number in range(10):
            words = [w for pair in envelope_fields(f"{number}", redrives=b"1").items() for w in pair]
            await client.execute_command("XADD", stream, "*", *words)
    running = 0
    most = 0

    async def watch(entries: Sequence[Entry]) -> list[Verdict]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await client.ping()
        running -= 1
        return [Done() for _ in entries]

    lock = asyncio.Lock()
    async with (
        hired(redis_url, "a", watch, alone=lock),
        hired(redis_url, "b", watch, alone=lock, stream=other),
    ):

        async def empty() -> Any:
            return not await client.xlen(STREAM) and not await client.xlen(other)

        await until(empty, "both streams empty")
    assert most == 1


async def test_batches_in_flight_are_bounded(client: Redis, redis_url: str) -> None:
    """With two batches running nothing more is read, so that others may have it."""
    await fill(client, 40)
    release = asyncio.Event()

    async def slow(entries: Sequence[Entry]) -> list[Verdict]:
        await release.wait()
        return [finished(entry) for entry in entries]

    settings = replace(QUICK, batch_max=10)
    async with hired(redis_url, "a", slow, settings=settings) as crew:
        await until(lambda: crew.counted("read") == 20, "two batches")
        other = Recorder()
        async with hired(redis_url, "b", other, settings=settings):
            await until(lambda: sum(len(call) for call in other.calls) == 20, "the rest")
        assert crew.counted("read") == 20
        release.set()
        await finish_all(client)


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
    async with hired(redis_url, "a", handler, settings=replace(QUICK, reclaim_ms=60_000, idle_ms=300)) as crew:
        await asyncio.wait_for(started.wait(), 10)
        await client.xclaim(STREAM, GROUP, "thief", 0, [entries[1].id])
        await until(lambda: crew.counted("lost", step="beat") == 1, "the loss")
        release.set()
        await until(lambda: handler.runs("e2") == 1, "the third entry")
    assert handler.runs("e1") == 0
    assert sorted(await results(client)) == ["e0", "e2"]
