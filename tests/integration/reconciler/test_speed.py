"""What a run costs grows with what is new, not with what lies behind it."""

import asyncio
import os
import statistics
import time

import pytest

from reconciler.reconcile import Reconciliation
from shared.db.pool import Pool
from tests.integration.reconciler.conftest import AT_ONCE, found, populate, settle
from tests.integration.reconciler.history import Clerk, Stage

WHOLE = bool(os.environ.get("PAYMESH_RECON_SPEED"))
OLD = (100_000, 1_000_000) if WHOLE else (600, 6_000)
"""How many transfers lie behind at each measurement."""
NEW = 10_000 if WHOLE else 400
RUNS = 5
RATIO_MAX = 1.5
SLICE = 20_000


async def load_transfers(stage: Stage, clerk: Clerk, count: int) -> int:
    """Load payments until they are so many transfers."""
    loaded = 0
    while loaded < count:
        loaded += await stage.load(clerk.make(min(SLICE, max(1, (count - loaded) // 6))))
    return loaded


async def measured(stage: Stage, clerk: Clerk, reconciler: Reconciliation) -> list[float]:
    """How long a run over new transfers takes, several times, in seconds for `NEW` of them."""
    taken = []
    for _ in range(RUNS):
        new = await load_transfers(stage, clerk, NEW)
        started = time.perf_counter()
        done = await reconciler.round()
        taken.append((time.perf_counter() - started) * NEW / new)
        assert done is not None
        assert done.done
        assert done.walked["ledger"] == new
    return taken


LEDGER = pytest.param("tigerbeetle", marks=pytest.mark.tigerbeetle) if WHOLE else "postgres"


@pytest.mark.parametrize("ledger", [LEDGER], indirect=True)
async def test_a_run_takes_as_long_behind_ten_times_as_much(stage: Stage) -> None:
    """The statements' plans do not depend on history, nor does what is read; medians of several runs."""
    clerk = Clerk(wallets=200)
    await populate(stage, clerk)
    reconciler = Reconciliation(ledger=stage.ledger, pool=stage.pool, pace=AT_ONCE)
    behind, medians = 0, []
    for old in OLD:
        behind += await load_transfers(stage, clerk, old - behind)
        await analyse(stage.pool)
        await settle(reconciler, stage.pool)
        taken = await measured(stage, clerk, reconciler)
        behind += NEW * RUNS
        medians.append(statistics.median(taken))
        print(f"{NEW} new behind {old}: {[round(one, 3) for one in taken]} s, median {medians[-1]:.3f} s")  # noqa: T201
    assert await found(stage.pool) == set()
    print(f"ratio {medians[1] / medians[0]:.2f}")  # noqa: T201 - the figures are what somebody asked for
    if WHOLE:
        assert medians[1] / medians[0] < RATIO_MAX


async def analyse(pool: Pool) -> None:
    """Let the planner know what there is, as autovacuum would by now."""
    await pool.execute("ANALYZE")
    await asyncio.sleep(0)
