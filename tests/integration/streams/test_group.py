"""What a consumer may do to its entries, on a real Valkey: one round trip each, fenced, repeatable."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from shared.errors import InvariantViolation
from shared.streams import dead_letters, keys
from shared.streams import group as calls
from shared.streams.client import connect
from shared.streams.dead_letters import Reason
from shared.streams.group import Release, SoloStatus
from shared.streams.verdicts import DeadLetter, Done, Entry
from tests.integration.streams.scene import (
    GROUP,
    RESULTS,
    STREAM,
    add,
    age,
    envelope_fields,
    fill,
    member,
    names,
    pending,
    script_calls,
    stream_entries,
)

A, B = member("a"), member("b")


@pytest_asyncio.fixture
async def reader(redis_url: str) -> AsyncIterator[Redis]:
    """A client that may block."""
    client = connect(redis_url, blocking=True)
    yield client
    await client.aclose()


async def make_due(client: Redis) -> None:
    """Let everything in the delay set be due."""
    for waiting in await client.zrange(keys.delay(STREAM), 0, -1):
        await client.execute_command("ZADD", keys.delay(STREAM), 1, waiting)


async def deliver(client: Redis, count: int = 1, *, to: str = "a") -> list[Entry]:
    """Add entries and deliver them to a consumer."""
    await fill(client, count)
    return await calls.read(client, member(to), count=count, block_ms=100)


async def test_group_starts_at_the_beginning_and_is_made_once(client: Redis) -> None:
    """Entries that were there before the group are seen, not skipped."""
    await client.delete(STREAM)
    await fill(client, 2)
    assert await calls.ensure_group(client, STREAM, GROUP) is True
    assert await calls.ensure_group(client, STREAM, GROUP) is False
    assert names(await calls.read(client, A, count=10, block_ms=100)) == ["e0", "e1"]


async def test_read_returns_nothing_after_its_wait(reader: Redis, client: Redis) -> None:
    """An idle stream is not an error."""
    assert await client.xlen(STREAM) == 0
    assert await calls.read(reader, A, count=1, block_ms=20) == []


async def test_finish_of_256_with_markers_and_hints_is_one_script(client: Redis) -> None:
    """Markers, hints and results of a whole batch travel in a single call."""
    entries = await deliver(client, 256)
    done = [(e.id, Done(delete=(f"acc.{{i0}}:{n}",), publish=(("c", b"m"),))) for n, e in enumerate(entries)]
    await client.mset({f"acc.{{i0}}:{number}": "x" for number in range(300)})
    await calls.finish(client, A, done[:1])
    await client.config_resetstat()
    assert await calls.finish(client, A, done[1:]) == []
    assert await script_calls(client) == 1
    assert await client.xlen(STREAM) == 0
    assert await pending(client) == {}
    assert len(await client.keys("acc.*")) == 300 - 256


async def test_finish_is_fenced_per_entry(client: Redis) -> None:
    """Whoever comes second deletes, publishes and appends nothing; only its observation is kept."""
    [entry] = await deliver(client)
    await client.set("acc.{i0}:1", "x")
    listener = client.pubsub()
    await listener.subscribe("intent.1")
    done = Done(
        delete=("acc.{i0}:1",),
        publish=(("intent.1", b"SETTLED"), ("gateway.g", b"1 SETTLED")),
        append=((RESULTS, {b"what": b"result"}),),
        append_if_lost=((RESULTS, {b"what": b"observation", b"more": b"1"}),),
    )
    assert await calls.finish(client, A, [(entry.id, done)]) == []
    await client.set("acc.{i0}:1", "again")
    assert await calls.finish(client, B, [(entry.id, done)]) == [entry.id]
    assert await client.get("acc.{i0}:1") == b"again"
    results = [fields for _, fields in await stream_entries(client, RESULTS)]
    assert results == [{b"what": b"result"}, {b"what": b"observation", b"more": b"1"}]
    heard = [await listener.get_message(timeout=1) for _ in range(3)]
    assert [message["data"] for message in heard if message] == [1, b"SETTLED"]
    await listener.aclose()


async def test_finish_mixes_won_and_lost_entries(client: Redis) -> None:
    """Arguments of a lost entry are stepped over, so that its neighbours get their own."""
    first, second, third = await deliver(client, 3)
    await calls.finish(client, B, [(second.id, Done())])
    await client.mset({f"acc.{{i0}}:{name}": "x" for name in "123456"})

    def done(*markers: str, what: bytes) -> Done:
        return Done(delete=markers, append=((RESULTS, {b"what": what}), (RESULTS, {b"again": what})))

    lost = await calls.finish(
        client,
        A,
        [
            (first.id, done("acc.{i0}:1", "acc.{i0}:2", what=b"one")),
            (second.id, done("acc.{i0}:3", "acc.{i0}:4", what=b"two")),
            (third.id, done("acc.{i0}:5", "acc.{i0}:6", what=b"three")),
        ],
    )
    assert lost == [second.id]
    assert sorted(await client.keys("acc.*")) == [b"acc.{i0}:3", b"acc.{i0}:4"]
    results = [value for _, fields in await stream_entries(client, RESULTS) for value in fields.values()]
    assert results == [b"one", b"one", b"three", b"three"]


async def test_same_entry_twice_in_one_finish_counts_once(client: Redis) -> None:
    """The fence holds inside a call too."""
    [entry] = await deliver(client)
    done = Done(append=((RESULTS, {b"x": b"y"}),))
    assert await calls.finish(client, A, [(entry.id, done), (entry.id, done)]) == [entry.id]
    assert await client.xlen(RESULTS) == 1


async def test_finish_refuses_keys_of_another_slot(client: Redis) -> None:
    """A single server would take them and a cluster would not."""
    [entry] = await deliver(client)
    with pytest.raises(InvariantViolation, match="slot"):
        await calls.finish(client, A, [(entry.id, Done(delete=("acc.{i1}:1",)))])
    with pytest.raises(InvariantViolation, match="slot"):
        await calls.finish(client, A, [(entry.id, Done(append=(("results.{x}", {}),)))])
    assert list(await pending(client)) == [entry.id]


async def test_no_call_takes_more_than_256(client: Redis) -> None:
    """A longer call would hold the server up."""
    ids = [b"1-%d" % number for number in range(257)]
    for call in (
        calls.finish(client, A, [(entry_id, Done()) for entry_id in ids]),
        calls.heartbeat(client, A, ids),
        calls.release(client, A, [(entry_id, Release.COUNTED) for entry_id in ids]),
        calls.retry(client, A, [(entry_id, 0) for entry_id in ids]),
        calls.dead_letter(client, A, [(entry_id, DeadLetter("r", "c", "e")) for entry_id in ids]),
    ):
        with pytest.raises(InvariantViolation, match="257"):
            await call


async def test_heartbeat_renews_the_hold_and_counts_nothing(client: Redis) -> None:
    """A beaten entry is young again, with the deliveries it had."""
    entries = await deliver(client, 256)
    ids = [entry.id for entry in entries]
    await age(client, A, ids, 60_000)
    beat = await calls.heartbeat(client, A, ids)
    assert (beat.lost, beat.ghosts) == ((), ())
    assert all(idle < 10_000 and count == 1 for _, idle, count in (await pending(client)).values())


async def test_heartbeat_never_steals_back(client: Redis) -> None:
    """An entry that another consumer has taken over stays there, and so does a finished one."""
    taken, finished, kept = await deliver(client, 3)
    await age(client, A, [taken.id], 60_000)
    await calls.reclaim(client, B, idle_ms=30_000, count=10)
    await calls.finish(client, A, [(finished.id, Done())])
    beat = await calls.heartbeat(client, A, [taken.id, finished.id, kept.id])
    assert beat.lost == (taken.id, finished.id)
    assert {entry_id: owner for entry_id, (owner, _, _) in (await pending(client)).items()} == {
        taken.id: "b",
        kept.id: "a",
    }


async def test_heartbeat_buries_what_was_deleted_under_it(client: Redis) -> None:
    """The server forgets such an entry in the same call; the dead letter is written there or never."""
    gone, kept = await deliver(client, 2)
    await client.xdel(STREAM, gone.id)
    beat = await calls.heartbeat(client, A, [gone.id, kept.id])
    assert (beat.lost, beat.ghosts) == ((), (gone.id,))
    [record] = await dead_letters.read_page(client, STREAM)
    assert (record.src_id, record.reason, record.deliveries, record.fields) == (gone.id, Reason.GHOST, 1, {})
    assert list(await pending(client)) == [kept.id]


async def test_reclaim_takes_only_what_nobody_beats_and_tells_deliveries(client: Redis) -> None:
    """Beaten entries stay where they are; taken ones say how often they were delivered."""
    first, second, third = await deliver(client, 3)
    await age(client, A, [first.id, third.id], 60_000)
    page = await calls.reclaim(client, B, idle_ms=30_000, count=10)
    assert names(page.entries) == ["e0", "e2"]
    assert [entry.deliveries for entry in page.entries] == [2, 2]
    assert page.entries[0].fields == first.fields
    assert page.cursor == b"0-0"
    await age(client, B, [third.id], 60_000)
    [again] = (await calls.reclaim(client, A, idle_ms=30_000, count=10)).entries
    assert (again.id, again.deliveries) == (third.id, 3)
    assert (await pending(client))[second.id][0] == "a"


async def test_reclaim_pages_through_everything(client: Redis) -> None:
    """The cursor leads through the whole of the group's entries."""
    entries = await deliver(client, 25)
    await age(client, A, [entry.id for entry in entries], 60_000)
    found: list[Entry] = []
    cursor = b"0-0"
    while not found or cursor != b"0-0":
        page = await calls.reclaim(client, B, idle_ms=30_000, count=10, cursor=cursor)
        found += page.entries
        cursor = page.cursor
    assert names(found) == [f"e{number}" for number in range(25)]


