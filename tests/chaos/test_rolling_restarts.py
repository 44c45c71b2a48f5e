"""Orchestrators and gateways are stopped in the orderly way and started again under load: nobody notices."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from shared.process import EXIT_OK
from tests.chaos import length
from tests.chaos.clock import lapse
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.mesh import GATEWAYS, ORCHESTRATORS, SHORT_PERIODS, Mesh
from tests.chaos.reckoning import reckon

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.parametrize("ledger_kind", length.kinds(), indirect=True, scope="package"),
]

LONG_IDLE_S = 20
"""With this time before anybody takes abandoned entries over, only handing them back settles them sooner."""
SETTLE_S_MAX = LONG_IDLE_S / 2
ACCEPTED_MIN = 500

_SLOWEST = """
SELECT max(extract(epoch FROM updated_at - created_at)) FROM pm.intent WHERE idempotency_key LIKE $1
"""


@pytest_asyncio.fixture(loop_scope="package")
async def patient_mesh(mesh: Mesh) -> AsyncIterator[Mesh]:
    """A mesh whose orchestrators wait long before they take over what another has abandoned."""
    await mesh.restart("orchestrator", {"ORCHESTRATOR_RECLAIM_IDLE_MS": f"{LONG_IDLE_S * 1000}"})
    yield mesh
    await mesh.restart("orchestrator", SHORT_PERIODS)


async def test_rolling_restart_is_seen_by_nobody(
    patient_mesh: Mesh, load: Load, journal: Journal, rounds: int, tell: Callable[[object], None]
) -> None:
    """No 5xx, nothing lost, every exit clean, and what a stopped orchestrator held is settled without delay."""
    mesh = patient_mesh
    async with load.running():
        for _ in range(rounds):
            for name in (*ORCHESTRATORS, *GATEWAYS):
                await lapse(0.5)
                assert await mesh.stop(name) == EXIT_OK
                await mesh.all_up()
    reckoning = await reckon(mesh, journal, accepted_min=ACCEPTED_MIN * rounds)
    assert not reckoning.put_off, f"requests were refused: {journal.codes}"
    slowest_s = float(await mesh.stores.pool.fetchval(_SLOWEST, f"{journal.tag}-%"))
    assert slowest_s < SETTLE_S_MAX
    tell(f"slowest decision {slowest_s:.1f} s; {reckoning}")
