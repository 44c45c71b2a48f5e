"""The pool, and what each failure of PostgreSQL says about the world."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.db.failures import database
from shared.db.pool import Pool, close_pool, open_pool
from shared.errors import OutcomeUnknown, Transient
from tests.waiting import until


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The test's database; its usual name is the name of what is tested here."""
    return str(request.getfixturevalue("database"))


async def test_uuids_go_in_and_come_out_as_uuids(pool: Pool) -> None:
    """Alone and in arrays, equal and hashable as Python's own."""
    one, other = uuid4(), uuid4()
    row = await pool.fetchrow("SELECT $1::uuid AS one, $2::uuid[] AS many", one, [one, other])
    assert row is not None
    assert isinstance(row["one"], UUID)
    assert row["one"] == one
    assert {row["one"], *row["many"]} == {one, other}
    assert row["one"].int == one.int


async def test_json_stays_text(pool: Pool) -> None:
    """Parsing a stored plan and writing it again would not be byte for byte."""
    assert await pool.fetchval("SELECT '{\"a\":  1}'::json") == '{"a":  1}'
    assert await pool.fetchval("SELECT '{\"a\": 1}'::jsonb") == '{"a": 1}'


async def test_a_connection_says_whose_it_is_and_keeps_utc(database_url: str) -> None:
    """For whoever looks into pg_stat_activity."""
    async with await open_pool(database_url, application_name="paymesh-orchestrator") as opened:
        assert await opened.fetchval("SHOW application_name") == "paymesh-orchestrator"
        assert await opened.fetchval("SHOW timezone") == "UTC"


async def test_a_paused_process_cannot_keep_a_transaction_open(database_url: str) -> None:
    """Neither idle in it, nor between the messages of one statement, where a session does not count as idle."""
    async with await open_pool(database_url, statement_timeout_s=5) as opened:
        assert await opened.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
        assert await opened.fetchval("SHOW transaction_timeout") == "15s"


@pytest.mark.parametrize("limit", ["idle_in_transaction_session_timeout", "transaction_timeout"])
async def test_a_session_ended_in_its_transaction_is_an_outage(pool: Pool, limit: str) -> None:
    """Whoever wakes up and finds its session ended does its work again; it is no fault of the work."""

    async def wake_late() -> None:
        with database():
            async with pool.acquire() as connection:
                # Before the transaction: a limit that runs already is not shortened.
                await connection.execute(f"SET {limit} = '20ms'")
                async with connection.transaction():
                    await until(connection.is_closed, "the end of the session")
                    await connection.execute("SELECT 1")

    with pytest.raises((Transient, OutcomeUnknown)):
        await wake_late()


async def test_a_pool_is_closed_in_time_though_a_statement_does_not_listen(database_url: str, pool: Pool) -> None:
    """Who ends because the database hangs must get to its end, whatever the server makes of a cancellation."""
    opened = await open_pool(database_url, application_name="deaf")
    deaf = "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(30); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'deaf' AND wait_event = 'PgSleep'"
    statement = asyncio.create_task(opened.execute(deaf))
    await until(lambda: pool.fetchval(asleep), "a statement that hangs")
    statement.cancel()
    async with asyncio.timeout(5):
        await close_pool(opened, patience_s=0.2)
    await asyncio.wait([statement], timeout=5)
    assert statement.done()
    await pool.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'deaf'")


async def test_no_server_means_nothing_happened() -> None:
    """Refused on a port, missing behind a socket."""
    for url in ("postgresql://nobody@127.0.0.1:1/nothing", "postgresql://nobody@/nothing?host=/nonexistent"):
        with pytest.raises(Transient), database():
            await asyncpg.connect(url, timeout=5)


async def test_a_deadlock_means_nothing_happened(pool: Pool) -> None:
    """The server has rolled one of the two back."""
    await pool.execute("CREATE TABLE locked AS SELECT n FROM generate_series(1, 2) AS n")
    both_hold = asyncio.Barrier(2)

    async def lock(*order: int) -> None:
        with database():
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SET LOCAL deadlock_timeout = '10ms'")
                await connection.execute("SELECT 1 FROM locked WHERE n = $1 FOR UPDATE", order[0])
                await both_hold.wait()
                await connection.execute("SELECT 1 FROM locked WHERE n = $1 FOR UPDATE", order[1])

    outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [Transient]


