"""What a worker leaves to its owner: when to take entries on, and entries that the handler dealt with itself."""

import asyncio
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from shared.streams import group as calls
from shared.streams import keys
from shared.streams.verdicts import Member
from shared.streams.worker import Entry, Gone, Verdict, Worker, WorkerClients
from tests.integration.streams.crew import QUICK, Recorder, hired
from tests.integration.streams.scene import GROUP, STREAM, age, fill, member, pending
from tests.waiting import until


class Gate:
    """A gate that a test opens; counts who has come to it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.came = 0

    async def __call__(self, stop: asyncio.Event) -> None:
        self.came += 1
        ends = [asyncio.create_task(self.open.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()


@pytest.mark.parametrize("abandoned", [False, True])
async def test_behind_a_closed_gate_nothing_is_read_and_nothing_taken_over(
    client: Redis, redis_url: str, *, abandoned: bool
) -> None:
    """Until it opens; then everything is done."""
    await fill(client, 3)
    if abandoned:
        entries = await calls.read(client, member("gone"), count=3, block_ms=50)
        await age(client, member("gone"), [entry.id for entry in entries], 60_000)
    gate, handler, clients = Gate(), Recorder(), WorkerClients.open(redis_url)
    worker = Worker(
        clients=clients, stream=STREAM, group=GROUP, consumer="a", handler=handler, settings=QUICK, gate=gate
    )
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    await until(lambda: gate.came >= 2, "reader and reclaimer at the gate")
    assert handler.calls == []
    assert {owner for owner, _, _ in (await pending(client)).values()} <= {"gone"}
    gate.open.set()

    async def empty() -> bool:
        return not await client.xlen(STREAM)

    await until(empty, "everything done")
    stop.set()
    await task
    await clients.aclose()


async def test_a_stop_is_heard_at_a_closed_gate(client: Redis, redis_url: str) -> None:
    """And nothing was taken on."""
    await fill(client, 3)
    gate, handler, clients = Gate(), Recorder(), WorkerClients.open(redis_url)
    worker = Worker(
        clients=clients, stream=STREAM, group=GROUP, consumer="a", handler=handler, settings=QUICK, gate=gate
    )
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    await until(lambda: gate.came, "a worker at the gate")
    stop.set()
    async with asyncio.timeout(5):
        await task
    await clients.aclose()
    assert handler.calls == []
    assert await pending(client) == {}


async def test_what_the_handler_has_dealt_with_itself_is_let_go_of_and_lost_by_nobody(
    client: Redis, redis_url: str
) -> None:
    """It put the entry off together with something else, in one script."""
    await fill(client, 2)
    worker = Member(STREAM, GROUP, "a")

    async def put_off(entries: Sequence[Entry]) -> list[Verdict]:
        await calls.retry(client, worker, [(entry.id, 60_000) for entry in entries])
        return [Gone() for _ in entries]

    async with hired(redis_url, "a", put_off) as crew:

        async def put_away() -> bool:
            return bool(await client.zcard(keys.delay(STREAM)) == 2)

        await until(put_away, "both put off")
        await until(lambda: not len(crew.worker._seat.held), "nothing held")
        assert crew.counted("lost") == 0
        assert crew.counted("finished") == 0
