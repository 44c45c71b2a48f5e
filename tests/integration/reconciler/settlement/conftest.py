"""What tests of settlement files stand on: PSPs over real stores, and files of theirs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from ops.install import install
from shared.config import StoreSettings
from shared.db.pool import Pool
from shared.ledger.open import open_ledger
from shared.ledger.port import Ledger
from shared.ledger.postgres import PostgresLedger
from shared.sealing import generate
from tests.integration.orchestrator.saga import Saga
from tests.integration.orchestrator.world import World
from tests.integration.reconciler.settlement.scene import Scene


@pytest.fixture
def ledger(postgres_ledger: PostgresLedger) -> Ledger:
    """The ledger in PostgreSQL: what lines do is the same on either."""
    return postgres_ledger


@pytest_asyncio.fixture
async def scene(pool: Pool, redis: Redis, ledger: Ledger, tmp_path: Path) -> Scene:
    """PSPs, a payer with 1,000 satang, and a folder."""
    saga = Saga(World(pool, ledger))
    await saga.prepare()
    made = Scene(saga, redis, tmp_path)
    await saga.world.fund({made.payer: 1000})
    return made


@pytest_asyncio.fixture
async def installed_scene(
    pool: Pool, redis: Redis, database: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Scene]:
    """The same on an installed mesh, whose stores a process takes for its own."""
    settings = StoreSettings(
        redis_url=redis_url, database_url=database, tigerbeetle_addresses=None,
        keyring_text=SecretStr(generate("k1")), keyring_file=None,
    )  # fmt: skip
    await install(settings)
    opened = open_ledger(pool=pool, tigerbeetle_addresses=None)
    saga = Saga(World(pool, opened))
    await saga.prepare()
    made = Scene(saga, redis, tmp_path)
    await saga.world.fund({made.payer: 1000})
    yield made
    await opened.close()
