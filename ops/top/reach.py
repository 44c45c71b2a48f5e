"""The two stores, reached one by one: each may be away, and whoever looks says so and shows the other.

Connections are made when first asked for, and again after they failed. This module must never hold anybody up for
longer than `PATIENCE_S` a question.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ops.top.rows import Unreached
from shared.config import StoreSettings
from shared.db.pool import Pool, close_pool, open_pool
from shared.errors import PaymeshError
from shared.streams.client import connect

T = TypeVar("T")

REDIS: Final = "Redis"
POSTGRES: Final = "PostgreSQL"
PATIENCE_S: Final = 1.5
_CONNECTIONS_MAX: Final = 4


@dataclass(slots=True)
class Reach:
    """Both stores, and what could not be read of them so far."""

    pool: Pool
    redis: Redis
    _failed: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    async def ask(self, store: str, what: str, question: Awaitable[T]) -> T | None:
        """Return the answer; None where there was none, which is remembered."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await question
        except (PaymeshError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError, OSError) as error:
            # TimeoutError is an OSError.
            self._failed.setdefault((store, _said(error)), []).append(what)
            return None

    def unreached(self) -> tuple[Unreached, ...]:
        """Return what could not be read since the last time this was asked."""
        found = tuple(
            Unreached(store, ", ".join(dict.fromkeys(whats)), error) for (store, error), whats in self._failed.items()
        )
        self._failed.clear()
        return found


@asynccontextmanager
async def reach(settings: StoreSettings) -> AsyncIterator[Reach]:
    """Describe both stores' connections for the length of the block; none is made yet."""
    pool = await open_pool(
        settings.database_url,
        min_size=0,
        max_size=_CONNECTIONS_MAX,
        application_name="paymesh-cli",
        connect_timeout_s=PATIENCE_S,
        statement_timeout_s=PATIENCE_S,
    )
    redis = connect(settings.redis_url, connections_max=_CONNECTIONS_MAX)
    try:
        yield Reach(pool, redis)
    finally:
        await close_pool(pool, patience_s=PATIENCE_S)
        await redis.aclose()


def _said(error: Exception) -> str:
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
        return "there is no mesh in this database; `paymesh migrate` makes one"
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {PATIENCE_S} s"
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]
