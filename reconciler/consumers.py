"""Consumers that are gone: every process start leaves a name in the group; empty, silent ones are forgotten.

A consumer that still holds entries is never touched, since deleting it would destroy them: reclaim empties it first.
"""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.streams import keys
from shared.streams.client import no_group
from shared.streams.group import retire_consumer
from shared.streams.verdicts import Member

SILENT_MS: Final = 3_600_000
"""How long a consumer has been silent before it counts as gone."""


def groups(partitions: int, psps: Sequence[str]) -> list[tuple[str, str]]:
    """Return every stream that is read, each with the group that reads it."""
    return [
        *((keys.intents(partition), keys.ORCHESTRATOR_GROUP) for partition in range(partitions)),
        *((keys.jobs(psp), keys.ADAPTER_GROUP) for psp in psps),
        *((keys.results(psp), keys.ORCHESTRATOR_GROUP) for psp in psps),
    ]


async def retire_silent(redis: Redis, stream: str, group: str, *, silent_ms: int = SILENT_MS) -> int:
    """Delete the names of consumers that hold nothing and have been silent; return how many."""
    try:
        consumers = await redis.xinfo_consumers(stream, group)
    except ResponseError as error:
        # Before the first worker has started there is neither stream nor group.
        if no_group(error) or "no such key" in str(error):
            return 0
        raise
    retired = 0
    for consumer in consumers:
        name = consumer["name"].decode()
        if name == keys.RELEASED_CONSUMER or consumer["pending"] or consumer["idle"] < silent_ms:
            continue
        retired += await retire_consumer(redis, Member(stream, group, name))
    return retired
