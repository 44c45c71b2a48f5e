"""Streams filled by the server itself: a million entries take seconds, not a minute."""

from redis.asyncio import Redis

from shared.streams.group import ensure_group
from shared.streams.verdicts import Fields

BATCH = 10_000
_FILL = """
for number = 1, tonumber(ARGV[1]) do
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
end
"""


async def fill(redis: Redis, stream: str, fields: Fields, count: int) -> None:
    """Add so many entries, all alike."""
    words = [word for pair in fields.items() for word in pair]
    for _ in range(count // BATCH):
        await redis.execute_command("EVAL", _FILL, 1, stream, BATCH, *words)


async def fill_and_hold(
    redis: Redis, stream: str, fields: Fields, count: int, *, group: str, holders: list[str]
) -> None:
    """Add so many entries, all alike, and have them read by these consumers in turn, and never finished."""
    await ensure_group(redis, stream, group)
    await fill(redis, stream, fields, count)
    for number in range(count // BATCH):
        await redis.xreadgroup(group, holders[number % len(holders)], {stream: ">"}, count=BATCH)
