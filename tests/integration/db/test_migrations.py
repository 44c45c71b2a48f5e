"""Migrations on a real PostgreSQL: each file once, whole, and never changed afterwards."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from shared.db.migrations import TRUNK, MigrationRefused, migrate, read_migrations
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from tests.waiting import until


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A series of two migrations, of which the second is slow enough for others to come along."""
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "0001_first.sql").write_text("CREATE TABLE steps (n integer); INSERT INTO steps VALUES (1);")
    (folder / "0002_second.sql").write_text("SELECT pg_sleep(0.05); INSERT INTO steps VALUES (2);")
    return folder


@pytest_asyncio.fixture
async def steps(pool: Pool) -> Pool:
    """The pool to look at what the series has done."""
    return pool


async def test_the_trunk_is_applied_from_scratch_and_only_once(database: str, pool: Pool) -> None:
    """The template has been through all of it; applying it again does nothing."""
    assert await migrate(database) == []
    names = await pool.fetch("SELECT name FROM public.pm_migrations WHERE series = 'migrations' ORDER BY name")
    assert [row["name"] for row in names] == [migration.name for migration in read_migrations(TRUNK)]


async def test_files_are_applied_in_order_and_reported(database: str, series: Path, steps: Pool) -> None:
    """The caller prints what this run has done."""
    assert await migrate(database, directory=series) == ["0001_first.sql", "0002_second.sql"]
    assert await steps.fetchval("SELECT array_agg(n) FROM steps") == [1, 2]


async def test_concurrent_runners_apply_each_file_once(database: str, series: Path, steps: Pool) -> None:
    """Every pod of a deployment migrates at its start."""
    reports = await asyncio.gather(*(migrate(database, directory=series) for _ in range(6)))
    assert sorted(name for report in reports for name in report) == ["0001_first.sql", "0002_second.sql"]
    assert await steps.fetchval("SELECT array_agg(n) FROM steps") == [1, 2]


async def test_a_new_file_is_applied_on_top(database: str, series: Path, steps: Pool) -> None:
    """The next release."""
    await migrate(database, directory=series)
    (series / "0003_third.sql").write_text("INSERT INTO steps VALUES (3);")
    assert await migrate(database, directory=series) == ["0003_third.sql"]
    assert await steps.fetchval("SELECT array_agg(n) FROM steps") == [1, 2, 3]


async def test_a_changed_file_is_refused_before_anything_runs(database: str, series: Path, steps: Pool) -> None:
    """Two databases that carry the same names must have the same schema."""
    await migrate(database, directory=series)
    (series / "0001_first.sql").write_text("CREATE TABLE steps (n bigint);")
    (series / "0003_third.sql").write_text("INSERT INTO steps VALUES (3);")
    with pytest.raises(MigrationRefused, match=r"0001_first\.sql was changed"):
        await migrate(database, directory=series)
    assert await steps.fetchval("SELECT array_agg(n) FROM steps") == [1, 2]


async def test_a_database_of_a_newer_release_is_refused(database: str, series: Path) -> None:
    """Rolling back the program does not roll back the schema."""
    await migrate(database, directory=series)
    (series / "0002_second.sql").unlink()
    with pytest.raises(MigrationRefused, match=r"been through 0002_second\.sql.*newer release"):
        await migrate(database, directory=series)


async def test_a_renamed_file_is_refused(database: str, series: Path) -> None:
    """It would run a second time under its new name."""
    await migrate(database, directory=series)
    (series / "0001_first.sql").rename(series / "0001_begin.sql")
    with pytest.raises(MigrationRefused, match=r"0001_first\.sql was applied here and is missing"):
        await migrate(database, directory=series)


@pytest.mark.parametrize("name", ["third.sql", "0004_third.sql", "0002_another.sql", "0003-third.sql", "3_third.sql"])
async def test_numbers_run_without_gap_or_twin(database: str, series: Path, name: str) -> None:
    """Two branches that both add number 3 are found when they meet, not in production."""
    (series / name).write_text("SELECT 1")
    with pytest.raises(MigrationRefused, match="should be number"):
        await migrate(database, directory=series)


async def test_an_empty_folder_is_no_series(database: str, tmp_path: Path) -> None:
    """A wheel packed without its SQL files must not look up to date."""
    with pytest.raises(MigrationRefused, match="no migrations"):
        await migrate(database, directory=tmp_path)


async def test_a_failing_file_leaves_nothing_of_itself(database: str, series: Path, steps: Pool) -> None:
    """Those before it stay; mended, it is the first to run."""
    broken = "INSERT INTO steps VALUES (3); INSERT INTO nowhere VALUES (1);"
    (series / "0003_third.sql").write_text(broken)
    with pytest.raises(asyncpg.UndefinedTableError):
        await migrate(database, directory=series)
    assert await steps.fetchval("SELECT array_agg(n) FROM steps") == [1, 2]
    (series / "0003_third.sql").write_text("INSERT INTO steps VALUES (3);")
    assert await migrate(database, directory=series) == ["0003_third.sql"]


async def test_a_file_that_cannot_be_recorded_has_not_happened(database: str, series: Path, steps: Pool) -> None:
    """File and record are one transaction: a crash between them must not make the file run twice."""
    unrecordable = "INSERT INTO steps VALUES (3); ALTER TABLE pm_migrations ADD CHECK (name <> '0003_third.sql');"
    (series / "0003_third.sql").write_text(unrecordable)
    with pytest.raises(asyncpg.CheckViolationError):
        await migrate(database, directory=series)
    assert await steps.fetchval("SELECT array_agg(n) FROM steps") == [1, 2]


async def test_a_runner_that_dies_lets_the_next_one_through(database: str, series: Path, pool: Pool) -> None:
    """The lock ends with its connection."""
    (series / "0003_third.sql").write_text("SELECT pg_sleep(600);")
    doomed = asyncio.create_task(migrate(database, directory=series))

    async def sleeping() -> Any:
        return await pool.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%' AND state = 'active'"
        )

    await pool.execute("SELECT pg_terminate_backend($1)", await until(sleeping, "the third migration"))
    with pytest.raises(OutcomeUnknown):
        await doomed
    (series / "0003_third.sql").write_text("INSERT INTO steps VALUES (3);")
    assert await migrate(database, directory=series) == ["0003_third.sql"]


async def test_two_series_do_not_know_each_other(database: str, series: Path, tmp_path: Path) -> None:
    """The ledger in PostgreSQL has a schema of its own."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "0001_first.sql").write_text("CREATE TABLE other (n integer);")
    await migrate(database, directory=series)
    assert await migrate(database, directory=other) == ["0001_first.sql"]
    assert await migrate(database, directory=series) == []


async def test_a_connection_may_be_given_instead_of_an_address(database: str, series: Path) -> None:
    """It stays open and unlocked."""
    connection = await asyncpg.connect(database)
    assert len(await migrate(connection, directory=series)) == 2
    assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    await connection.close()
    assert await migrate(database, directory=series) == []


async def test_a_server_out_of_reach_is_transient(series: Path) -> None:
    """Started before its database, a process may try again."""
    with pytest.raises(Transient):
        await migrate("postgresql://nobody@127.0.0.1:1/nothing", directory=series)
