"""A PSP registered while an orchestrator runs: what it says is read, not only what it is asked sent."""

import asyncio

import pytest
from redis.asyncio import Redis

from orchestrator.main import serve
from orchestrator.settings import OrchestratorSettings
from shared import mesh
from shared.contracts import Outcome, ResultMessage, Source, result_envelope
from shared.psp import write_manifest
from shared.streams import keys
from shared.streams.append import append_entry
from tests.integration.orchestrator.outbound import PSP, manifest_of
from tests.integration.orchestrator.test_process import installed, ledger
from tests.integration.orchestrator.world import World, new_id
from tests.waiting import until

__all__ = ["installed", "ledger"]


@pytest.mark.usefixtures("installed")
async def test_results_of_a_psp_registered_while_it_runs_are_read(
    world: World, redis: Redis, redis_url: str, database: str
) -> None:
    """No restart: its stream reaches every orchestrator with the register."""
    settings = OrchestratorSettings(redis_url=redis_url, database_url=database, partitions_poll_s=0.05)
    stop = asyncio.Event()
    running = asyncio.create_task(serve(settings, stop))
    said = ResultMessage(
        psp=PSP,
        intent_id=str(new_id()),
        attempt=1,
        source=Source.JOB,
        outcome=Outcome.PAID,
        psp_transaction_id="T1",
        amount_minor=1,
        currency="THB",
        at_ms=1,
    )
    try:
        await until(lambda: not running.done(), "an orchestrator")
        async with mesh.psp_marked(pool=world.pool, redis=redis, psp=PSP) as connection:
            await connection.execute(
                "INSERT INTO pm.psp (psp, manifest) VALUES ($1, $2)", PSP, write_manifest(manifest_of())
            )
        await append_entry(redis, keys.results(PSP), result_envelope(said))

        async def heard() -> bool:
            return bool(await world.pool.fetchval("SELECT count(*) FROM pm.psp_result WHERE psp = $1", PSP))

        await until(heard, "the result", timeout_s=20)
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)
    assert await redis.xlen(keys.results(PSP)) == 0
