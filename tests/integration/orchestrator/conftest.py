from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.db.pool import Pool
from shared.ledger.port import Ledger
from tests.integration.orchestrator.world import World


@pytest_asyncio.fixture(params=[pytest.param("tigerbeetle", marks=pytest.mark.tigerbeetle)])
async def ledger(request: pytest.FixtureRequest, pool: Pool) -> AsyncIterator[Ledger]:
    """Each ledger in turn."""
    import tigerbeetle as tb

    opened = tb.ClientAsync(0, request.getfixturevalue("tigerbeetle_addresses"))
    yield opened
    await opened.close()


@pytest.fixture
def world(pool: Pool, ledger: Ledger) -> World:
    """An intake over real stores."""
    return World(pool, ledger)
