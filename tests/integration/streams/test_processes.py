"""Real processes, really killed: whatever dies, and wherever, each entry ends exactly once."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from ops.embedded.server import Server
from shared.errors import OutcomeUnknown, Transient
from shared.streams import dead_letters, keys
from shared.streams import group as calls
from shared.streams.accept import AcceptEntry, AcceptStatus, accept
from shared.streams.client import connect
from shared.streams.verdicts import Entry, Verdict
from tests.integration.streams.consumer import EXIT_CODE
from tests.integration.streams.crew import QUICK, Recorder, finish_all, finished, hired, results
from tests.integration.streams.scene import (
    EPOCH,
    GROUP,
    MESH_ID,
    STREAM,
    add,
    admission,
    envelope_fields,
    fill,
    pending,
    request,
)
from tests.waiting import until

ROOT = Path(__file__).parents[3]


class Process:
    """One consumer process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; return its exit code."""
        return await asyncio.wait_for(self._process.wait(), 30)

    async def report(self) -> dict[str, Any]:
        """Wait for its end; return what it printed last."""
        output, _ = await asyncio.wait_for(self._process.communicate(), 30)
        report: dict[str, Any] = json.loads(output.splitlines()[-1])
        return report


@asynccontextmanager
async def process(url: str, consumer: str, mode: str) -> AsyncIterator[Process]:
    """Run a consumer process until the block ends."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.streams.consumer",
        url,
        consumer,
        mode,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield Process(child)
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def stalled(client: Redis) -> None:
    """Wait until a stalling process is inside its handler."""

    async def inside() -> Any:
        return await client.get("stalled")

    await until(inside, "a stalled handler", timeout_s=30)


async def test_killed_process_loses_nothing(client: Redis, redis_url: str) -> None:
    """A consumer killed in the middle of a batch: others take all of it over, and finish it once."""
    expected = await fill(client, 256)
    async with process(redis_url, "victim", "stall") as victim:
        await stalled(client)
        assert len(await pending(client)) == 256
        victim.send(signal.SIGKILL)
        assert await victim.ended() == -signal.SIGKILL
    handler = Recorder()
    async with hired(redis_url, "heir", handler):
        await finish_all(client)
    assert sorted(await results(client)) == sorted(expected)
    assert all(len(call) == 1 for call in handler.calls)
    assert await client.xlen(keys.dlq(STREAM)) == 0


async def test_process_that_wakes_up_too_late_doubles_nothing(client: Redis, redis_url: str) -> None:
    """Stopped until others have finished its batch, then woken: every one of its finishes loses the fence."""
    expected = await fill(client, 200)
    async with process(redis_url, "sleeper", "stall") as sleeper:
        await stalled(client)
        sleeper.send(signal.SIGSTOP)
        async with hired(redis_url, "heir", Recorder()) as heir:
            await finish_all(client)
            assert heir.counted("reclaimed") == 200
            await client.set("go", 1)
            sleeper.send(signal.SIGCONT)
            sleeper.send(signal.SIGTERM)
            report = await sleeper.report()
        assert sum(report["lost"].values()) >= 200
    assert sorted(await results(client)) == sorted(expected)


async def test_woken_process_takes_nothing_back_from_its_heir(client: Redis, redis_url: str) -> None:
    """While the heir still works, the woken one's beats and hand-backs must not touch what it has lost."""
    await fill(client, 20)
    heir_started, heir_may_go = asyncio.Event(), asyncio.Event()

    async def slow(entries: Sequence[Entry]) -> list[Verdict]:
        heir_started.set()
        await heir_may_go.wait()
        return [finished(entry) for entry in entries]

    async with process(redis_url, "sleeper", "stall") as sleeper:
        await stalled(client)
        sleeper.send(signal.SIGSTOP)
        async with hired(redis_url, "heir", slow) as heir:
            await asyncio.wait_for(heir_started.wait(), 20)
            sleeper.send(signal.SIGCONT)

            until_s = time.monotonic() + 3 * QUICK.idle_ms / 1000

            async def still_the_heirs() -> Any:
                assert {owner for owner, _, _ in (await pending(client)).values()} == {"heir"}
                return time.monotonic() > until_s

            await until(still_the_heirs, "three idle times")
            heir_may_go.set()
            await finish_all(client)
            assert heir.counted("lost") == 0
            await client.set("go", 1)
            sleeper.send(signal.SIGTERM)
            await sleeper.report()
    assert sorted(await results(client)) == sorted(f"e{number}" for number in range(20))


