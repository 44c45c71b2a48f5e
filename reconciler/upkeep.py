"""Upkeep of the database: partitions ahead of time, idempotency keys pruned behind it."""

from functools import cache
from importlib.resources import files
from typing import Final

from shared.db.failures import database
from shared.db.pool import Pool

MONTHS_AHEAD: Final = 4
"""This month and three more: a month's turn never waits for anybody."""

_PRUNE_PAGE: Final = 10_000


@cache
def _prune_sql() -> str:
    return files("reconciler").joinpath("sql/prune_keys.sql").read_text()


async def create_partitions(pool: Pool) -> int:
    """Create the monthly partitions that are missing; return how many were."""
    with database():
        created: int = await pool.fetchval("SELECT pm.ensure_partitions(now(), $1)", MONTHS_AHEAD)
    return created


async def prune_keys(pool: Pool, *, retention_days: int) -> int:
    """Delete idempotency keys older than the retention, a page at a time; return how many."""
    pruned = 0
    while True:
        with database():
            status = await pool.execute(_prune_sql(), retention_days, _PRUNE_PAGE)
        deleted = int(status.rpartition(" ")[2])
        pruned += deleted
        if deleted < _PRUNE_PAGE:
            return pruned
