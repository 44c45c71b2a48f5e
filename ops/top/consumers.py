"""Consumers of every stream, and forgetting those that are gone.

Every process leaves a name behind in each group that it read. This module must never delete a name that holds an
entry: the entry would go with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from ops.audit import audit
from ops.top.rows import ConsumerRow
from ops.top.stream_look import look_at_streams
from reconciler.consumers import SILENT_MS
from shared.db.failures import database
from shared.db.pool import Pool
from shared.streams import keys
from shared.streams.client import server
from shared.streams.group import retire_consumer
from shared.streams.verdicts import Member

SILENT_S: Final = SILENT_MS / 1000
_NAMES_MAX: Final = 100
"""How many names a line of the audit log holds."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What became of the consumers that seemed to be gone."""

    forgotten: tuple[ConsumerRow, ...]
    kept: tuple[ConsumerRow, ...]
    """Silent for as long, but they hold entries, which have to be taken over first."""


async def list_consumers(redis: Redis, groups: Sequence[tuple[str, str]]) -> list[ConsumerRow]:
    """Return the consumers of the groups, those that hold most first.

    Raises:
        OutcomeUnknown, Transient: Redis is out of reach.
    """
    with server():
        looks = await look_at_streams(redis, groups)
    return [consumer for look in looks for consumer in look.consumers]


def gone(row: ConsumerRow) -> bool:
    """Say whether nothing has been heard of a consumer for so long that its process must have ended."""
    return row.idle_s >= SILENT_S and row.consumer != keys.RELEASED_CONSUMER


async def reap(redis: Redis, rows: Sequence[ConsumerRow]) -> Reaped:
    """Forget the consumers that are gone and hold nothing; the script looks again whether they do.

    Raises:
        OutcomeUnknown, Transient: Redis is out of reach; doing it again is safe.
    """
    forgotten: list[ConsumerRow] = []
    kept: list[ConsumerRow] = []
    with server():
        for row in filter(gone, rows):
            free = row.held == 0 and await retire_consumer(redis, Member(row.stream, row.group, row.consumer))
            (forgotten if free else kept).append(row)
    return Reaped(tuple(forgotten), tuple(kept))


async def record(pool: Pool, reaped: Reaped, *, actor: str) -> None:
    """Put the names that were forgotten on record.

    Raises:
        OutcomeUnknown, Transient: the database is out of reach.
    """
    names = [f"{row.stream} {row.consumer}" for row in reaped.forgotten]
    with database():
        async with pool.acquire() as connection, connection.transaction():
            for start in range(0, len(names), _NAMES_MAX):
                detail = {"consumers": names[start : start + _NAMES_MAX]}
                await audit(connection, actor=actor, action="consumers.reap", target="streams", detail=detail)
