"""What gateway tests stand on."""

from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio
from redis.asyncio import Redis

from shared.db.pool import Pool
from tests.integration.gateway.stand import Client, Stand


@pytest_asyncio.fixture
async def stand(pool: Pool, redis: Redis, database: str, redis_url: str) -> AsyncIterator[Stand]:
    """Empty stores of a fresh mesh, with one service key."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        made = Stand(pool=pool, redis=redis, database_url=database, redis_url=redis_url, session=session)
        await made.install()
        yield made


@pytest_asyncio.fixture
async def client(stand: Stand) -> AsyncIterator[Client]:
    """A client of one running gateway."""
    async with stand.gateway() as running:
        yield running
