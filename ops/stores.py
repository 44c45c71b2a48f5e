"""Connections of one command: opened together, closed together; a ledger session only for whoever asks for one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis

from shared.config import StoreSettings
from shared.db.failures import database
from shared.db.pool import Pool, close_pool, open_pool
from shared.ledger.open import open_ledger
from shared.ledger.port import Ledger
from shared.streams.client import connect

_LEDGER_TIMEOUT_S: Final = 30.0


@dataclass(slots=True)
class OpenStores:
    """The stores, for the length of a command."""

    settings: StoreSettings
    pool: Pool
    redis: Redis
    closing: AsyncExitStack = field(repr=False)
    _ledger: Ledger | None = None

    def ledger(self) -> Ledger:
        """Open a ledger session, or return the one that is open."""
        if self._ledger is None:
            self._ledger = open_ledger(
                tigerbeetle_addresses=self.settings.tigerbeetle_addresses,
                tigerbeetle_cluster_id=self.settings.tigerbeetle_cluster_id,
                pool=self.pool,
                timeout_s=_LEDGER_TIMEOUT_S,
            )
            self.closing.push_async_callback(self._ledger.close)
        return self._ledger


@asynccontextmanager
async def open_stores(settings: StoreSettings) -> AsyncIterator[OpenStores]:
    """Connect to database and streams for the length of the block.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    async with AsyncExitStack() as closing:
        with database():
            pool = await open_pool(settings.database_url, min_size=1, max_size=4, application_name="paymesh-cli")
        closing.push_async_callback(close_pool, pool)
        redis = connect(settings.redis_url)
        closing.push_async_callback(redis.aclose)
        yield OpenStores(settings, pool, redis, closing)
