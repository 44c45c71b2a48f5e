"""The stores and the intake that orchestrator tests stand on; every test runs on both ledgers."""

import pytest
import pytest_asyncio

from shared.db.pool import Pool
from shared.ledger.port import Ledger
from tests.integration.orchestrator.saga import Saga
from tests.integration.orchestrator.world import World


@pytest.fixture
def world(pool: Pool, ledger: Ledger) -> World:
    """An intake over real stores."""
    return World(pool, ledger)


@pytest_asyncio.fixture
async def saga(world: World) -> Saga:
    """PSPs over real stores, on each ledger."""
    made = Saga(world)
    await made.prepare()
    return made


@pytest_asyncio.fixture
async def payer(saga: Saga) -> str:
    """A wallet with 1,000 satang."""
    name = saga.world.wallet("payer")
    await saga.world.fund({name: 1000})
    return name


@pytest_asyncio.fixture
async def payee(saga: Saga) -> str:
    """An empty rouble wallet."""
    name = f"user:payee-{saga.world.tag}:RUB"
    await saga.world.fund({name: 0})
    return name