async def test_ghosts_become_dead_letters_in_the_reclaim_itself(client: Redis) -> None:
    """XAUTOCLAIM shows a deleted id once; a lost reply must not lose the evidence."""
    first, second, third = await deliver(client, 3)
    await age(client, A, [first.id, second.id, third.id], 60_000)
    await client.xdel(STREAM, first.id, third.id)
    page = await calls.reclaim(client, B, idle_ms=30_000, count=10)
    assert page.ghosts == (first.id, third.id)
    assert names(page.entries) == ["e1"]
    records = await dead_letters.read_page(client, STREAM)
    assert [(record.src_id, record.reason) for record in records] == [(first.id, "ghost"), (third.id, "ghost")]
    assert records[0].first_ms == int(first.id.split(b"-")[0])
    assert await dead_letters.counts(client, STREAM) == {"ghost": 2}
    assert list(await pending(client)) == [second.id]


async def test_concurrent_reclaims_give_each_entry_to_one(client: Redis) -> None:
    """However many look at once, an abandoned entry has one new owner."""
    entries = await deliver(client, 100)
    await age(client, A, [entry.id for entry in entries], 60_000)
    pages = await asyncio.gather(
        *(calls.reclaim(client, member(f"w{number}"), idle_ms=30_000, count=100) for number in range(8))
    )
    taken = [entry.id for page in pages for entry in page.entries]
    assert sorted(taken) == sorted(entry.id for entry in entries)


