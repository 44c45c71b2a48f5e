"""Every kind of break, planted alone and in pairs in one history, is found and named rightly, and nothing else is."""

import os

from tests.integration.reconciler.conftest import found, populate, reconcile
from tests.integration.reconciler.corruption import PAIRS, PLANTS, SPOILINGS, Found, spoilt
from tests.integration.reconciler.history import Clerk, Stage

INTENTS = int(os.environ.get("PAYMESH_CORRUPTION", "2000"))
"""How long the history is; `make corruption` takes 100,000."""


KINDS_MIN = 25
"""How many kinds the kit plants at least."""


async def test_every_kind_of_break_is_found_and_named_rightly_and_nothing_else(stage: Stage) -> None:
    """A clean history gives no alarm; then each kind alone, and every pair on one payment, in the middle of more."""
    clerk = Clerk()
    await populate(stage, clerk)
    await stage.load(clerk.make(INTENTS // 2))
    await reconcile(stage)
    assert await found(stage.pool) == set()
    assert await stage.pool.fetchval("SELECT count(*) FROM pm.reconciliation_suspect") == 0
    payments = clerk.make(INTENTS // 4)
    expected: set[Found] = set()
    for spoilings in [*((each,) for each in SPOILINGS), *PAIRS]:
        one, found_of_it = spoilt(clerk, *spoilings)
        payments.append(one)
        expected |= found_of_it
    payments += clerk.make(INTENTS // 4)
    await stage.load(payments)
    for plant in PLANTS:
        expected |= await plant(stage, clerk)
    await reconcile(stage)
    assert await found(stage.pool) == expected
    assert len({kind for kind, _ in expected}) >= KINDS_MIN
