"""What tests of reconciliation share: both ledgers, a stage on each, and rounds without waiting."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from reconciler.reconcile import Pace, Reconciliation
from reconciler.suspects import due_suspects
from shared.db.migrations import migrate
from shared.db.pool import Pool
from shared.ledger.open import open_ledger
from shared.ledger.port import Ledger
from shared.ledger.postgres import MIGRATIONS, PostgresLedger
from tests.conftest import running_tigerbeetle
from tests.integration.reconciler.corruption import Found
from tests.integration.reconciler.history import FIXED, Clerk, Stage

AT_ONCE = Pace(settle_s=0.0, grace_s=0.0, pages_max=10_000, share=1.0, stale_s=0.0)


@pytest_asyncio.fixture(params=["postgres", pytest.param("tigerbeetle", marks=pytest.mark.tigerbeetle)])
async def ledger(request: pytest.FixtureRequest, pool: Pool, database: str) -> AsyncIterator[Ledger]:
    """Each ledger in turn, with nothing in it."""
    if request.param == "postgres":
        await migrate(database, directory=MIGRATIONS)
        opened: Ledger = PostgresLedger(pool)
        yield opened
        await opened.close()
        return
    with running_tigerbeetle() as addresses:
        opened = open_ledger(tigerbeetle_addresses=addresses, tigerbeetle_cluster_id=0, pool=pool, timeout_s=30)
        yield opened
        await opened.close()


@pytest_asyncio.fixture
async def stage(ledger: Ledger, pool: Pool) -> Stage:
    """An empty mesh with its fixed accounts."""
    made = Stage(ledger=ledger, pool=pool)
    await made.open(FIXED)
    return made


async def populate(stage: Stage, clerk: Clerk) -> None:
    """Open every wallet and fill it."""
    await stage.open(clerk.wallets.names)
    await stage.load(clerk.grants())


async def reconcile(stage: Stage) -> Reconciliation:
    """Walk everything there is to its end, and look at every suspect again."""
    reconciler = Reconciliation(ledger=stage.ledger, pool=stage.pool, pace=AT_ONCE)
    await settle(reconciler, stage.pool)
    return reconciler


async def settle(reconciler: Reconciliation, pool: Pool) -> None:
    """Take rounds until nothing is left to be looked at, and all accounts have been."""
    for _ in range(200):
        done = await reconciler.round()
        assert done is not None
        position = await pool.fetchval("SELECT position::text FROM pm.reconciliation_cursor WHERE name = 'accounts'")
        if done.done and not await due_suspects(pool, limit=1) and position in (None, "{}"):
            return
    pytest.fail("there is no end to it")


async def found(pool: Pool) -> set[Found]:
    """The breaks that stand open."""
    rows = await pool.fetch("SELECT kind, subject FROM pm.reconciliation_break WHERE state = 'OPEN'")
    return {(row["kind"], row["subject"]) for row in rows}
