"""Rates on a real server: one allowance for everybody who asks, and nothing kept of it but a few bytes for a while."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from shared.errors import InvariantViolation
from shared.streams import keys
from shared.streams.client import connect
from shared.streams.rate import RateLimit, take

TEN = RateLimit(requests=10, per_s=3600, per_user_requests=4)


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty server."""
    client = connect(redis_url)
    yield client
    await client.aclose()


async def passes(client: Redis, *users: str | None, key: str = "shop", limit: RateLimit = TEN) -> list[bool]:
    """Ask for one request of each of these users."""
    return [verdict.passes for verdict in await take(client, service_key=key, limit=limit, users=users)]


async def test_requests_pass_in_order_until_the_key_or_their_user_has_none_left(client: Redis) -> None:
    """A user's refusal costs the key nothing, and the other way round."""
    assert await passes(client, *["ann"] * 6) == [True] * 4 + [False] * 2
    assert await passes(client, "bob", None, "ann", "bob") == [True, True, False, True]
    assert await passes(client, *["cat"] * 4) == [True] * 3 + [False]
    last = (await take(client, service_key="shop", limit=TEN, users=["dan"]))[0]
    assert (last.passes, last.key.left, last.user and last.user.left) == (False, 0, 4)


async def test_what_is_left_is_told_with_each_request(client: Redis) -> None:
    """Of the key, and of the user where there is one; and when there will be more."""
    verdicts = await take(client, service_key="shop", limit=TEN, users=[None, "ann", "ann", "bob"])
    assert [verdict.key.left for verdict in verdicts] == [9, 8, 7, 6]
    assert [verdict.user and verdict.user.left for verdict in verdicts] == [None, 3, 2, 3]
    waits = {allowance.wait_ms for verdict in verdicts for allowance in (verdict.key, verdict.user) if allowance}
    assert all(3_600_000 <= wait <= 3_780_000 for wait in waits)


async def test_a_limit_without_users_counts_none(client: Redis) -> None:
    """However many they are, there is one window."""
    limit = RateLimit(requests=5, per_s=10)
    assert await passes(client, "ann", "bob", None, limit=limit) == [True] * 3
    assert await client.keys("*") == [keys.rate("shop", 10).encode()]


async def test_askers_at_the_same_time_share_one_allowance(client: Redis, redis_url: str) -> None:
    """As gateways do: together they let through as much as one would."""
    other = connect(redis_url)
    limit = RateLimit(requests=50, per_s=3600)
    asked = await asyncio.gather(*(passes(one, *[None] * 7, limit=limit) for one in (client, other) for _ in range(20)))
    await other.aclose()
    assert sum(sum(each) for each in asked) == 50


async def test_keys_have_allowances_of_their_own(client: Redis) -> None:
    """One that is used up is nobody else's business."""
    assert (await passes(client, *[None] * 11))[-1] is False
    assert await passes(client, None, key="bank") == [True]


async def test_a_window_is_small_is_forgotten_by_itself_and_is_not_written_to_disk(client: Redis) -> None:
    """Nobody waits for an fsync in order to be counted; refusals write nothing at all."""
    before = await client.info("persistence")
    offset = (await client.info("replication"))["master_repl_offset"]
    await passes(client, *["ann"] * 200)
    changes = (await client.info("persistence"))["rdb_changes_since_last_save"]
    assert await passes(client, *["ann"] * 200) == [False] * 200
    assert (await client.info("persistence"))["rdb_changes_since_last_save"] == changes
    assert (await client.info("persistence"))["aof_current_size"] == before["aof_current_size"]
    assert (await client.info("replication"))["master_repl_offset"] == offset
    for name in (keys.rate("shop", 3600), keys.rate("shop", 3600, "ann")):
        assert await client.strlen(name) == 92
        assert 3_600_000 <= await client.pttl(name) <= 3_780_000


async def test_everything_about_a_key_shares_its_slot() -> None:
    """One script may touch all of it, on a cluster too."""
    assert {keys.hash_tag(name) for name in (keys.rate("shop", 1), keys.rate("shop", 60, "ann"))} == {"{shop}"}


@pytest.mark.parametrize(
    ("requests", "per_s", "per_user"),
    [(0, 1, None), (10_000_001, 1, None), (1, 0, None), (1, 3601, None), (1, 1, 0), (1, 1, 2)],
)
def test_a_rate_out_of_bounds_is_a_fault_of_ours(requests: int, per_s: int, per_user: int | None) -> None:
    """Whoever reads permissions has refused it long before."""
    with pytest.raises(InvariantViolation):
        RateLimit(requests, per_s, per_user)
