"""A stumbling block in the database: one intent cannot be recorded, whoever tries, until the block is taken away.

A trigger makes the insert of one idempotency key, or the decision about it, fail or hang. That is the world being
difficult, not the product: nothing in the services knows of it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal

from ops.stores import OpenStores

FAILS: Final = "RAISE EXCEPTION 'this row is not to be';"
HANGS: Final = "PERFORM pg_sleep(60);"
DEAF: Final = "LOOP BEGIN PERFORM pg_sleep(60); EXIT; EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;"
"""Hangs, and does not listen to whoever cancels it."""

_DEED: Final = """
CREATE OR REPLACE FUNCTION pm.stumble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {deed} RETURN NEW; END $$
"""
_TRIGGERS: Final = {
    "plan": """
        CREATE OR REPLACE TRIGGER stumble BEFORE INSERT ON pm.intent
            FOR EACH ROW WHEN (NEW.idempotency_key = '{key}') EXECUTE FUNCTION pm.stumble()
    """,
    "decision": """
        CREATE OR REPLACE TRIGGER stumble_later BEFORE UPDATE ON pm.intent
            FOR EACH ROW WHEN (NEW.idempotency_key = '{key}' AND NEW.state <> OLD.state)
            EXECUTE FUNCTION pm.stumble()
    """,
}
_END_SLEEPERS: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE wait_event = 'PgSleep' AND application_name = 'paymesh-orchestrator'
"""


@asynccontextmanager
async def stumbling(
    stores: OpenStores, *, key: str, deed: str, at: Literal["plan", "decision"] = "plan"
) -> AsyncIterator[None]:
    """Keep the plan or the decision of the intent under this key from being recorded, for the length of the block."""
    await put_in_the_way(stores, key=key, deed=deed, at=at)
    try:
        yield
    finally:
        await clear_the_way(stores)
        await end_sleepers(stores)


async def put_in_the_way(stores: OpenStores, *, key: str, deed: str, at: Literal["plan", "decision"] = "plan") -> None:
    """Keep the plan or the decision of the intent under this key from being recorded, until the way is cleared."""
    await stores.pool.execute(_DEED.format(deed=deed))
    await stores.pool.execute(_TRIGGERS[at].format(key=key))


async def clear_the_way(stores: OpenStores) -> None:
    """Let the block be no block for whoever comes next; who hangs at it already goes on hanging."""
    # The trigger stays, and does nothing: dropping it would contend for the table with those at work.
    await stores.pool.execute(_DEED.format(deed=""))


async def somebody_sleeps(stores: OpenStores) -> bool:
    """Say whether a session of an orchestrator hangs at the block."""
    return bool(
        await stores.pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            " AND application_name = 'paymesh-orchestrator'"
        )
    )


async def end_sleepers(stores: OpenStores) -> None:
    """End the sessions that hang at the block: the server would let them hold their locks until the sleep is over."""
    await stores.pool.execute(_END_SLEEPERS)
