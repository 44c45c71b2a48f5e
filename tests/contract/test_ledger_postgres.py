"""What only the stand-in has to prove: several processes at once, durability, and what it refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest
import tigerbeetle as tb

from shared.db.pool import Pool, open_pool
from shared.errors import BadInput, OutcomeUnknown, PaymeshError, Transient
from shared.ledger.open import open_ledger
from shared.ledger.postgres import PostgresLedger
from tests.contract.books import CREATED, A, Books, F, linked, values
from tests.waiting import until


@asynccontextmanager
async def _another(database: str) -> AsyncIterator[PostgresLedger]:
    """A ledger as another process has it: with connections of its own."""
    async with await open_pool(database, min_size=1, max_size=2, application_name="other") as pool:
        ledger = PostgresLedger(pool)
        yield ledger
        await ledger.close()


async def test_processes_that_write_at_once_keep_one_total_order(
    database: str, postgres_ledger: PostgresLedger
) -> None:
    """Four of them empty one wallet: what it held is spent once, and no two events share a moment."""
    books = Books(postgres_ledger)
    await books.open(books.account(1, flags=A.DEBITS_MUST_NOT_EXCEED_CREDITS), books.account(2), books.account(3))
    await books.sure(books.transfer(1, 3, 1, 1000))
    async with AsyncExitStack() as stack:
        ledgers = [await stack.enter_async_context(_another(database)) for _ in range(4)]

        async def spend(ledger: PostgresLedger, first: int) -> list[tb.CreateTransferResult]:
            results = []
            for number in range(first, first + 20):
                chain = linked([books.transfer(2 * number, 1, 2, 20), books.transfer(2 * number + 1, 2, 3, 20)])
                results += await ledger.create_transfers(chain)
            return results

        answers = await asyncio.gather(*(spend(ledger, 100 * place) for place, ledger in enumerate(ledgers, 1)))
    results = [result for answer in answers for result in answer]
    assert values(results).count(CREATED) == 100
    assert await books.balance(1) == (0, 1000, 0, 1000)
    assert await books.balance(2) == (0, 1000, 0, 1000)
    assert len({result.timestamp for result in results}) == len(results)


async def test_two_processes_that_send_the_same_event_agree(database: str, postgres_ledger: PostgresLedger) -> None:
    """One makes it, the other finds it, at the same moment."""
    books = Books(postgres_ledger)
    await books.open(books.account(1), books.account(2))
    async with _another(database) as other:
        for number in range(10, 30):
            event = [books.transfer(number)]
            both = await asyncio.gather(postgres_ledger.create_transfers(event), other.create_transfers(event))
            assert sorted(answer[0].status.name for answer in both) == ["CREATED", "EXISTS"]
            assert both[0][0].timestamp == both[1][0].timestamp
    assert await books.balance(1) == (0, 200, 0, 0)


async def test_a_clock_that_goes_back_does_not_take_the_ledger_along(
    postgres_ledger: PostgresLedger, pool: Pool
) -> None:
    """Timestamps go on from the last one given out."""
    books = Books(postgres_ledger)
    await books.open(books.account(1), books.account(2))
    ahead = (1 << 62) + 5
    await pool.execute("UPDATE ledger.clock SET last_ns = $1", ahead)
    results = await postgres_ledger.create_transfers([books.transfer(number) for number in (10, 11)])
    assert [result.timestamp for result in results] == [ahead + 1, ahead + 2]


async def test_pending_time_outs_are_refused_before_anything_is_sent(postgres_ledger: PostgresLedger) -> None:
    """No hold of ours expires by itself, and this ledger could not make one."""
    books = Books(postgres_ledger)
    await books.open(books.account(1), books.account(2))
    with pytest.raises(BadInput, match="time-outs") as refused:
        await books.send(books.hold(10), replace(books.hold(11), timeout=5))
    assert refused.value.code == "timeout_refused"
    assert await books.found(10, 11) == []


async def test_a_stale_snapshot_is_refused(database: str, postgres_ledger: PostgresLedger) -> None:
    """A transaction that began before it got its turn would judge yesterday's balances."""
    books = Books(postgres_ledger)
    async with await open_pool(database, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        await connection.execute("SET default_transaction_isolation = 'repeatable read'")
        with pytest.raises(asyncpg.RaiseError, match="read committed"):
            await connection.fetch("SELECT ledger.take_turn(1)")
    await books.open(books.account(1))


async def test_a_lost_connection_leaves_the_outcome_unknown_and_the_repetition_tells(
    database: str, postgres_ledger: PostgresLedger
) -> None:
    """Killed while it waited for its turn; sent again it is done once."""
    books = Books(postgres_ledger)
    await books.open(books.account(1), books.account(2))
    async with await open_pool(database, min_size=1, max_size=1) as blocking, blocking.acquire() as turn:
        await turn.execute("BEGIN")
        await turn.execute("SELECT pg_advisory_xact_lock(hashtext('ledger'))")
        sent = asyncio.create_task(books.send(books.transfer(10)))
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
        pid = await until(lambda: turn.fetchval(waiting), "the call waits for its turn")
        await turn.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(OutcomeUnknown):
            await sent
        await turn.execute("ROLLBACK")
    assert await books.send(books.transfer(10), books.transfer(10)) == [CREATED, tb.CreateTransferStatus.EXISTS]


async def test_a_call_that_waits_too_long_is_unknown_and_carries_on(
    database: str, postgres_ledger: PostgresLedger
) -> None:
    """Its caller is told in time; the ledger does it when its turn comes."""
    books = Books(postgres_ledger)
    await books.open(books.account(1), books.account(2))
    async with await open_pool(database, min_size=2, max_size=4) as pool:
        impatient = PostgresLedger(pool, timeout_s=0.2)
        async with pool.acquire() as turn:
            await turn.execute("BEGIN")
            await turn.execute("SELECT pg_advisory_xact_lock(hashtext('ledger'))")
            with pytest.raises(OutcomeUnknown):
                await impatient.create_transfers([books.transfer(10)])
            await turn.execute("ROLLBACK")
        await until(lambda: books.found(10), "the transfer is made")
        await impatient.close()


@pytest.mark.usefixtures("postgres_ledger")
async def test_a_closed_ledger_refuses_and_a_lost_server_is_an_outage(database: str) -> None:
    """Neither is ever a decline."""
    async with _another(database) as other:
        await other.close()
        await other.close()
        with pytest.raises(Transient):
            await other.lookup_accounts([1])
        with pytest.raises(Transient):
            await other.create_transfers([tb.Transfer(id=1)])
    pool = await open_pool(database, min_size=1, max_size=1)
    orphan = PostgresLedger(pool)
    await pool.close()
    with pytest.raises(PaymeshError) as outage:
        await orphan.lookup_accounts([1])
    assert isinstance(outage.value, Transient | OutcomeUnknown)


async def test_without_addresses_the_ledger_is_in_postgres(pool: Pool) -> None:
    """Which ledger it is follows from the settings and from nothing else."""
    opened = open_ledger(pool=pool, tigerbeetle_addresses=None)
    assert isinstance(opened, PostgresLedger)
    await opened.close()


async def test_a_batch_of_thousands_is_judged_in_a_moment(postgres_ledger: PostgresLedger) -> None:
    """Development needs a few thousand transfers a second; nothing here grows with the square of the batch."""
    books = Books(postgres_ledger)
    await books.open(*(books.account(number) for number in range(1, 101)))
    transfers = [
        books.transfer(1000 + n, 1 + n % 100, 1 + (n + 1) % 100, 1, flags=F.NONE if n % 2 else F.LINKED)
        for n in range(8000)
    ]
    began = asyncio.get_running_loop().time()
    await books.sure(*transfers)
    assert asyncio.get_running_loop().time() - began < 8000 / 1000
