"""An adapter of QP at work."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.adapters.qp.scene import World, at_work


@pytest_asyncio.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    """QP's sandbox, an empty Valkey, and the adapter between them."""
    async with at_work(redis_url) as world:
        yield world
