"""Monthly partitions: a missing month or a wild clock never fails a batch."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from shared.db.pool import Pool
from shared.ids import IntentId, Phase, intent_id, transfer_id

PARENTS = ("intent", "intent_attempt", "intent_event", "tx_history")

INSERT_INTENTS = """
INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, amount_minor, currency, state, version,
    operation, created_at)
SELECT id, 'shop', id::text, 'P2P_TRANSFER', 1, 'THB', 'VALIDATED', 1, '{}', now() FROM unnest($1::uuid[]) AS id
"""


def id_at(year: int, month: int, day: int, ms: int = 0) -> IntentId:
    """Return an intent id made that many milliseconds after midnight."""
    moment = datetime(year, month, day, tzinfo=UTC).timestamp()
    return intent_id(int(moment) * 1_000_000 + ms * 1000, 0, 1)


async def home_of(pool: Pool, intent: UUID) -> str:
    """Return the partition an intent lies in."""
    return str(await pool.fetchval("SELECT tableoid::regclass::text FROM pm.intent WHERE id = $1", intent))


async def children(pool: Pool, parent: str) -> set[str]:
    """Return the names of a table's partitions."""
    rows = await pool.fetch("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass", parent)
    return {row[0] for row in rows}


async def test_three_months_ahead_and_a_default_exist_from_the_start(pool: Pool) -> None:
    """Of every partitioned table."""
    for parent in PARENTS:
        assert len(await children(pool, f"pm.{parent}")) == 5
        assert f"pm.{parent}_default" in await children(pool, f"pm.{parent}")
    assert await pool.fetchval("SELECT pm.ensure_partitions(now(), 4)") == 0


async def test_an_id_from_the_far_future_does_not_fail_its_batch(pool: Pool) -> None:
    """A gateway's clock years ahead costs a row in DEFAULT, not the 255 others."""
    today = datetime.now(UTC)
    ordinary = [intent_id(int(today.timestamp() * 1e6) + number, 0, number) for number in range(3)]
    far = id_at(2190, 1, 1)
    await pool.execute(INSERT_INTENTS, [*ordinary, far])
    assert await home_of(pool, far) == "pm.intent_default"
    assert {await home_of(pool, intent) for intent in ordinary} == {f"pm.intent_{today:%Y_%m}"}


async def test_an_id_of_a_month_that_nobody_made_does_not_fail_its_batch(pool: Pool) -> None:
    """Neither a month past nor one that the maintenance missed."""
    past = id_at(2020, 2, 29)
    await pool.execute(INSERT_INTENTS, [past])
    assert await home_of(pool, past) == "pm.intent_default"


@pytest.mark.parametrize(
    ("zone", "moment"),
    [
        ("UTC", "2040-11-15T12:00Z"),
        ("Asia/Bangkok", "2040-11-30T23:30Z"),  # December there
        ("America/Los_Angeles", "2040-11-01T00:30Z"),  # October there
    ],
)
async def test_months_turn_at_the_right_millisecond_at_years_end(pool: Pool, zone: str, moment: str) -> None:
    """In UTC, whatever zone the session that makes them is in."""
    async with pool.acquire() as connection:
        await connection.execute(f"SET timezone = '{zone}'")
        made = await connection.fetchval(f"SELECT pm.ensure_partitions('{moment}', 4)")
        await connection.execute("RESET timezone")
    assert made == 4 * len(PARENTS)
    last, first = id_at(2040, 12, 31, 24 * 3_600_000 - 1), id_at(2041, 1, 1)
    begin, end = id_at(2040, 11, 1), id_at(2041, 2, 28, 24 * 3_600_000 - 1)
    await pool.execute(INSERT_INTENTS, [last, first, begin, end])
    assert await home_of(pool, last) == "pm.intent_2040_12"
    assert await home_of(pool, first) == "pm.intent_2041_01"
    assert await home_of(pool, begin) == "pm.intent_2040_11"
    assert await home_of(pool, end) == "pm.intent_2041_02"


async def test_making_partitions_again_makes_only_the_missing_ones(pool: Pool) -> None:
    """The reconciler calls it every day."""
    assert await pool.fetchval("SELECT pm.ensure_partitions('2040-11-30T23:59:59.999Z', 3)") == 12
    assert await pool.fetchval("SELECT pm.ensure_partitions('2040-11-01', 3)") == 0
    assert await pool.fetchval("SELECT pm.ensure_partitions('2040-12-31', 3)") == 4
    assert {name for name in await children(pool, "pm.intent") if "204" in name} == {
        "pm.intent_2040_11",
        "pm.intent_2040_12",
        "pm.intent_2041_01",
        "pm.intent_2041_02",
    }


async def test_several_makers_at_once_do_not_collide(pool: Pool) -> None:
    """Two reconcilers, or a reconciler and `paymesh migrate`."""
    made = await asyncio.gather(*(pool.fetchval("SELECT pm.ensure_partitions('2050-06-01', 4)") for _ in range(4)))
    assert sorted(made) == [0, 0, 0, 16]


async def test_a_leg_lies_in_the_month_of_its_intent(pool: Pool) -> None:
    """The transfer id begins with the intent's time, so that a month is dropped as a whole."""
    await pool.execute("SELECT pm.ensure_partitions('2040-11-15', 2)")
    intent = id_at(2040, 11, 30, 24 * 3_600_000 - 1)
    leg = UUID(int=transfer_id(intent, attempt=63, phase=Phase.SUSPENSE, leg=127))
    await pool.execute(
        "INSERT INTO pm.tx_history (account_id, transfer_id, intent_id, amount_minor, code, at) "
        "VALUES (gen_random_uuid(), $1, $2, 1, 1, now())",
        leg,
        intent,
    )
    assert await pool.fetchval("SELECT tableoid::regclass::text FROM pm.tx_history") == "pm.tx_history_2040_11"


async def test_a_month_whose_rows_lie_in_default_can_still_be_made(pool: Pool) -> None:
    """Maintenance that comes late must repair, not fail for ever; the rows move to where they belong."""
    stray = id_at(2040, 5, 5)
    await pool.execute(INSERT_INTENTS, [stray])
    assert await home_of(pool, stray) == "pm.intent_default"
    assert await pool.fetchval("SELECT pm.ensure_partitions('2040-05-01', 1)") == len(PARENTS)
    assert await home_of(pool, stray) == "pm.intent_2040_05"
