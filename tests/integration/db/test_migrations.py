"""Migrations against a real PostgreSQL."""

from redis.asyncio import Redis

from shared.db.pool import Pool


async def test_a_fresh_database_has_been_through_every_migration(pool: Pool, redis: Redis) -> None:
    """The fixture's clone carries the register."""
    assert await pool.fetchval("SELECT count(*) FROM public.pm_migrations") >= 1
    assert await redis.ping()
