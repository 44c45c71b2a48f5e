"""Both ledgers, each fresh enough for a test: TigerBeetle's ids are the test's own, PostgreSQL's database is."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.db.migrations import migrate
from shared.db.pool import Pool
from shared.ledger.batcher import TigerBeetleLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import MIGRATIONS, PostgresLedger

KINDS = [pytest.param("tigerbeetle", marks=pytest.mark.tigerbeetle), "postgres"]


@pytest_asyncio.fixture
async def postgres_ledger(database: str, pool: Pool) -> AsyncIterator[PostgresLedger]:
    """The ledger over PostgreSQL, on a database of its own."""
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
