"""The read model is lost, or spoilt, and made anew: equal to what it was, also beside decisions that go on."""

import asyncio
from uuid import UUID

import pytest
import pytest_asyncio

from reconciler import rebuild as rebuild_module
from reconciler.rebuild import Rebuilt, rebuild
from shared.db.migrations import migrate
from shared.db.pool import Pool
from shared.ids import account_id
from shared.ledger.postgres import MIGRATIONS, PostgresLedger
from tests.integration.reconciler.conftest import found, populate, reconcile
from tests.integration.reconciler.corruption import SPOILINGS, posted_though_failed, spoilt
from tests.integration.reconciler.history import FIXED, Clerk, Stage
from tests.waiting import until

HISTORY = "SELECT account_id, transfer_id, intent_id, amount_minor, code, at FROM pm.tx_history ORDER BY 1, 2"
BALANCES = "SELECT account_id, posted, held FROM pm.account_balance ORDER BY 1"


@pytest.fixture
def clerk() -> Clerk:
    """Who makes payments up."""
    return Clerk()


@pytest_asyncio.fixture
async def loaded(pool: Pool, database: str, clerk: Clerk) -> Stage:
    """A history of every kind of payment, on the ledger in PostgreSQL."""
    await migrate(database, directory=MIGRATIONS)
    stage = Stage(ledger=PostgresLedger(pool), pool=pool)
    await stage.open(FIXED)
    await populate(stage, clerk)
    await stage.load(clerk.make(300))
    return stage


async def remade(stage: Stage, *, mend: bool = True) -> Rebuilt:
    """Rebuild, or say what would be."""
    return await rebuild(stage.ledger, stage.pool, mend=mend, progress=lambda _name, _count: None)


async def read_model(pool: Pool) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """All of the read model."""
    return (
        [tuple(row) for row in await pool.fetch(HISTORY)],
        [tuple(row) for row in await pool.fetch(BALANCES)],
    )


async def test_a_lost_read_model_comes_back_as_it_was(loaded: Stage) -> None:
    """The drill: histories and balances are truncated, and every row is back, to the microsecond."""
    before = await read_model(loaded.pool)
    assert len(before[0]) > 400
    await loaded.pool.execute("TRUNCATE pm.tx_history, pm.account_balance")
    done = await remade(loaded)
    assert (done.rows_missing, done.unjudged) == (len(before[0]), 0)
    assert await read_model(loaded.pool) == before
    assert (await remade(loaded, mend=False)).differences == 0
    await reconcile(loaded)
    assert await found(loaded.pool) == set()


async def test_a_dry_run_finds_the_differences_and_changes_nothing(loaded: Stage, clerk: Clerk) -> None:
    """A row changed, one gone, one too many of its own intent and one of nobody, a balance off."""
    pool = loaded.pool
    wallet = UUID(int=account_id(clerk.wallets.names[0]))
    # Rows of different intents, so that each is one difference; the balance follows none of them.
    changed, gone = await pool.fetch(
        "SELECT DISTINCT ON (intent_id) * FROM pm.tx_history WHERE account_id <> $1 ORDER BY intent_id LIMIT 2", wallet
    )
    await pool.execute("UPDATE pm.tx_history SET code = 999 WHERE transfer_id = $1", changed["transfer_id"])
    await pool.execute("DELETE FROM pm.tx_history WHERE transfer_id = $1", gone["transfer_id"])
    stranger, extra = clerk.new_id(), UUID(int=changed["transfer_id"].int + 99)
    insert = "INSERT INTO pm.tx_history VALUES ($1, $2, $3, 0, 101, now())"
    await pool.execute(insert, changed["account_id"], extra, changed["intent_id"])
    await pool.execute(insert, wallet, UUID(int=stranger.int + 1024), stranger)
    await pool.execute("UPDATE pm.account_balance SET posted = posted + 5 WHERE account_id = $1", wallet)
    before = await read_model(pool)
    dry = await remade(loaded, mend=False)
    assert (dry.rows_differing, dry.rows_missing, dry.rows_extra) == (1, 1, 2)
    assert dry.balances == 2
    assert await read_model(pool) == before
    mended = await remade(loaded)
    assert mended.differences >= 5
    assert (await remade(loaded, mend=False)).differences == 0


async def test_what_the_ledger_contradicts_is_left_to_people(loaded: Stage, clerk: Clerk) -> None:
    """Failed, and posted all the same: nobody knows what the wallet should show."""
    spoiling = next(each for each in SPOILINGS if each.spoil is posted_though_failed)
    one, _ = spoilt(clerk, spoiling)
    await loaded.load([one])
    await loaded.pool.execute("TRUNCATE pm.tx_history")
    assert (await remade(loaded)).unjudged == 1
    assert await loaded.pool.fetchval("SELECT count(*) FROM pm.tx_history WHERE intent_id = $1", one.id) == 0


async def test_balances_are_right_although_decisions_go_on(loaded: Stage, clerk: Clerk) -> None:
    """A decision that is about to commit is waited for, and counted once: its row and its delta come together."""
    pool = loaded.pool
    wallet = UUID(int=account_id(clerk.wallets.names[0]))
    before = await pool.fetchval("SELECT posted FROM pm.account_balance WHERE account_id = $1", wallet)
    await pool.execute("UPDATE pm.account_balance SET posted = 0")

    async def waits() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(await pool.fetchval(query))

    async with pool.acquire() as connection:
        decision = connection.transaction()
        await decision.start()
        transfer = UUID(int=clerk.new_id().int + 1024)
        insert = "INSERT INTO pm.tx_history VALUES ($1, $2, gen_random_uuid(), 1, 101, now())"
        await connection.execute(insert, wallet, transfer)
        # Locked and not changed yet: nothing but a lock of its own makes the rebuild wait for this.
        await connection.fetch("SELECT FROM pm.account_balance WHERE account_id = $1 FOR UPDATE", wallet)
        mending = asyncio.create_task(
            rebuild_module._balances(pool, Rebuilt(), mend=True, progress=lambda _name, _count: None)
        )
        await until(waits, "the rebuild waits for the wallet")
        await connection.execute("UPDATE pm.account_balance SET posted = posted + 1 WHERE account_id = $1", wallet)
        await decision.commit()
        await mending
    assert await pool.fetchval("SELECT posted FROM pm.account_balance WHERE account_id = $1", wallet) == before + 1


async def test_nothing_is_found_where_nothing_differs(loaded: Stage) -> None:
    """And everything was looked at."""
    done = await remade(loaded, mend=False)
    assert (done.differences, done.unjudged) == (0, 0)
    assert (done.intents, done.wallets) == (
        await loaded.pool.fetchval("SELECT count(*) FROM pm.intent"),
        await loaded.pool.fetchval("SELECT count(*) FROM pm.account_balance"),
    )
