"""The one stream that these tests play on, and what they put there."""

import random
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from shared.contracts import Envelope, Kind
from shared.ids import IntentId, intent_id
from shared.streams import keys
from shared.streams.accept import AcceptEntry, Admission
from shared.streams.verdicts import Entry, Fields, Member

MESH_ID = "6f1f8a52-9f4f-4b5a-8c88-2f7c0a1f3c11"
EPOCH = "1"
STREAM = keys.intents(0)
RESULTS = "results.{i0}"
GROUP = keys.ORCHESTRATOR_GROUP


def member(consumer: str) -> Member:
    """Return a consumer of the scene's group."""
    return Member(STREAM, GROUP, consumer)


def new_id(*, offset_ms: int = 0) -> IntentId:
    """Return an id of partition 0, dated now or that much later."""
    return intent_id(time.time_ns() // 1000 + offset_ms * 1000, 0, random.getrandbits(38))


def request(
    key: str | None = None,
    *,
    intent: IntentId | None = None,
    fingerprints: Sequence[str] = ("k1:aa",),
    owner: str = "shop",
    body: bytes = b'{"amount":1}',
) -> AcceptEntry:
    """Return one request at the door; without a key it has one of its own."""
    name = str(intent or new_id())
    return AcceptEntry(
        envelope=Envelope(
            Kind.INTENT, name, body, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ),
        idem_key=keys.idem(0, "shop", key or name),
        fingerprints=tuple(fingerprints),
        owner=owner,
    )


def admission(*, epoch: str = f"{MESH_ID}:{EPOCH}", length_max: int = 10_000, memory_full: bool = False) -> Admission:
    """Return an open door, or one that is closed in the way given."""
    return Admission(epoch=epoch, length_max=length_max, memory_full=memory_full, dedupe_ttl_ms=60_000)


def envelope_fields(name: str, **others: bytes) -> Fields:
    """Return the fields of a plain entry, some of them replaced or added."""
    fields = Envelope(Kind.INTENT, name, b"{}").fields()
    return fields | {field.encode(): value for field, value in others.items()}


async def add(client: Redis, fields: Fields) -> bytes:
    """Add one entry past the door; return its entry id."""
    words = [word for pair in fields.items() for word in pair]
    entry_id: bytes = await client.execute_command("XADD", STREAM, "*", *words)
    return entry_id


async def fill(client: Redis, count: int) -> list[str]:
    """Add entries named e0, e1, … and return their names."""
    names = [f"e{number}" for number in range(count)]
    async with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.execute_command("XADD", STREAM, "*", *[w for pair in envelope_fields(name).items() for w in pair])
        await pipeline.execute()
    return names


async def stream_entries(client: Redis, stream: str = STREAM) -> list[tuple[bytes, Fields]]:
    """Return everything on a stream."""
    rows: list[tuple[bytes, Fields]] = await client.execute_command("XRANGE", stream, "-", "+")
    return rows


async def age(client: Redis, owner: Member, ids: Sequence[bytes], idle_ms: int) -> None:
    """Make entries look as if nobody had beaten them for that long."""
    await client.xclaim(STREAM, GROUP, owner.consumer, 0, list(ids), idle=idle_ms, justid=True)


async def pending(client: Redis) -> dict[bytes, tuple[str, int, int]]:
    """Return every pending entry: consumer, idle ms, deliveries."""
    rows: Any = await client.xpending_range(STREAM, GROUP, "-", "+", 10_000)
    return {
        row["message_id"]: (row["consumer"].decode(), row["time_since_delivered"], row["times_delivered"])
        for row in rows
    }


async def script_calls(client: Redis) -> int:
    """Return how many scripts the server has run since its counters were reset."""
    stats = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{verb}", {"calls": 0})["calls"] for verb in ("eval", "evalsha"))


def names(entries: Sequence[Entry]) -> list[str]:
    """Return what the entries are called."""
    return [entry.fields[b"id"].decode() for entry in entries]