async def test_solo_runs_are_counted_before_they_start_and_buried_after_three(client: Redis) -> None:
    """Three runs that never answered make a dead letter; a repeated call counts once."""
    [entry] = await deliver(client)
    for run in (1, 2, 3):
        for _ in range(2):  # the second time as after a lost reply
            solo = await calls.begin_solo(client, A, entry.id, runs_max=3, token=f"t{run}")
            assert (solo.status, solo.runs) == (SoloStatus.GO, run)
    solo = await calls.begin_solo(client, A, entry.id, runs_max=3, token="t4")
    assert solo.status is SoloStatus.BURIED
    [record] = await dead_letters.read_page(client, STREAM)
    assert record.reason == Reason.MAX_DELIVERIES
    assert record.fields == entry.fields
    assert await client.exists(keys.solo(STREAM)) == 0
    assert await client.xlen(STREAM) == 0
    assert await pending(client) == {}
    again = await calls.begin_solo(client, A, entry.id, runs_max=3, token="t4")
    assert again.status is SoloStatus.LOST


async def test_solo_run_needs_the_entry(client: Redis) -> None:
    """A consumer that was asleep counts nothing against an entry that others have."""
    [entry] = await deliver(client)
    solo = await calls.begin_solo(client, B, entry.id, runs_max=3, token="t")
    assert solo.status is SoloStatus.LOST
    assert await client.exists(keys.solo(STREAM)) == 0


@pytest.mark.parametrize("settle", ["finish", "retry", "dead_letter"])
async def test_settling_forgets_the_runs(client: Redis, settle: str) -> None:
    """A count outlives its entry by nothing."""
    [entry] = await deliver(client)
    await calls.begin_solo(client, A, entry.id, runs_max=3, token="t")
    match settle:
        case "finish":
            await calls.finish(client, A, [(entry.id, Done())])
        case "retry":
            await calls.retry(client, A, [(entry.id, 0)])
        case _:
            await calls.dead_letter(client, A, [(entry.id, DeadLetter("r", "c", "e"))])
    assert await client.exists(keys.solo(STREAM)) == 0


