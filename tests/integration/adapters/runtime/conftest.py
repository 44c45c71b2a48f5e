"""A client of an empty Valkey whose slot belongs to the mesh, and a bank of any fence."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from shared.psp import FenceKind
from shared.streams.client import connect
from tests.contract.psp.bank import Bank, served
from tests.integration.adapters.runtime.scene import mark


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty server whose slot is marked."""
    client = connect(redis_url)
    await mark(client)
    yield client
    await client.aclose()


@pytest.fixture(params=list(FenceKind))
def fence(request: pytest.FixtureRequest) -> FenceKind:
    """Every kind of submit fence."""
    kind: FenceKind = request.param
    return kind


@pytest_asyncio.fixture
async def bank(fence: FenceKind) -> AsyncIterator[Bank]:
    """A bank with that fence, open."""
    async with served(Bank(fence, ticket_ttl_s=2.0)) as bank:
        yield bank
