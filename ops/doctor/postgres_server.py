"""PostgreSQL as a server: does a commit survive, is it new enough, and has the schema come as far as this release."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import asyncpg

from ops.doctor.findings import Finding, critical, note
from shared.db.failures import database
from shared.db.migrations import TRUNK, Migration, read_migrations
from shared.db.pool import Pool
from shared.ledger.postgres import MIGRATIONS as LEDGER_MIGRATIONS

SERVER: Final = "PostgreSQL"
_PSQL: Final = 'psql "$DATABASE_URL" -c'
_OLDEST: Final = 170_000
_DURABLE: Final = frozenset({"on", "remote_apply"})
_NAMES: Final = (
    "fsync", "synchronous_commit", "full_page_writes", "server_version_num", "server_version",
    "synchronous_standby_names",
)  # fmt: skip


async def look_at_postgres(pool: Pool, *, ledger_kind: str) -> list[Finding]:
    """Look at settings, role and migrations.

    Raises:
        Transient, OutcomeUnknown: it is out of reach.
    """
    with database():
        rows = await pool.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY ($1)", list(_NAMES))
        standby = await pool.fetchval("SELECT pg_is_in_recovery()")
        applied = await _applied(pool)
    found = list(setting_faults({row["name"]: row["setting"] for row in rows}, standby=standby))
    for directory in (TRUNK, LEDGER_MIGRATIONS) if ledger_kind == "postgres" else (TRUNK,):
        found += migration_faults(directory.name, applied.get(directory.name, []), read_migrations(directory))
    return found


def setting_faults(settings: Mapping[str, str], *, standby: bool) -> Iterator[Finding]:
    """Judge the server's settings as a session of ours sees them."""
    if int(settings["server_version_num"]) < _OLDEST:
        detail = f"version {settings['server_version']} lacks transaction_timeout, which ends paused processes' locks"
        yield critical("postgres.version", SERVER, detail, "install PostgreSQL 17 or later, and pg_upgrade")
    if standby:
        detail = "DATABASE_URL names a standby: nothing can be written there"
        yield critical("postgres.role", SERVER, detail, "point DATABASE_URL at the primary")
    for name in ("fsync", "full_page_writes"):
        if settings.get(name, "on") != "on":
            detail = f"is {settings[name]}: a power cut may leave nothing of the database"
            yield critical(f"postgres.{name}", name, detail, f"{_set(name)} {_PSQL} 'SELECT pg_reload_conf()'")
    commit = settings["synchronous_commit"]
    if commit not in _DURABLE:
        detail = f"is {commit}: a plan may be lost after it was carried out, and a payment made twice"
        reset = f"""{_PSQL} "ALTER DATABASE <name> RESET synchronous_commit" ;"""
        mend = f"{reset} {_set('synchronous_commit')} {_PSQL} 'SELECT pg_reload_conf()'"
        yield critical("postgres.synchronous_commit", "synchronous_commit", detail, mend)
    if not settings.get("synchronous_standby_names"):
        yield note("postgres.standby", SERVER, "no synchronous standby: what only this machine has is lost with it")


def migration_faults(series: str, applied: Sequence[tuple[str, str]], files: Sequence[Migration]) -> Iterator[Finding]:
    """Compare what a database has been through, as (name, SHA-256), with what this release brings."""
    by_name = {migration.name: migration for migration in files}
    for name, sha256 in applied:
        known = by_name.get(name)
        if known is None:
            detail = f"{name} was applied and is not part of this release, which is older than the database"
            yield critical("postgres.migrations", series, detail, "install the release that the database has seen")
        elif known.sha256 != sha256:
            detail = f"{name} was changed after it was applied; restore it and write a new migration"
            yield critical("postgres.migrations", series, detail, f"git checkout -- {name}")
    pending = [name for name in by_name if name not in {name for name, _ in applied}]
    if pending:
        detail = f"{len(pending)} are pending: {', '.join(pending)}"
        yield critical("postgres.migrations", series, detail, "paymesh migrate")


async def _applied(pool: Pool) -> dict[str, list[tuple[str, str]]]:
    try:
        rows = await pool.fetch("SELECT series, name, sha256 FROM public.pm_migrations ORDER BY series, name")
    except asyncpg.UndefinedTableError:
        return {}
    applied: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        applied.setdefault(row["series"], []).append((row["name"], row["sha256"]))
    return applied


def _set(name: str) -> str:
    return f"{_PSQL} 'ALTER SYSTEM SET {name} = on' &&"
