"""The schema's own promises: what the programs may rely on whatever another release of them does."""

import asyncpg
import pytest

from shared.db.pool import Pool
from shared.money import AMOUNT_MINOR_MAX
from shared.states import Funds, IntentState

INSERT = """
INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, amount_minor, currency, state, version,
    funds, error_code, alias_of, attempt, operation, created_at)
VALUES (gen_random_uuid(), 'shop', 'k', 'P2P_TRANSFER', $1, 'THB', $2, 1, $3, $4, $5, $6, '{}', now())
"""


async def insert(
    pool: Pool,
    *,
    amount_minor: int = 1,
    state: str = "VALIDATED",
    funds: str = "none",
    error_code: str | None = None,
    alias_of: str | None = None,
    attempt: int = 1,
) -> None:
    """Insert one intent."""
    await pool.execute(INSERT, amount_minor, state, funds, error_code, alias_of, attempt)


@pytest.mark.parametrize("state", list(IntentState))
async def test_every_state_but_the_unplanned_one_can_be_stored(pool: Pool, state: IntentState) -> None:
    """CREATED lives in the stream only."""
    alias = "0198c1f2-7a10-7123-8abc-def012030000" if state is IntentState.DUPLICATE else None
    code = "no_funds" if state is IntentState.REJECTED else None
    if state is IntentState.CREATED:
        with pytest.raises(asyncpg.CheckViolationError):
            await insert(pool, state=state)
        return
    await insert(pool, state=state, alias_of=alias, error_code=code)
    assert await pool.fetchval("SELECT state FROM pm.intent") == state


@pytest.mark.parametrize("funds", list(Funds))
async def test_every_kind_of_funds_can_be_stored(pool: Pool, funds: Funds) -> None:
    """The two lists are one."""
    await insert(pool, funds=funds)
    assert await pool.fetchval("SELECT funds FROM pm.intent") == funds


@pytest.mark.parametrize(
    "row",
    [
        {"state": "PAID"},
        {"funds": "some"},
        {"amount_minor": 0},
        {"amount_minor": AMOUNT_MINOR_MAX + 1},
        {"attempt": 0},
        {"attempt": 64},
        {"state": "DUPLICATE"},
        {"alias_of": "0198c1f2-7a10-7123-8abc-def012030000"},
        {"state": "REJECTED"},
    ],
)
async def test_what_no_intent_may_be_is_refused(pool: Pool, row: dict[str, object]) -> None:
    """Unknown words, amounts and attempts out of bounds, an alias of nothing, a refusal without a reason."""
    with pytest.raises(asyncpg.CheckViolationError):
        await insert(pool, **row)  # type: ignore[arg-type]


async def test_the_largest_amount_can_be_stored(pool: Pool) -> None:
    """2^62, which JSON, bigint and the ledger all carry."""
    await insert(pool, amount_minor=AMOUNT_MINOR_MAX)
    assert await pool.fetchval("SELECT amount_minor FROM pm.intent") == AMOUNT_MINOR_MAX


async def test_a_balance_outgrows_a_bigint(pool: Pool) -> None:
    """Two of the largest amounts on one wallet must not fail a batch."""
    await pool.execute("INSERT INTO pm.account_balance (account_id) VALUES (gen_random_uuid())")
    for _ in range(4):
        await pool.execute("UPDATE pm.account_balance SET posted = posted + $1", AMOUNT_MINOR_MAX)
    assert await pool.fetchval("SELECT posted FROM pm.account_balance") == 4 * AMOUNT_MINOR_MAX


@pytest.mark.parametrize(
    ("register", "change"),
    [
        ("service_key", "INSERT INTO pm.service_key (id, owner, permissions, secret) VALUES ('a', 'a', '{}', 's')"),
        ("payment_route", "UPDATE pm.payment_route SET active = false"),
        ("payment_route", "DELETE FROM pm.payment_route"),
    ],
)
async def test_a_changed_register_says_so(pool: Pool, register: str, change: str) -> None:
    """Pollers fetch a register only when its version has moved."""
    version = "SELECT version FROM pm.register_version WHERE name = $1"
    before = await pool.fetchval(version, register)
    await pool.execute(change)
    assert await pool.fetchval(version, register) == before + 1


async def test_there_is_one_mesh(pool: Pool) -> None:
    """A second identity in one database cannot be written."""
    insert_mesh = "INSERT INTO pm.mesh (id, ledger_kind, partitions) VALUES (gen_random_uuid(), 'postgres', 2)"
    await pool.execute(insert_mesh)
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(insert_mesh)


async def test_a_stored_plan_is_read_back_byte_for_byte(pool: Pool) -> None:
    """Spaces, order of keys and doubled keys included: it is carried out as it was written down."""
    plan = '{"b": 1,  "a": [1, 2.50], "b": 3}'
    await pool.execute(
        "INSERT INTO pm.intent_attempt (intent_id, attempt, plan) VALUES (gen_random_uuid(), 1, $1)", plan
    )
    assert await pool.fetchval("SELECT plan FROM pm.intent_attempt") == plan
