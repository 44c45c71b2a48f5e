"""The migration runner: numbered SQL files, each applied once, in order, and never changed afterwards.

A folder of ``NNNN_name.sql`` files is one series. Concurrent runners queue on an advisory lock; each file runs in a
transaction of its own together with the row that records it. Files that are part of history (another checksum,
missing, or squeezed in before the newest applied one) are refused before anything runs. This module must never
apply half a file.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from shared.db.failures import database
from shared.errors import Misconfigured

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

TRUNK: Final = Path(__file__).parent / "migrations"
_REGISTER: Final = Path(__file__).with_name("register.sql")
_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_LOCK: Final = 0x7061796D657368  # "paymesh"
_CONNECT_TIMEOUT_S: Final = 10.0


class MigrationRefused(Misconfigured):
    """The migration files contradict what this database has been through."""

    code = "migration_refused"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `name` with its number in front, the SQL, and the SHA-256 of its bytes in hex."""

    name: str
    sql: str
    sha256: str


def read_migrations(directory: Path) -> tuple[Migration, ...]:
    """Read a series in the order of its numbers.

    Raises:
        MigrationRefused: a file's name has no number, or the numbers do not run 1, 2, 3 ….
    """
    found = []
    for number, path in enumerate(sorted(directory.glob("*.sql")), start=1):
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != number:
            raise MigrationRefused(f"{path.name} should be number {number:04d} of {directory.name}, as NNNN_name.sql")
        raw = path.read_bytes()
        found.append(Migration(path.name, raw.decode(), hashlib.sha256(raw).hexdigest()))
    if not found:
        raise MigrationRefused(f"no migrations in {directory}")
    return tuple(found)


async def migrate(target: str | Connection, *, directory: Path = TRUNK) -> list[str]:
    """Bring a database up to the newest file of a series; return the names applied by this call.

    Args:
        target: a database URL, or a connection that is in no transaction.
        directory: the series; its folder's name keeps it apart from other series in the same database.

    Raises:
        MigrationRefused: history has been rewritten.
        Transient, OutcomeUnknown: the server is out of reach; running again is safe.
    """
    files = read_migrations(directory)
    with database():
        if not isinstance(target, str):
            return await _locked(target, directory.name, files)
        connection: Connection = await asyncpg.connect(target, timeout=_CONNECT_TIMEOUT_S)
        try:
            return await _locked(connection, directory.name, files)
        finally:
            await connection.close()


async def _locked(connection: Connection, series: str, files: Sequence[Migration]) -> list[str]:
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        return await _apply(connection, series, files)
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)


async def _apply(connection: Connection, series: str, files: Sequence[Migration]) -> list[str]:
    await connection.execute(_REGISTER.read_text())
    rows = await connection.fetch(
        "SELECT name, sha256 FROM public.pm_migrations WHERE series = $1 ORDER BY name", series
    )
    _check_history([(row["name"], row["sha256"]) for row in rows], files)
    pending = files[len(rows) :]
    for migration in pending:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO public.pm_migrations (series, name, sha256) VALUES ($1, $2, $3)",
                series,
                migration.name,
                migration.sha256,
            )
    return [migration.name for migration in pending]


def _check_history(applied: Sequence[tuple[str, str]], files: Sequence[Migration]) -> None:
    """Refuse unless what was applied is exactly the beginning of what the files say."""
    if len(applied) > len(files):
        raise MigrationRefused(
            f"this database has been through {applied[-1][0]}, which this release does not have; run a newer release"
        )
    for (name, sha256), migration in zip(applied, files, strict=False):
        if name != migration.name:
            raise MigrationRefused(f"{name} was applied here and is missing from the files, or was renamed")
        if sha256 != migration.sha256:
            raise MigrationRefused(f"{name} was changed after it was applied; restore it and write a new migration")
