"""A world with IPPS in it, under the ordinary terms or under any."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.psp import FenceKind
from tests.integration.adapters.ipps.scene import FENCES, World, open_world


@pytest_asyncio.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    """Everything in order, the ordinary fence."""
    async with open_world(redis_url) as opened:
        yield opened


@pytest.fixture(params=FENCES)
def fence(request: pytest.FixtureRequest) -> FenceKind:
    """Every submit fence that can be agreed on."""
    kind: FenceKind = request.param
    return kind


@pytest_asyncio.fixture
async def fenced(redis_url: str, fence: FenceKind) -> AsyncIterator[World]:
    """A world for each fence."""
    async with open_world(redis_url, fence) as opened:
        yield opened
