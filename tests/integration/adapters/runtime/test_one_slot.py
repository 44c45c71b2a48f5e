"""Everything an adapter does for its PSP happens in one slot, as a server in cluster mode enforces."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ops.embedded.valkey import valkey, valkey_url
from shared.contracts import Action, Outcome
from shared.psp import FenceKind
from shared.streams.client import connect
from tests.contract.psp.bank import Bank
from tests.integration.adapters.runtime.scene import (
    HOUR_MS,
    a_job,
    add,
    asking,
    mark,
    result_of,
    results_of,
    running,
)
from tests.ports import Lease
from tests.waiting import until


@pytest_asyncio.fixture
async def node(tmp_path: Path, lease: Lease) -> AsyncIterator[str]:
    """The URL of the one node of a cluster, owning every slot."""
    port = lease()
    server = valkey(tmp_path / "valkey", port)
    server.argv = [*server.argv, "--cluster-enabled", "yes", "--cluster-port", str(lease())]
    server.start()
    client = connect(valkey_url(port))
    await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

    async def whole() -> Any:
        return b"cluster_state:ok" in await client.execute_command("CLUSTER", "INFO")

    await until(whole, "the cluster's slots", timeout_s=30)
    await client.aclose()
    yield valkey_url(port)
    server.stop()


@pytest.mark.parametrize("fence", [FenceKind.RESUBMIT], indirect=True)
async def test_every_kind_of_job_lives_in_its_psps_slot(node: str, bank: Bank) -> None:
    """Paid, freed and put off, taken over, past its time, cancelled, given up."""
    client = connect(node)
    await mark(client)
    paid, freed, lost = a_job(), a_job(scenario="http_429_before_commit"), a_job(scenario="reset_before_commit")
    late, given_up, queued = a_job(age_ms=2 * HOUR_MS), a_job(destination={"x": a_job().destination["to"]}), a_job()
    async with running(node, bank) as crew:
        for job in (paid, freed, lost, late, given_up, asking(queued, Action.CANCEL)):
            await add(client, job)
        await until(lambda: crew.counted("paymesh_psp_jobs_put_off_total"), "a job put off")
        bank.played(freed.reference, "success")
        told = {
            "paid": await result_of(client, paid),
            "freed": await result_of(client, freed),
            "lost": await result_of(client, lost),
            "late": await result_of(client, late),
            "given_up": await result_of(client, given_up),
            "queued": await result_of(client, queued),
        }
        bank.played(lost.reference, "success")
        await add(client, asking(lost))
        resubmitted = (await results_of(client, lost, 2))[1]
    await client.aclose()
    assert {name: result.outcome for name, result in told.items()} == {
        "paid": Outcome.PAID,
        "freed": Outcome.PAID,
        "lost": Outcome.UNKNOWN,
        "late": Outcome.NOT_SUBMITTED,
        "given_up": Outcome.NOT_SUBMITTED,
        "queued": Outcome.NOT_SUBMITTED,
    }
    assert resubmitted.outcome is Outcome.PAID
