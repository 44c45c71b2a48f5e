"""The audit feed: told while the server takes it, bounded, and never in anybody's way."""

import asyncio
import json
from typing import Any

from redis.asyncio import Redis

from ops.embedded.ports import leased_port
from shared.streams import keys
from shared.streams.client import connect
from shared.streams.feed import FEED_LENGTH, FEED_VERSION, publish


async def test_events_are_told_in_order(redis: Redis) -> None:
    """Each with its version, its kind and its body."""
    bodies = [{"intent_id": str(number)} for number in range(3)]
    await publish(redis, "intent.monitored", bodies)
    entries: Any = await redis.xrange(keys.events())
    assert [(fields[b"v"], fields[b"kind"], json.loads(fields[b"body"])) for _, fields in entries] == [
        (str(FEED_VERSION).encode(), b"intent.monitored", body) for body in bodies
    ]


async def test_the_feed_keeps_about_its_last_events(redis: Redis) -> None:
    """The oldest go; nobody has to read it."""
    for start in range(0, FEED_LENGTH + 1_000, 500):
        await publish(redis, "intent.monitored", [{"number": start + number} for number in range(500)])
    length = await redis.xlen(keys.events())
    assert FEED_LENGTH <= length < FEED_LENGTH + 500
    newest: Any = await redis.xrevrange(keys.events(), count=1)
    assert json.loads(newest[0][1][b"body"]) == {"number": FEED_LENGTH + 999}


async def test_a_server_that_is_away_is_nobodys_trouble() -> None:
    """The event is lost, and whoever told it goes on at once."""
    with leased_port() as port:
        async with connect(f"redis://127.0.0.1:{port}") as away, asyncio.timeout(5):
            await publish(away, "intent.monitored", [{}])
