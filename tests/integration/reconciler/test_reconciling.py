"""Rounds of reconciliation: only what is new, no alarm for what is under way, breaks that close by themselves."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
import pytest_asyncio

from reconciler import reconcile as reconcile_module
from reconciler import wallets
from reconciler.breaks import Break, Connection, open_breaks
from reconciler.cursor import Cursor, Position, move_cursor
from reconciler.full import run_to_the_end, walk_everything
from reconciler.kinds import BreakKind
from reconciler.reconcile import Pace, Reconciliation
from reconciler.status import read_status
from reconciler.walks import Horizon
from shared.db.migrations import migrate
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown
from shared.ids import account_id
from shared.ledger.postgres import MIGRATIONS, PostgresLedger
from tests.integration.reconciler.conftest import AT_ONCE, found, populate, reconcile, settle
from tests.integration.reconciler.corruption import SPOILINGS, Spoiling, spoilt
from tests.integration.reconciler.history import FIXED, Clerk, Stage

PATIENT = replace(AT_ONCE, grace_s=3600.0, stale_s=3600.0)


@pytest.fixture
def clerk() -> Clerk:
    """A clerk of a small town."""
    return Clerk(wallets=10)


@pytest_asyncio.fixture
async def loaded(pool: Pool, database: str, clerk: Clerk) -> Stage:
    """A history of every kind of payment, on the ledger in PostgreSQL."""
    await migrate(database, directory=MIGRATIONS)
    stage = Stage(ledger=PostgresLedger(pool), pool=pool)
    await stage.open(FIXED)
    await populate(stage, clerk)
    await stage.load(clerk.make(100))
    return stage


def a(kind: BreakKind, shape: str = "p2p") -> Spoiling:
    """The way to spoil a payment so that it is found as a kind."""
    return next(each for each in SPOILINGS if each.kind is kind and each.shape == shape)


def by(stage: Stage, pace: Pace = AT_ONCE) -> Reconciliation:
    """A reconciler on the stage."""
    return Reconciliation(ledger=stage.ledger, pool=stage.pool, pace=pace)


async def suspects(pool: Pool) -> int:
    """How many things wait to be looked at again."""
    return int(await pool.fetchval("SELECT count(*) FROM pm.reconciliation_suspect"))


async def due_now(pool: Pool) -> None:
    """The grace of every suspect has passed."""
    await pool.execute("UPDATE pm.reconciliation_suspect SET due_at = now()")


async def test_a_second_round_has_nothing_to_compare(loaded: Stage) -> None:
    """What was walked once is behind the cursors."""
    await reconcile(loaded)
    again = await by(loaded).round()
    assert again is not None
    assert set(again.walked) <= {"accounts"}


async def test_only_what_is_new_is_walked(loaded: Stage, clerk: Clerk) -> None:
    """Ten more payments cost ten more payments, whatever lies behind them."""
    await reconcile(loaded)
    transfers = await loaded.load(clerk.make(10))
    again = await by(loaded).round()
    assert again is not None
    assert again.walked["ledger"] == transfers
    assert 10 <= again.walked["log"] <= 30


async def test_what_differs_is_no_break_before_it_has_been_looked_at_again(loaded: Stage, clerk: Clerk) -> None:
    """A suspect first; a break once its grace has passed."""
    one, expected = spoilt(clerk, a(BreakKind.AMOUNT_MISMATCH))
    await loaded.load([one])
    await by(loaded, PATIENT).round()
    assert (await found(loaded.pool), await suspects(loaded.pool)) == (set(), 1)
    await by(loaded, PATIENT).round()
    assert await found(loaded.pool) == set()
    await due_now(loaded.pool)
    await by(loaded, PATIENT).round()
    assert (await found(loaded.pool), await suspects(loaded.pool)) == (expected, 0)


async def test_what_was_under_way_at_the_first_look_is_forgotten(loaded: Stage, clerk: Clerk) -> None:
    """A row of the history that is written a moment later: no break, no suspect left."""
    one, _ = spoilt(clerk, a(BreakKind.HISTORY_MISSING))
    await loaded.load([one])
    await by(loaded, PATIENT).round()
    assert await suspects(loaded.pool) == 1
    leg = one.plan.legs[1]
    await loaded.pool.execute(
        "INSERT INTO pm.tx_history SELECT $1, $2, $3, $4, $5, at FROM pm.tx_history WHERE intent_id = $3 LIMIT 1",
        UUID(int=account_id(leg.credit)), UUID(int=one.first[1].id), one.id, leg.amount_minor, int(leg.code),
    )  # fmt: skip
    await due_now(loaded.pool)
    await by(loaded, PATIENT).round()
    assert (await found(loaded.pool), await suspects(loaded.pool)) == (set(), 0)


@pytest.mark.parametrize("walk", ["ledger", "log"])
async def test_what_was_found_on_a_page_that_could_not_be_kept_is_found_again(
    loaded: Stage, clerk: Clerk, monkeypatch: pytest.MonkeyPatch, walk: str
) -> None:
    """The database went away between the look and the cursor: the same process looks once more."""
    lost, expected = spoilt(clerk, a(BreakKind.SETTLED_WITHOUT_TRANSFERS))
    zero, of_it = spoilt(clerk, a(BreakKind.AMOUNT_ZERO, "withdrawal"))
    await loaded.load([lost, zero])
    failures = [OutcomeUnknown("the connection was lost")]

    async def failing(connection: Connection, cursor: Cursor, after: Position, walked: int) -> bool:
        if cursor.name == walk and failures:
            raise failures.pop()
        return await move_cursor(connection, cursor, after, walked)

    monkeypatch.setattr(reconcile_module, "move_cursor", failing)
    reconciler = by(loaded)
    with pytest.raises(OutcomeUnknown):
        await reconciler.round()
    await settle(reconciler, loaded.pool)
    assert await found(loaded.pool) == expected | of_it


async def test_an_intent_that_is_only_planned_is_never_judged(loaded: Stage, clerk: Clerk) -> None:
    """Its transfers may be in the ledger already, its decision not yet in the log."""
    one = clerk.one("p2p")
    one.state, one.path, one.moved = "VALIDATED", ("VALIDATED",), []
    await loaded.load([one])
    await loaded.pool.execute("DELETE FROM pm.account_balance")
    await by(loaded, PATIENT).round()
    kinds = await loaded.pool.fetch("SELECT DISTINCT what FROM pm.reconciliation_suspect")
    assert {row["what"] for row in kinds} == {"wallet"}


async def test_a_break_that_is_mended_closes_by_itself(loaded: Stage, clerk: Clerk) -> None:
    """Looked at again after a while; the history says that both sides agree."""
    wallet = clerk.wallets.names[0]
    change = "UPDATE pm.account_balance SET posted = posted + $2 WHERE account_id = $1"
    await loaded.pool.execute(change, UUID(int=account_id(wallet)), 5)
    await reconcile(loaded)
    assert await found(loaded.pool) == {(BreakKind.BALANCE_DIFFERS, wallet)}
    await loaded.pool.execute(change, UUID(int=account_id(wallet)), -5)
    await reconcile(loaded)
    row = await loaded.pool.fetchrow("SELECT state, delta_minor, currency FROM pm.reconciliation_break")
    assert row is not None
    assert tuple(row) == ("RESOLVED", 5, "THB")
    last = await loaded.pool.fetchval("SELECT reason FROM pm.reconciliation_break_event ORDER BY seq DESC LIMIT 1")
    assert last == "both sides agree by now"


async def test_a_break_that_stands_is_seen_again_and_not_opened_again(loaded: Stage, clerk: Clerk) -> None:
    """However many rounds there are."""
    one, expected = spoilt(clerk, a(BreakKind.TRANSFER_UNPLANNED))
    await loaded.load([one])
    await reconcile(loaded)
    await reconcile(loaded)
    assert await found(loaded.pool) == expected
    assert await loaded.pool.fetchval("SELECT count(*) FROM pm.reconciliation_break_event") == 1
    assert await loaded.pool.fetchval("SELECT seen FROM pm.reconciliation_break") > 1


async def test_a_wallet_that_moves_all_the_time_is_no_break(
    loaded: Stage, clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It differs at every look, each time otherwise: it stays a suspect, and is judged once it stands still."""
    wallet = UUID(int=account_id(clerk.wallets.names[0]))
    await reconcile(loaded)
    look = wallets._look

    async def moved(*args: object) -> object:
        await loaded.pool.execute("UPDATE pm.account_balance SET posted = posted + 1 WHERE account_id = $1", wallet)
        return await look(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(wallets, "_look", moved)
    monkeypatch.setattr(wallets, "PAUSE_S", 0.0)
    for _ in range(3):
        await by(loaded).round()
    assert (await found(loaded.pool), await suspects(loaded.pool)) == (set(), 1)
    monkeypatch.setattr(wallets, "_look", look)
    await settle(by(loaded), loaded.pool)
    assert await found(loaded.pool) == {(BreakKind.BALANCE_DIFFERS, clerk.wallets.names[0])}


async def test_two_reconcilers_at_once_find_the_same_once(
    loaded: Stage, clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where neither knows of the other: cursors move once, breaks open once."""
    monkeypatch.setattr(reconcile_module, "_LOCK", "SELECT true")
    expected = set()
    for spoiling in SPOILINGS:
        one, of_it = spoilt(clerk, spoiling)
        await loaded.load([one])
        expected |= of_it
    await asyncio.gather(*(settle(by(loaded), loaded.pool) for _ in range(3)))
    assert await found(loaded.pool) == expected
    assert await loaded.pool.fetchval("SELECT max(seq) FROM pm.reconciliation_break_event") == 1
    walked = await loaded.pool.fetchval("SELECT walked FROM pm.reconciliation_cursor WHERE name = 'ledger'")
    assert walked == await loaded.pool.fetchval("SELECT count(*) FROM ledger.transfer")


async def test_one_reconciler_leaves_the_work_to_another(loaded: Stage) -> None:
    """The lock is let go of at the end of a round."""
    async with by(loaded)._alone() as alone:
        assert alone
        assert await by(loaded).round() is None
    assert await by(loaded).round() is not None


async def test_nothing_is_passed_that_an_open_transaction_may_still_write(loaded: Stage, clerk: Clerk) -> None:
    """A transition is dated by the beginning of its transaction: the walk waits for whoever began before."""
    await reconcile(loaded)
    one = clerk.one("p2p")
    async with loaded.pool.acquire() as connection:
        late = connection.transaction()
        await late.start()
        await connection.execute(
            "INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state) VALUES ($1, 1, 'CREATED', 'SETTLED')",
            one.id,
        )
        await loaded.pool.execute(
            "INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state) VALUES ($1, 1, 'CREATED', 'SETTLED')",
            clerk.new_id(),
        )
        early = await by(loaded).round()
        await late.commit()
    after = await by(loaded).round()
    assert early is not None
    assert after is not None
    assert ("log" in early.walked, after.walked["log"]) == (False, 2)


async def test_lag_and_what_is_open_are_told(loaded: Stage, clerk: Clerk) -> None:
    """How old the oldest thing is that nobody has compared; nothing, once everything has been."""
    reconciler = by(loaded)
    before = await read_status(loaded.pool, reconciler.walks)
    assert {walk.name: walk.lag_s > 0 for walk in before.walks} == {
        "ledger": True, "log": True, "opened": True, "accounts": False,
    }  # fmt: skip
    one, _ = spoilt(clerk, a(BreakKind.TRANSFER_UNPLANNED))
    await loaded.load([one])
    await settle(reconciler, loaded.pool)
    after = await read_status(loaded.pool, reconciler.walks)
    assert {walk.lag_s for walk in after.walks} == {0.0}
    assert [(kind.kind, kind.severity, kind.count) for kind in after.open_breaks] == [
        ("transfer_unplanned", "emergency", 1)
    ]


async def test_a_full_run_finds_what_was_changed_behind_the_cursors(loaded: Stage, clerk: Clerk) -> None:
    """A row of a foreign wallet, a decided intent flipped: nobody who looks at what is new sees them."""
    await reconcile(loaded)
    flipped = await loaded.pool.fetchval("SELECT id FROM pm.intent WHERE state = 'FAILED' LIMIT 1")
    await loaded.pool.execute("UPDATE pm.intent SET state = 'SETTLED' WHERE id = $1", flipped)
    stranger, wallet = clerk.new_id(), UUID(int=account_id(clerk.wallets.names[0]))
    row = UUID(int=stranger.int + 1024)
    await loaded.pool.execute("INSERT INTO pm.tx_history VALUES ($1, $2, $3, 5, 101, now())", wallet, row, stranger)
    await settle(by(loaded), loaded.pool)
    assert await found(loaded.pool) == set()
    reconciler = by(loaded)
    counted: dict[str, int] = {}
    await walk_everything(
        reconciler, ledger=loaded.ledger, pool=loaded.pool, grace_s=0.0,
        progress=lambda name, count: counted.__setitem__(name, counted.get(name, 0) + count),
    )  # fmt: skip
    assert await run_to_the_end(reconciler, loaded.pool, progress=lambda _name, _count: None) is not None
    assert await found(loaded.pool) == {
        (BreakKind.STATE_CONTRADICTS_PLAN, str(flipped)),
        (BreakKind.HISTORY_EXTRA, f"{wallet}:{row}"),
    }
    assert counted["ledger"] == await loaded.pool.fetchval("SELECT count(*) FROM ledger.transfer")


async def test_breaks_of_others_are_left_alone(loaded: Stage) -> None:
    """What a settlement file found is not for these walks to close."""
    await open_breaks(loaded.pool, [Break(BreakKind.PSP_MISSING, "ipps:R1", psp="ipps")])
    await reconcile(loaded)
    assert await found(loaded.pool) == {(BreakKind.PSP_MISSING, "ipps:R1")}


async def test_the_saga_and_the_reconciler_never_wait_for_each_other(loaded: Stage, clerk: Clerk) -> None:
    """A round goes through while every row of the saga is locked, and takes no lock but that of a reader."""
    tables = ("intent", "intent_attempt", "tx_history", "account_balance", "resolution", "outbox_event")
    await loaded.load([spoilt(clerk, a(BreakKind.AMOUNT_MISMATCH))[0]])
    async with loaded.pool.acquire() as connection, connection.transaction():
        for table in tables:
            await connection.fetch(f"SELECT FROM pm.{table} FOR UPDATE")
        async with asyncio.timeout(20):
            # Nothing is passed that this transaction may still write, hence everything is walked regardless of it.
            for walk in by(loaded).walks:
                assert (await walk.step({}, Horizon(datetime.now(UTC), time.time_ns()))).walked > 0
            found_again = await by(loaded).round()
        assert found_again is not None
        strong = await loaded.pool.fetch(
            "SELECT l.mode, c.relname FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation"
            " WHERE l.pid <> $1 AND c.relname = ANY ($2) AND l.mode <> 'AccessShareLock'",
            await connection.fetchval("SELECT pg_backend_pid()"),
            list(tables),
        )
        assert strong == []
