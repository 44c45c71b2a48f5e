"""Connections: no command is ever sent twice, and a task that is told to stop stops."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.streams import group as calls
from shared.streams.client import command, connect, no_group, refused, unreachable
from tests.integration.streams.lossy import LossyProxy
from tests.integration.streams.scene import member
from tests.ports import Lease


async def test_lost_reply_is_an_error_and_the_command_ran_once(client: Redis, redis_url: str) -> None:
    """redis-py's default would repeat it, and write twice."""
    async with LossyProxy(redis_url) as proxy:
        through = connect(proxy.url)
        assert await through.incr("n") == 1
        proxy.swallow_replies(1)
        with pytest.raises(RedisConnectionError) as lost:
            await through.incr("n")
        await through.aclose()
    assert await client.get("n") == b"2"
    assert unreachable(lost.value)
    assert not refused(lost.value)


async def test_url_cannot_change_how_replies_are_read(client: Redis, redis_url: str) -> None:
    """What the code relies on is not configuration."""
    await client.set("k", b"\xff")
    other = connect(f"{redis_url}?protocol=3&decode_responses=yes&socket_timeout=0.000001&max_connections=1")
    assert await other.get("k") == b"\xff"
    await other.aclose()


async def test_callers_wait_for_a_connection_rather_than_fail(client: Redis, redis_url: str) -> None:
    """The pool is bounded, and a crowd is served in turn."""
    few = connect(redis_url, connections_max=2)
    assert sorted(await asyncio.gather(*(few.incr("n") for _ in range(100)))) == list(range(1, 101))
    assert len(await client.client_list()) <= 2 + 2
    await few.aclose()


async def test_commands_of_every_type_arrive_as_they_are(client: Redis) -> None:
    """Text, bytes and numbers, and the library's own two-word commands."""
    await command(client, "SET", "ключ", bytes(range(256)))
    assert await client.get("ключ") == bytes(range(256))
    await client.set("n", 5)
    assert await client.incrby("n", 7) == 12
    assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert await client.memory_usage("n")


async def test_cancellation_is_never_forgotten_and_replies_never_mix(redis_url: str) -> None:
    """A task cancelled at any step of a command ends, and the next command gets its own reply."""
    one = connect(redis_url, connections_max=1)
    await one.set("mine", "mine")
    await one.set("other", "other")

    async def stubborn() -> None:
        while True:
            assert await one.get("mine") == b"mine"

    async def steps(number: int) -> None:
        for _ in range(number):
            turn = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(turn.set_result, None)
            await turn

    for number in range(60):
        task = asyncio.create_task(stubborn())
        await steps(number)
        task.cancel()
        _, running = await asyncio.wait({task}, timeout=5)
        assert not running, f"cancelled after {number} steps and still running"
        assert task.cancelled()
        assert await one.get("other") == b"other"
    await one.aclose()


async def test_errors_are_told_apart(client: Redis, lease: Lease) -> None:
    """Out of reach, refusing, or without its group: each asks for something else."""
    nobody = connect(f"redis://127.0.0.1:{lease()}/0")
    with pytest.raises(RedisConnectionError) as away:
        await nobody.ping()
    await nobody.aclose()
    assert unreachable(away.value)
    await client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(ResponseError) as refusal:
            await client.set("k", "v")
        assert refused(refusal.value)
        with pytest.raises(ResponseError) as in_script:
            await client.eval("return redis.call('SET', KEYS[1], 'v')", 1, "k")
        assert refused(in_script.value)
    finally:
        await client.config_set("min-replicas-to-write", 0)
    await client.flushall()
    for call in (
        calls.read(client, member("a"), count=1, block_ms=10),
        calls.reclaim(client, member("a"), idle_ms=1, count=1),
        calls.heartbeat(client, member("a"), [b"1-1"]),
    ):
        with pytest.raises(ResponseError) as missing:
            await call
        assert no_group(missing.value)
        assert not refused(missing.value)
    assert not unreachable(AuthenticationError("wrong password"))
    assert refused(BusyLoadingError("loading"))
    assert not unreachable(BusyLoadingError("loading"))
    assert not unreachable(FileNotFoundError("a bug of a handler"))