@pytest.mark.slow
async def test_poison_that_ends_its_process_is_the_only_one_buried(client: Redis, redis_url: str) -> None:
    """One crash in company, three alone; then it is a dead letter, and the other 255 are finished once each."""
    expected = await fill(client, 200)
    await add(client, envelope_fields("poison", body=b"exit"))
    expected += [f"late{number}" for number in range(55)]
    for name in expected[200:]:
        await add(client, envelope_fields(name))
    crashes = 0
    while await client.xlen(STREAM):
        async with process(redis_url, f"c{crashes}", "plain") as child:
            ended = asyncio.create_task(child.ended())
            done = asyncio.create_task(finish_all(client))
            await asyncio.wait({ended, done}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                assert ended.result() == EXIT_CODE
                crashes += 1
                done.cancel()
            else:
                child.send(signal.SIGTERM)
                assert await ended == 0
            await asyncio.wait({ended, done})
    assert crashes == 1 + 3
    [record] = await dead_letters.read_page(client, STREAM)
    assert (record.id, record.reason) == ("poison", "max_deliveries")
    assert record.fields[b"body"] == b"exit"
    assert sorted(await results(client)) == sorted(expected)
    assert await client.exists(keys.solo(STREAM)) == 0


@pytest.mark.slow
async def test_killed_server_loses_nothing_acknowledged(own_server: Server, own_url: str) -> None:
    """Valkey killed and started again under load: what was accepted is finished, and finished once."""
    client = connect(own_url)
    await client.hset(keys.mesh("i0"), mapping={"id": MESH_ID, "epoch": EPOCH})
    await calls.ensure_group(client, STREAM, GROUP)
    accepted: list[str] = []
    stop = asyncio.Event()

    async def offer(lane: int) -> None:
        while not stop.is_set():
            batch = [request(f"{lane}.{len(accepted)}.{number}") for number in range(20)]
            accepted.extend(await insist(client, batch))

    async with hired(own_url, "a", Recorder()) as first, hired(own_url, "b", Recorder()) as second:
        lanes = [asyncio.create_task(offer(lane)) for lane in range(3)]
        for deaths in range(1, 4):
            await until(partial(reached, accepted, deaths * 2_000), "load", timeout_s=60)
            own_server.kill()
            own_server.spawn()
            await until(own_server.ready, "the server", timeout_s=30)
        await until(partial(reached, accepted, 8_000), "load", timeout_s=60)
        stop.set()
        await asyncio.gather(*lanes)
        await finish_all(client)
        assert not first.task.done()
        assert not second.task.done()
    done = Counter(await results(client))
    assert set(accepted) <= set(done)
    assert set(done.values()) == {1}
    assert await dead_letters.read_page(client, STREAM) == []
    await client.aclose()


def reached(accepted: list[str], count: int) -> bool:
    """Say whether so many have been accepted."""
    return len(accepted) > count


async def insist(client: Redis, batch: list[AcceptEntry]) -> list[str]:
    """Offer a batch with the same keys until it is answered; return the ids that stand."""
    while True:
        try:
            results = await accept(client, partition=0, entries=batch, admission=admission(length_max=1_000_000))
        except (OutcomeUnknown, Transient):
            continue
        assert {result.status for result in results} <= {AcceptStatus.ACCEPTED, AcceptStatus.REPLAYED}
        return [result.id for result in results]
