"""A known history on either ledger, cut into days wherever a test wants them to end."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.db.migrations import migrate
from shared.db.pool import Pool
from shared.ledger.batcher import TigerBeetleLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import MIGRATIONS, PostgresLedger
from tests.integration.reconciler.reports.history import History

KINDS = [pytest.param("tigerbeetle", marks=pytest.mark.tigerbeetle), "postgres"]


@pytest_asyncio.fixture
async def postgres_ledger(database: str, pool: Pool) -> AsyncIterator[PostgresLedger]:
    """The ledger over PostgreSQL, on the test's database."""
    await migrate(database, directory=MIGRATIONS)
    opened = PostgresLedger(pool)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def tigerbeetle_ledger(tigerbeetle_addresses: str) -> AsyncIterator[TigerBeetleLedger]:
    """The ledger over TigerBeetle, on the session's server."""
    opened = TigerBeetleLedger(tigerbeetle_addresses)
    yield opened
    await opened.close()


@pytest.fixture(params=KINDS)
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """Each ledger in turn."""
    opened: Ledger = request.getfixturevalue(f"{request.param}_ledger")
    return opened


@pytest_asyncio.fixture
async def history(pool: Pool, ledger: Ledger) -> History:
    """A history that begins now, on either ledger."""
    made = History(pool, ledger)
    await made.begin()
    return made


@pytest_asyncio.fixture
async def quick_history(pool: Pool, postgres_ledger: PostgresLedger) -> History:
    """The same on the ledger over PostgreSQL, for what does not depend on the ledger."""
    made = History(pool, postgres_ledger)
    await made.begin()
    return made
