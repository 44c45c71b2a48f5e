"""Dead letters on a real Valkey: nothing is lost on the way there or back."""

import asyncio

import pytest
from redis.asyncio import Redis

from shared.errors import Permanent
from shared.streams import dead_letters, keys
from shared.streams import group as calls
from shared.streams.dead_letters import HourCount, Moved, Reason
from shared.streams.verdicts import DeadLetter, Done, Entry, Fields
from tests.integration.streams.scene import (
    STREAM,
    add,
    envelope_fields,
    fill,
    member,
    new_id,
    pending,
    stream_entries,
)

A, B = member("a"), member("b")
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def deliver(client: Redis, fields: Fields) -> Entry:
    """Add one entry and deliver it to consumer a."""
    await add(client, fields)
    [entry] = await calls.read(client, A, count=1, block_ms=100)
    return entry


async def test_record_says_where_why_and_how_often(client: Redis) -> None:
    """A person reading it needs no other source."""
    entry = await deliver(client, envelope_fields("i-1", traceparent=TRACE, attempt=b"2"))
    letter = DeadLetter("permanent", "ValueError", "x" * 600)
    assert await calls.dead_letter(client, A, [(entry.id, letter)]) == []
    [record] = await dead_letters.read_page(client, STREAM)
    first_ms = int(entry.id.split(b"-")[0])
    assert (record.id, record.kind, record.src, record.src_id) == ("i-1", "intent", STREAM, entry.id)
    assert (record.group, record.last_consumer, record.attempts, record.deliveries) == ("orchestrator", "a", 2, 1)
    assert (record.reason, record.error_class, record.error) == ("permanent", "ValueError", "x" * 512)
    assert record.first_ms == first_ms
    assert first_ms <= record.dead_ms < first_ms + 60_000
    assert record.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert record.app_version == calls.app_version()
    assert record.replay_count == 0
    assert record.fields == entry.fields


async def test_entry_that_is_not_ours_is_kept_byte_for_byte(client: Redis) -> None:
    """Whatever somebody put on the stream comes out of the dead letters as it went in."""
    fields = {b"\xff\x00": b"\x00\n", b"attempt": b"many", b"redrives": b"-1", b"o:reason": b"mine", b"": b""}
    entry = await deliver(client, fields)
    await calls.dead_letter(client, A, [(entry.id, DeadLetter(Reason.DECODE, "MalformedMessage", "v"))])
    [record] = await dead_letters.read_page(client, STREAM)
    assert record.fields == fields
    assert (record.reason, record.attempts, record.replay_count, record.id) == ("decode", 0, 0, "")
    assert await dead_letters.redrive(client, STREAM, record.entry_id) is True
    [(_, again)] = await stream_entries(client)
    assert again == fields | {b"redrives": b"1", b"first_ms": entry.id.split(b"-")[0]}


async def test_dead_letter_needs_the_entry(client: Redis) -> None:
    """Only the owner may give an entry up, and only once."""
    entry = await deliver(client, envelope_fields("i-1"))
    letter = DeadLetter("permanent", "E", "")
    assert await calls.dead_letter(client, B, [(entry.id, letter)]) == [entry.id]
    assert list(await pending(client)) == [entry.id]
    assert await calls.dead_letter(client, A, [(entry.id, letter)]) == []
    assert await calls.dead_letter(client, A, [(entry.id, letter)]) == [entry.id]
    assert await client.xlen(keys.dlq(STREAM)) == 1
    assert await client.xlen(STREAM) == 0


async def test_pages_follow_each_other(client: Redis) -> None:
    """A reader that remembers the last record sees each once."""
    await fill(client, 10)
    entries = await calls.read(client, A, count=10, block_ms=100)
    await calls.dead_letter(client, A, [(entry.id, DeadLetter("r", "E", "")) for entry in entries])
    seen: list[str] = []
    after = b"0-0"
    while page := await dead_letters.read_page(client, STREAM, after=after, count=4):
        seen += [record.id for record in page]
        after = page[-1].entry_id
    assert seen == [f"e{number}" for number in range(10)]


async def test_redriven_entry_carries_its_history(client: Redis) -> None:
    """It says how often it came back and when it was first added; its own fields are as they were."""
    entry = await deliver(client, envelope_fields("i-1"))
    first_ms = entry.id.split(b"-")[0]
    original = entry.fields
    for replays in (1, 2, 3):
        await calls.dead_letter(client, A, [(entry.id, DeadLetter("r", "E", ""))])
        [record] = await dead_letters.read_page(client, STREAM)
        assert record.replay_count == replays - 1
        assert record.first_ms == int(first_ms)
        assert await dead_letters.redrive(client, STREAM, record.entry_id) is True
        [entry] = await calls.read(client, A, count=1, block_ms=100)
        assert entry.fields == original | {b"redrives": b"%d" % replays, b"first_ms": first_ms}


async def test_redrive_by_many_at_once_moves_each_once(client: Redis) -> None:
    """Sweeper and operator may meet; nothing is doubled, and the counts come down to nothing."""
    await fill(client, 50)
    entries = await calls.read(client, A, count=50, block_ms=100)
    letters = [(entry.id, DeadLetter(f"r{place % 2}", "E", "")) for place, entry in enumerate(entries)]
    await calls.dead_letter(client, A, letters)
    assert await dead_letters.counts(client, STREAM) == {"r0": 25, "r1": 25}
    page = await dead_letters.read_page(client, STREAM)
    moved = await asyncio.gather(
        *(dead_letters.redrive(client, STREAM, record.entry_id) for record in page for _ in range(3))
    )
    assert sum(moved) == 50
    back = sorted(fields[b"id"] for _, fields in await stream_entries(client))
    assert back == sorted(b"e%d" % number for number in range(50))
    assert await dead_letters.counts(client, STREAM) == {}
    assert await client.xlen(keys.dlq(STREAM)) == 0


