"""A known history on either ledger, cut into days wherever a test wants them to end."""

import pytest
import pytest_asyncio

from shared.db.pool import Pool
from shared.ledger.port import Ledger
from shared.ledger.postgres import PostgresLedger
from tests.integration.reconciler.reports.history import History

KINDS = [pytest.param("tigerbeetle", marks=pytest.mark.tigerbeetle), "postgres"]


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
