"""Every kind of break, planted alone and in pairs in one history, is found and named rightly, and nothing else is."""

import os

from tests.integration.reconciler.conftest import found, populate, reconcile
from tests.integration.reconciler.corruption import PAIRS, PLANTS, SPOILINGS, Found, spoilt
from tests.integration.reconciler.history import Clerk, Stage

INTENTS = int(os.environ.get("PAYMESH_CORRUPTION", "2000"))
"""How long the history is; `make corruption` takes 100,000."""


async def test_a_clean_history_gives_no_alarm(stage: Stage) -> None:
    """Every kind of plan and end, fees and limits included."""
    clerk = Clerk()
    await populate(stage, clerk)
    await stage.load(clerk.make(INTENTS // 2))
    await reconcile(stage)
    assert await found(stage.pool) == set()
    assert await stage.pool.fetchval("SELECT count(*) FROM pm.reconciliation_suspect") == 0


async def test_every_kind_of_break_is_found_and_named_rightly(stage: Stage) -> None:
    """Each alone, and every pair on one payment, in the middle of a history; each exactly once."""
    clerk = Clerk()
    await populate(stage, clerk)
    payments = clerk.make(INTENTS // 2)
    expected: set[Found] = set()
    for spoilings in [*((each,) for each in SPOILINGS), *PAIRS]:
        one, found_of_it = spoilt(clerk, *spoilings)
        payments.append(one)
        expected |= found_of_it
    payments += clerk.make(INTENTS // 2)
    await stage.load(payments)
    for plant in PLANTS:
        expected |= await plant(stage, clerk)
    await reconcile(stage)
    assert await found(stage.pool) == expected
    assert len({kind for kind, _ in expected}) >= 25