async def test_counts_agree_with_the_records(client: Redis) -> None:
    """Counts are kept by the same scripts that move records, so they cannot drift."""
    await fill(client, 6)
    entries = await calls.read(client, A, count=6, block_ms=100)
    await calls.dead_letter(client, A, [(entry.id, DeadLetter("permanent", "E", "")) for entry in entries[:3]])
    await client.xdel(STREAM, entries[3].id)
    await calls.heartbeat(client, A, [entries[3].id])
    for token in ("one", "two"):
        await calls.begin_solo(client, A, entries[4].id, runs_max=1, token=token)
    await calls.finish(client, A, [(entries[5].id, Done())])
    records = await dead_letters.read_page(client, STREAM)
    counted: dict[str, int] = {}
    for record in records:
        counted[record.reason] = counted.get(record.reason, 0) + 1
    assert await dead_letters.counts(client, STREAM) == counted == {"permanent": 3, "ghost": 1, "max_deliveries": 1}


async def test_ghost_cannot_be_redriven_and_stays_on_record(client: Redis) -> None:
    """There is no payload to put back; the record is the evidence."""
    entry = await deliver(client, envelope_fields("i-1"))
    await client.xdel(STREAM, entry.id)
    await calls.heartbeat(client, A, [entry.id])
    [record] = await dead_letters.read_page(client, STREAM)
    with pytest.raises(Permanent):
        await dead_letters.redrive(client, STREAM, record.entry_id)
    assert await client.xlen(keys.dlq(STREAM)) == 1
    assert await dead_letters.redrive(client, STREAM, b"1-1") is False


async def hours(client: Redis) -> list[HourCount]:
    """What the books say of each hour."""
    return [count async for count in dead_letters.hour_counts(client, STREAM)]


async def test_books_know_reason_and_hour_and_whose_it_is(client: Redis) -> None:
    """Two intents, one of them twice, and something that names none; every way out strikes its own line."""
    mine, other = str(new_id()), str(new_id())
    for name in (mine, other, mine, "not an id"):
        entry = await deliver(client, envelope_fields(name))
        await calls.dead_letter(client, A, [(entry.id, DeadLetter("permanent", "E", ""))])
    records = await dead_letters.read_page(client, STREAM)
    assert sum(count.records for count in await hours(client)) == 4
    assert {(count.reason, count.hour) for count in await hours(client)} == {
        ("permanent", record.dead_ms // 3_600_000) for record in records
    }
    assert [record.entry_id for record in await dead_letters.find_records(client, STREAM, mine)] == [
        records[0].entry_id,
        records[2].entry_id,
    ]
    assert await client.zcard(keys.dlq_index(STREAM)) == 3
    assert await dead_letters.redrive(client, STREAM, records[0].entry_id)
    assert [record.entry_id for record in await dead_letters.find_records(client, STREAM, mine)] == [
        records[2].entry_id
    ]
    for record in records:
        await dead_letters.discard(client, STREAM, record.entry_id)
    assert await hours(client) == []
    assert await client.exists(keys.dlq_counts(STREAM), keys.dlq_hours(STREAM), keys.dlq_index(STREAM)) == 0


async def test_a_batch_says_of_each_record_what_became_of_it(client: Redis) -> None:
    """One step for many: moved, gone, and nothing to put back."""
    await fill(client, 3)
    entries = await calls.read(client, A, count=3, block_ms=100)
    await client.xdel(STREAM, entries[1].id)
    await calls.heartbeat(client, A, [entries[1].id])
    await calls.dead_letter(client, A, [(entry.id, DeadLetter("r", "E", "")) for entry in (entries[0], entries[2])])
    ghost, first, second = (record.entry_id for record in await dead_letters.read_page(client, STREAM))
    assert await dead_letters.redrive_all(client, STREAM, [first, ghost, b"1-1", first, second]) == [
        Moved.MOVED,
        Moved.NO_PAYLOAD,
        Moved.GONE,
        Moved.GONE,
        Moved.MOVED,
    ]
    assert await dead_letters.newest(client, STREAM) == ghost


async def test_discarding_takes_the_markers_along_only_if_it_was_first(client: Redis) -> None:
    """Whoever loses against a replay leaves the marker of what is under way again."""
    entry = await deliver(client, envelope_fields("i-1"))
    await calls.dead_letter(client, A, [(entry.id, DeadLetter("r", "E", ""))])
    marker = keys.acc(0, "i-1")
    await client.set(marker, "1 shop")
    record = (await dead_letters.read_page(client, STREAM))[0]
    found = await dead_letters.read_record(client, STREAM, record.entry_id)
    assert found is not None
    assert found[0] == record
    assert found[1][b"o:id"] == b"i-1"
    assert not await dead_letters.discard(client, STREAM, b"1-1", markers=[marker])
    assert await client.exists(marker)
    assert await dead_letters.discard(client, STREAM, record.entry_id, markers=[marker])
    assert not await client.exists(marker)
    assert await dead_letters.read_record(client, STREAM, record.entry_id) is None
