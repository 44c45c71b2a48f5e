"""Upkeep of the database: partitions ahead of time; keys, sent jobs and PSPs' results pruned behind it.

This module must never delete what an open intent may still be asked about by.
"""

from typing import Final

from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool

MONTHS_AHEAD: Final = 4
"""This month and three more: a month's turn never waits for anybody."""

VELOCITY_DAYS: Final = 30
"""The longest window of a velocity rule."""

_PRUNE_PAGE: Final = 10_000


async def create_partitions(pool: Pool) -> int:
    """Create the monthly partitions that are missing; return how many were."""
    with database():
        created: int = await pool.fetchval("SELECT pm.ensure_partitions(now(), $1)", MONTHS_AHEAD)
    return created


async def prune_keys(pool: Pool, *, retention_days: int) -> int:
    """Delete idempotency keys older than the retention, a page at a time; return how many."""
    return await _prune(pool, "prune_keys", retention_days)


async def prune_outbox(pool: Pool, *, window_days: int) -> int:
    """Delete jobs that were sent before the reconciliation window, open intents' excepted; return how many."""
    return await _prune(pool, "prune_outbox", window_days)


async def prune_results(pool: Pool, *, window_days: int) -> int:
    """Delete what was heard of PSPs before the reconciliation window, open intents' excepted; return how many."""
    return await _prune(pool, "prune_results", window_days)


async def prune_velocity(pool: Pool, *, window_days: int) -> int:
    """Delete what velocity rules counted before the longest window that a rule may have; return how many."""
    return await _prune(pool, "prune_velocity", max(window_days, VELOCITY_DAYS))


async def prune_limits(pool: Pool, *, window_days: int) -> int:
    """Delete allowances of periods that ended before the reconciliation window; return how many."""
    return await _prune(pool, "prune_limits", window_days)


async def prune_lines(pool: Pool, *, window_days: int) -> int:
    """Delete settled lines of files read before the reconciliation window; return how many."""
    return await _prune(pool, "prune_lines", window_days)


async def _prune(pool: Pool, name: str, days: int) -> int:
    pruned = 0
    while True:
        with database():
            status = await pool.execute(statement(name), days, _PRUNE_PAGE)
        deleted = int(status.rpartition(" ")[2])
        pruned += deleted
        if deleted < _PRUNE_PAGE:
            return pruned