async def test_released_entry_is_claimable_at_once_with_its_delivery_taken_back(client: Redis) -> None:
    """Handing back counts nothing, however often it happens."""
    [entry] = await deliver(client)
    for taker in ("b", "c", "b"):
        holder = member(await owner(client, entry))
        assert await calls.release(client, holder, [(entry.id, Release.UNCOUNTED)]) == calls.Beat((), ())
        [taken] = (await calls.reclaim(client, member(taker), idle_ms=30_000, count=10)).entries
        assert (taken.id, taken.deliveries) == (entry.id, 1)


async def owner(client: Redis, entry: Entry) -> str:
    """Return who has the entry."""
    return (await pending(client))[entry.id][0]


async def test_counted_release_keeps_the_delivery(client: Redis) -> None:
    """An entry that failed by itself comes back as one that was delivered before."""
    [entry] = await deliver(client)
    await calls.begin_solo(client, A, entry.id, runs_max=3, token="t1")
    await calls.release(client, A, [(entry.id, Release.COUNTED)])
    [taken] = (await calls.reclaim(client, B, idle_ms=30_000, count=10)).entries
    assert taken.deliveries == 2
    assert (await calls.begin_solo(client, B, entry.id, runs_max=3, token="t2")).runs == 2


async def test_outage_in_a_solo_run_takes_the_run_back(client: Redis) -> None:
    """Earlier runs stay counted, this one does not."""
    [entry] = await deliver(client)
    for token in ("one", "two", "three", "four"):
        solo = await calls.begin_solo(client, A, entry.id, runs_max=3, token=token)
        assert solo.runs == 1
        await calls.release(client, A, [(entry.id, Release.SOLO_UNCOUNTED)])
        await calls.reclaim(client, A, idle_ms=30_000, count=10)
    await calls.begin_solo(client, A, entry.id, runs_max=3, token="crash")
    assert (await calls.begin_solo(client, A, entry.id, runs_max=3, token="after")).runs == 2
    await calls.release(client, A, [(entry.id, Release.SOLO_UNCOUNTED)])
    await calls.reclaim(client, A, idle_ms=30_000, count=10)
    assert (await calls.begin_solo(client, A, entry.id, runs_max=3, token="later")).runs == 2


async def test_release_of_foreign_entries_takes_nothing_away(client: Redis) -> None:
    """A consumer that wakes up late must not pull entries out of another's hands."""
    taken, kept = await deliver(client, 2)
    await age(client, A, [taken.id], 60_000)
    await calls.reclaim(client, B, idle_ms=30_000, count=10)
    found = await calls.release(client, A, [(taken.id, Release.UNCOUNTED), (kept.id, Release.UNCOUNTED)])
    assert found == calls.Beat((taken.id,), ())
    assert await owner(client, taken) == "b"


async def test_release_of_a_deleted_payload_is_a_ghost(client: Redis) -> None:
    """Handing back an entry that somebody trimmed writes the dead letter that says so, and loses no other."""
    gone, kept = await deliver(client, 2)
    await client.xdel(STREAM, gone.id)
    found = await calls.release(client, A, [(gone.id, Release.UNCOUNTED), (kept.id, Release.UNCOUNTED)])
    assert found == calls.Beat((), (gone.id,))
    assert await dead_letters.counts(client, STREAM) == {"ghost": 1}
    assert list(await pending(client)) == [kept.id]


async def test_retry_comes_back_when_due_with_its_attempt_raised(client: Redis) -> None:
    """A planned retry is a new entry that remembers when it was first added; it is nobody's until then."""
    [entry] = await deliver(client)
    assert await calls.retry(client, A, [(entry.id, 30_000)]) == []
    assert await client.xlen(STREAM) == 0
    assert await pending(client) == {}
    early = await calls.promote(client, STREAM)
    assert early.moved == 0
    assert early.next_ms is not None
    assert 20_000 < early.next_ms <= 30_000
    await make_due(client)
    due = await calls.promote(client, STREAM)
    assert (due.moved, due.next_ms) == (1, None)
    assert await client.exists(keys.delay(STREAM)) == 0
    [again] = await calls.read(client, A, count=1, block_ms=100)
    first_ms = entry.id.split(b"-")[0]
    assert again.fields == entry.fields | {b"attempt": b"1", b"first_ms": first_ms}
    await calls.retry(client, A, [(again.id, 0)])
    await calls.promote(client, STREAM)
    [third] = await calls.read(client, A, count=1, block_ms=100)
    assert third.fields == entry.fields | {b"attempt": b"2", b"first_ms": first_ms}