async def test_a_serialization_failure_means_nothing_happened(pool: Pool) -> None:
    """Another transaction was first."""
    await pool.execute("CREATE TABLE counted AS SELECT 0 AS n")
    async with pool.acquire() as slow:
        late = slow.transaction(isolation="repeatable_read")
        await late.start()
        await slow.fetch("SELECT n FROM counted")
        await pool.execute("UPDATE counted SET n = 1")
        with pytest.raises(Transient), database():
            await slow.execute("UPDATE counted SET n = 2")
        await late.rollback()


async def test_a_standby_that_takes_no_writes_means_nothing_happened(pool: Pool) -> None:
    """After a failover our address may still point at the old primary."""
    with pytest.raises(Transient), database():
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute("CREATE TABLE refused ()")


async def test_a_closed_pool_or_connection_means_nothing_happened(pool: Pool, database_url: str) -> None:
    """Nothing was sent."""
    connection = await asyncpg.connect(database_url)
    await connection.close()
    with pytest.raises(Transient), database():
        await connection.execute("SELECT 1")
    opened = await open_pool(database_url)
    await opened.close()
    with pytest.raises(Transient), database():
        await opened.execute("SELECT 1")
    assert await pool.fetchval("SELECT 1") == 1


async def test_a_connection_lost_under_a_statement_leaves_the_outcome_open(pool: Pool) -> None:
    """It may have committed before the answer was lost."""

    async def sleeper() -> None:
        with database():
            await pool.execute("SELECT pg_sleep(600)")

    async def sleeping() -> Any:
        return await pool.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND datname = current_database()"
        )

    task = asyncio.create_task(sleeper())
    await pool.execute("SELECT pg_terminate_backend($1)", await until(sleeping, "a sleeping backend"))
    with pytest.raises(OutcomeUnknown):
        await task


async def test_a_connection_lost_in_a_transaction_leaves_the_outcome_open(pool: Pool) -> None:
    """The roll-back fails on the closed connection, and must not make it look as if nothing was sent."""

    async def suicide() -> None:
        with database():
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(OutcomeUnknown):
        await suicide()


async def test_a_connection_lost_while_it_was_held_idle_means_nothing_happened(pool: Pool) -> None:
    """The pool takes such a connection back by itself; whoever holds it, as a lock is held, finds it taken."""
    async with pool.acquire() as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        await pool.execute("SELECT pg_terminate_backend($1)", pid)

        async def taken_back() -> bool:
            try:
                return connection.is_closed()
            except asyncpg.InterfaceError:
                return True

        await until(taken_back, "the end of the connection")
        with pytest.raises(Transient), database():
            connection.is_closed()
        with pytest.raises(Transient), database():
            await connection.execute("SELECT 1")


async def test_a_server_that_says_goodbye_between_two_messages_leaves_the_outcome_open() -> None:
    """Seen when PostgreSQL was killed: its last words came between the driver's preparing and its executing."""
    with pytest.raises(OutcomeUnknown), database():
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")


async def test_a_statement_out_of_time_leaves_the_outcome_open(database_url: str) -> None:
    """The client gave up; the server may have gone on to commit."""
    async with await open_pool(database_url, statement_timeout_s=0.05) as opened:
        with pytest.raises(OutcomeUnknown), database():
            await opened.execute("SELECT pg_sleep(600)")


async def test_a_statement_cancelled_by_the_server_means_nothing_happened(pool: Pool) -> None:
    """The server says so itself."""
    async with pool.acquire() as connection:
        await connection.execute("SET statement_timeout = '10ms'")
        with pytest.raises(Transient), database():
            await connection.execute("SELECT pg_sleep(600)")


async def test_a_fault_of_ours_passes_through_untouched(pool: Pool) -> None:
    """Retrying a wrong statement never mends it."""
    with pytest.raises(asyncpg.UndefinedTableError), database():
        await pool.execute("SELECT * FROM nowhere")
    with pytest.raises(asyncpg.InterfaceError), database():
        await pool.execute("SELECT $1::int", 1, 2)
    with pytest.raises(KeyError), database():
        raise KeyError
