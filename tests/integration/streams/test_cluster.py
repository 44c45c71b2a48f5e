"""The keys of every script share a slot, as a server in cluster mode enforces; a single server would not notice."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from redis.asyncio import Redis

from ops.embedded.valkey import valkey, valkey_url
from shared.streams import dead_letters, keys
from shared.streams import group as calls
from shared.streams.accept import AcceptStatus, accept
from shared.streams.client import connect
from shared.streams.group import Release
from shared.streams.rate import RateLimit, take
from shared.streams.verdicts import DeadLetter, Done
from tests.integration.streams.scene import (
    EPOCH,
    GROUP,
    MESH_ID,
    RESULTS,
    STREAM,
    admission,
    age,
    fill,
    member,
    request,
    stream_entries,
)
from tests.ports import Lease
from tests.waiting import until

A, B = member("a"), member("b")


@pytest_asyncio.fixture
async def node(tmp_path: Path, lease: Lease) -> AsyncIterator[Redis]:
    """The one node of a cluster, owning every slot."""
    port = lease()
    server = valkey(tmp_path / "valkey", port)
    server.argv = [*server.argv, "--cluster-enabled", "yes", "--cluster-port", str(lease())]
    server.start()
    client = connect(valkey_url(port))
    await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

    async def whole() -> Any:
        return b"cluster_state:ok" in await client.execute_command("CLUSTER", "INFO")

    await until(whole, "the cluster's slots", timeout_s=30)
    await client.hset(keys.mesh("i0"), mapping={"id": MESH_ID, "epoch": EPOCH})
    await calls.ensure_group(client, STREAM, GROUP)
    yield client
    await client.aclose()
    server.stop()


async def test_a_whole_life_runs_in_one_slot(node: Redis) -> None:
    """Accept, finish, beat, reclaim, solo, release, retry, promote, dead letter, redrive and retirement."""
    results = await accept(node, partition=0, entries=[request(), request()], admission=admission())
    assert [result.status for result in results] == [AcceptStatus.ACCEPTED] * 2
    await fill(node, 5)
    accepted, finished, taken, retried, dead, *_ = await calls.read(node, A, count=7, block_ms=100)
    done = Done(
        delete=(keys.acc(0, results[0].id),), publish=(("intent.x", b"SETTLED"),), append=((RESULTS, {b"a": b"b"}),)
    )
    assert await calls.finish(node, A, [(accepted.id, done), (finished.id, done)]) == []
    assert (await calls.heartbeat(node, A, [taken.id])).lost == ()
    await age(node, A, [taken.id], 60_000)
    [again] = (await calls.reclaim(node, B, idle_ms=30_000, count=10)).entries
    await calls.begin_solo(node, B, again.id, runs_max=3, token="t")
    assert await calls.release(node, B, [(again.id, Release.SOLO_UNCOUNTED)]) == calls.Beat((), ())
    assert await calls.retry(node, A, [(retried.id, 0)]) == []
    assert (await calls.promote(node, STREAM)).moved == 1
    assert await calls.dead_letter(node, A, [(dead.id, DeadLetter("r", "E", ""))]) == []
    [record] = await dead_letters.read_page(node, STREAM)
    assert await dead_letters.redrive(node, STREAM, record.entry_id) is True
    assert await calls.retire_consumer(node, B) is True
    assert len(await stream_entries(node, RESULTS)) == 2


async def test_the_rates_of_a_key_and_its_users_are_counted_in_one_slot(node: Redis) -> None:
    """Whichever slot that is."""
    for key in ("shop", "bank"):
        limit = RateLimit(requests=4, per_s=60, per_user_requests=2)
        verdicts = await take(node, service_key=key, limit=limit, users=["ann", "ann", "ann", "bob", None, None])
        assert [verdict.passes for verdict in verdicts] == [True, True, False, True, True, False]