async def test_equal_entries_are_retried_apart(client: Redis) -> None:
    """Two entries that differ in nothing but their entry id are two, in the delay set as well."""
    words = [word for pair in envelope_fields("same").items() for word in pair]
    for entry_id in ("5-1", "5-2"):
        await client.execute_command("XADD", STREAM, entry_id, *words)
    entries = await calls.read(client, A, count=2, block_ms=100)
    assert await calls.retry(client, A, [(entry.id, 0) for entry in entries]) == []
    assert (await calls.promote(client, STREAM)).moved == 2
    assert await client.xlen(STREAM) == 2


async def test_retry_of_a_foreign_entry_moves_nothing(client: Redis) -> None:
    """The owner's work goes on; the late verdict is dropped."""
    [entry] = await deliver(client)
    assert await calls.retry(client, B, [(entry.id, 0)]) == [entry.id]
    assert await owner(client, entry) == "a"
    assert await client.exists(keys.delay(STREAM)) == 0


async def test_retries_and_promotions_by_many_lose_and_double_nothing(client: Redis) -> None:
    """Every entry makes its rounds once, whoever moves it."""
    count, rounds = 200, 3
    await fill(client, count)

    async def work(consumer: str) -> None:
        seat = member(consumer)
        while entries := await calls.read(client, seat, count=20, block_ms=1):
            again = [(entry.id, 0) for entry in entries if int(entry.fields[b"attempt"]) < rounds]
            done = [(entry.id, Done(append=((RESULTS, entry.fields),))) for entry in entries]
            if again:
                assert await calls.retry(client, seat, again) == []
            if last := [pair for pair in done if pair[0] not in {entry_id for entry_id, _ in again}]:
                assert await calls.finish(client, seat, last) == []
            await asyncio.gather(*(calls.promote(client, STREAM, count=7) for _ in range(4)))

    while await client.xlen(STREAM) or await client.zcard(keys.delay(STREAM)):
        await asyncio.gather(*(work(f"w{number}") for number in range(6)))
        await calls.promote(client, STREAM)
    results = [fields for _, fields in await stream_entries(client, RESULTS)]
    assert sorted(fields[b"id"] for fields in results) == sorted(b"e%d" % number for number in range(count))
    assert {fields[b"attempt"] for fields in results} == {b"%d" % rounds}


async def test_retry_of_a_deleted_payload_is_a_ghost(client: Redis) -> None:
    """There is nothing to add again, and that must be known."""
    [entry] = await deliver(client)
    await client.xdel(STREAM, entry.id)
    assert await calls.retry(client, A, [(entry.id, 0)]) == []
    assert await dead_letters.counts(client, STREAM) == {"ghost": 1}
    assert await client.exists(keys.delay(STREAM)) == 0


async def test_entry_with_too_many_fields_is_kept_whole(client: Redis) -> None:
    """What cannot be added again is kept in one piece rather than stopping the stream for ever."""
    fields = envelope_fields("huge") | {b"f%d" % number: b"x" for number in range(3_000)}
    await add(client, fields)
    [entry] = await calls.read(client, A, count=1, block_ms=100)
    assert await calls.retry(client, A, [(entry.id, 0)]) == []
    [record] = await dead_letters.read_page(client, STREAM)
    assert (record.reason, record.id) == (Reason.OVERSIZE, "huge")
    assert len((await stream_entries(client, keys.dlq(STREAM)))[0][1][b"packed"]) > 9_000


async def test_retired_consumer_is_gone_only_if_it_holds_nothing(client: Redis) -> None:
    """Deleting a consumer destroys what it holds, so it must hold nothing."""
    [entry] = await deliver(client)
    assert await calls.retire_consumer(client, A) is False
    assert list(await pending(client)) == [entry.id]
    await calls.finish(client, A, [(entry.id, Done())])
    assert await calls.retire_consumer(client, A) is True
    assert [row["name"] for row in await client.xinfo_consumers(STREAM, GROUP)] == []
