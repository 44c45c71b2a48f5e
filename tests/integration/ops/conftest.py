"""What tests of operations share: a mesh of real stores, with an orchestrator's handler instead of its process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from ops.install import Installed, install
from ops.invariants import books, payments, records
from shared.config import StoreSettings
from shared.db.pool import Pool
from shared.ledger.port import Ledger
from shared.ledger.postgres import PostgresLedger
from shared.sealing import generate
from tests.integration.ops.psp_scene import PspScene
from tests.integration.orchestrator.world import World


@dataclass(slots=True)
class Mesh:
    """An installed mesh on the PostgreSQL ledger, and what is needed to make payments happen in it."""

    settings: StoreSettings
    pool: Pool
    redis: Redis
    ledger: Ledger
    installed: Installed
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.pool, self.ledger, tag="t")


@pytest_asyncio.fixture
async def mesh(database: str, redis_url: str, pool: Pool, redis: Redis) -> AsyncIterator[Mesh]:
    """A fresh mesh, installed as `paymesh migrate` does it."""
    settings = StoreSettings(
        redis_url=redis_url,
        database_url=database,
        tigerbeetle_addresses=None,
        keyring_text=SecretStr(generate("k1")),
        keyring_file=None,
    )
    installed = await install(settings)
    ledger = PostgresLedger(pool)
    yield Mesh(settings, pool, redis, ledger, installed)
    await ledger.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted differences do not go away: nobody has to wait for them."""
    for module in (records, payments):
        monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
        monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(books, "_PAUSE_S", 0.0)


@pytest_asyncio.fixture
async def scene(mesh: Mesh) -> PspScene:
    """A mesh with two PSPs."""
    made = PspScene(mesh.world)
    await made.set_up()
    return made
