"""The consumer loop at work on a real Valkey: batches, poison, versions, retries; every entry ends exactly once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from shared.contracts import MalformedMessage, NewerVersion, read_envelope
from shared.streams import dead_letters, keys
from shared.streams import group as calls
from shared.streams.worker import DeadLetter, Done, Entry, HandBack, Retry, Verdict
from tests.integration.streams.crew import QUICK, Recorder, finish_all, finished, hired, reasons, results
from tests.integration.streams.scene import (
    GROUP,
    STREAM,
    add,
    envelope_fields,
    fill,
)
from tests.waiting import until


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


async def test_newer_version_waits_for_a_newer_process(client: Redis, redis_url: str) -> None:
    """It is handed back for as long as it takes, never dead-lettered, and its neighbours are not held up."""
    await fill(client, 3)
    await add(client, envelope_fields("newer", v=b"99"))
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
    await add(client, envelope_fields("newer", v=b"99"))

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
