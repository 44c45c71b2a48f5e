"""What a run costs grows with what is new, not with what lies behind it."""

import json
import os
import statistics
import time
from dataclasses import replace

import pytest
import tigerbeetle as tb

from reconciler.reconcile import Reconciliation
from reconciler.walks import _ALL
from tests.integration.reconciler.conftest import AT_ONCE, found, populate
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
        elapsed_s = time.perf_counter() - started
        assert done is not None
        assert done.done
        # Allowances that were used for the first time were funded, too.
        assert new <= done.walked["ledger"] <= 1.5 * new
        taken.append(elapsed_s * NEW / done.walked["ledger"])
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
        await stage.pool.execute("ANALYZE")  # as autovacuum would have by then
        await pass_over(stage)
        taken = await measured(stage, clerk, reconciler)
        behind += NEW * RUNS
        medians.append(statistics.median(taken))
        print(f"{NEW} new behind {old}: {[round(one, 3) for one in taken]} s, median {medians[-1]:.3f} s")  # noqa: T201
    assert await found(stage.pool) == set()
    print(f"ratio {medians[1] / medians[0]:.2f}")  # noqa: T201 - the figures are what somebody asked for
    if WHOLE:
        assert medians[1] / medians[0] < RATIO_MAX


async def pass_over(stage: Stage) -> None:
    """Stand at the end of all there is, as if it had been walked: what that takes is not what is measured."""
    newest = replace(_ALL, limit=1, flags=tb.QueryFilterFlags.REVERSED)
    (transfer,), (account,) = await stage.ledger.query_transfers(newest), await stage.ledger.query_accounts(newest)
    last = await stage.pool.fetchrow(
        "SELECT at, intent_id, seq FROM pm.intent_event ORDER BY at DESC, intent_id DESC, seq DESC LIMIT 1"
    )
    assert last is not None
    place = {"at": last["at"].isoformat(), "intent": str(last["intent_id"]), "seq": last["seq"]}
    for name, position in (
        ("ledger", {"timestamp_ns": transfer.timestamp}),
        ("opened", {"timestamp_ns": account.timestamp}),
        ("log", place),
    ):
        await stage.pool.execute(
            "INSERT INTO pm.reconciliation_cursor (name, position) VALUES ($1, $2)"
            " ON CONFLICT (name) DO UPDATE SET position = EXCLUDED.position",
            name,
            json.dumps(position),
        )
