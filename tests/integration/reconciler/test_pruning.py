"""What goes out to PSPs and comes back is kept for the reconciliation window, and longer where it is still needed."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from structlog.testing import capture_logs

from reconciler import upkeep
from reconciler.main import Sweeps
from reconciler.settings import ReconcilerSettings
from reconciler.upkeep import prune_limits, prune_outbox, prune_results, prune_velocity
from shared.db.pool import Pool
from shared.ledger.postgres import PostgresLedger

_INTENT = (
    "INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, amount_minor, currency, state,"
    " version, operation, created_at, error_code)"
    " VALUES (gen_random_uuid(), 'shop', $1, 'TEST_PAYOUT', 100, 'THB', $1, 1, '{}', now(), 'x') RETURNING id"
)
_JOB = (
    "INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body, sent_at)"
    " VALUES (coalesce($1, gen_random_uuid()), 1, 'submit', 'tp', $2, now() - $3::interval)"
)
_RESULT = (
    "INSERT INTO pm.psp_result (psp, entry_id, intent_id, source, outcome, body, received_at)"
    " VALUES ('tp', gen_random_uuid()::text, $1, 'job', 'PAID', $2, now() - $3::interval)"
)
OLD = timedelta(days=61)


async def kept(pool: Pool, table: str) -> list[str]:
    """The names that are left."""
    rows = await pool.fetch(f"SELECT body #>> '{{}}' AS name FROM pm.{table} ORDER BY name")
    return [row["name"] for row in rows]


@pytest.mark.parametrize(
    ("table", "insert", "prune"), [("outbox_event", _JOB, prune_outbox), ("psp_result", _RESULT, prune_results)]
)
async def test_the_window_is_kept_and_open_intents_keep_all_that_they_are_asked_by(
    pool: Pool, table: str, insert: str, prune: Callable[..., Awaitable[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A doubt may outlive any window; pages smaller than the backlog leave nothing behind."""
    monkeypatch.setattr(upkeep, "_PRUNE_PAGE", 2)
    for state in ("AUTHORIZED", "IN_DOUBT", "SETTLED", "FAILED"):
        await pool.execute(insert, await pool.fetchval(_INTENT, state), f'"{state}"', OLD)
    for number in range(3):
        await pool.execute(insert, None, f'"stray {number}"', OLD)
    await pool.execute(insert, None, '"young"', timedelta(days=59))
    assert await prune(pool, window_days=60) == 5
    assert await kept(pool, table) == ["AUTHORIZED", "IN_DOUBT", "young"]


async def test_allowances_of_past_periods_go_unless_something_of_them_is_reserved(pool: Pool) -> None:
    """An open intent will give it back, or use it up, whenever it ends."""
    await pool.executemany(
        "INSERT INTO pm.limit_usage (account_id, name, used, reserved, resets_at)"
        " VALUES (gen_random_uuid(), $1, 1, $2, now() - $3::interval)",
        [("old", 0, OLD), ("held", 5, OLD), ("young", 0, timedelta(days=59))],
    )
    assert await prune_limits(pool, window_days=60) == 1
    rows = await pool.fetch("SELECT name FROM pm.limit_usage ORDER BY name")
    assert [row["name"] for row in rows] == ["held", "young"]


async def test_attempts_are_kept_for_as_long_as_a_rule_may_count_them(pool: Pool) -> None:
    """Thirty days at the least, however short the window is."""
    await pool.executemany(
        "INSERT INTO pm.velocity_event (rule, subject, intent_id, at, amount_minor)"
        " VALUES ($1, 'user:ann', gen_random_uuid(), now() - $2::interval, 1)",
        [("old", timedelta(days=31)), ("young", timedelta(days=29))],
    )
    assert await prune_velocity(pool, window_days=7) == 1
    assert await pool.fetchval("SELECT rule FROM pm.velocity_event") == "young"


async def test_a_job_that_was_never_sent_is_never_pruned(pool: Pool) -> None:
    """However old it is."""
    await pool.execute(_JOB, None, '"unsent"', OLD)
    await pool.execute("UPDATE pm.outbox_event SET sent_at = NULL, created_at = now() - interval '1 year'")
    assert await prune_outbox(pool, window_days=60) == 0
    assert await kept(pool, "outbox_event") == ["unsent"]


async def test_the_upkeep_round_prunes_and_forgets_whoever_is_gone(
    pool: Pool, database: str, redis: Redis, redis_url: str
) -> None:
    """With the window of the settings, and at PSPs too."""
    await pool.execute("INSERT INTO pm.mesh (id, ledger_kind, partitions) VALUES (gen_random_uuid(), 'postgres', 1)")
    await pool.execute("INSERT INTO pm.psp (psp, manifest) VALUES ('tp', '{}')")
    for name, age in (("old", 31), ("young", 29)):
        await pool.execute(_JOB, None, f'"{name}"', timedelta(days=age))
        await pool.execute(_RESULT, None, f'"{name}"', timedelta(days=age))
    settings = ReconcilerSettings(redis_url=redis_url, database_url=database, window_days=30)
    ledger = PostgresLedger(pool)
    sweeps = Sweeps(settings=settings, pool=pool, redis=redis, ledger=ledger, registry=CollectorRegistry())
    with capture_logs() as logs:
        await sweeps.upkeep()
    await ledger.close()
    (line,) = logs
    assert (line["jobs_pruned"], line["results_pruned"], line["consumers_retired"]) == (1, 1, 0)
    assert await kept(pool, "outbox_event") == await kept(pool, "psp_result") == ["young"]
