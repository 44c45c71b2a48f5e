"""The orchestrator as it is wired: every partition is read, those too that are added while it runs."""

import asyncio
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from orchestrator.main import serve
from orchestrator.settings import OrchestratorSettings
from shared import mesh
from shared.contracts import Action, Envelope, Kind, OpenAccountMessage
from shared.db.pool import Pool
from shared.ledger.mesh_mark import TickingLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import PostgresLedger
from shared.psp import write_manifest
from shared.streams import keys
from shared.streams.accept import append
from tests.integration.orchestrator.outbound import PSP, Outbound, a_job, manifest_of
from tests.integration.orchestrator.world import World, new_id
from tests.waiting import until


@pytest.fixture
def ledger(postgres_ledger: PostgresLedger) -> Ledger:
    """The ledger of a mesh of its own; whole meshes on TigerBeetle run in tests/chaos."""
    return postgres_ledger


@pytest_asyncio.fixture
async def installed(pool: Pool, redis: Redis, ledger: Ledger) -> None:
    """A mesh of two partitions over this test's stores."""
    mark = TickingLedger(ledger)
    await mesh.install(pool=pool, redis=redis, ledger=mark, ledger_kind="postgres", partitions=2, new_id=uuid4())


async def ask_for_account(redis: Redis, partition: int, name: str) -> None:
    """Put an `open_account` entry into a partition's stream."""
    body = OpenAccountMessage(service_key="shop", name=name).model_dump_json().encode()
    await append(redis, partition=partition, envelope=Envelope(Kind.OPEN_ACCOUNT, str(new_id(partition)), body))


@pytest.mark.usefixtures("installed")
async def test_partitions_added_while_it_runs_are_read(
    world: World, redis: Redis, redis_url: str, database: str
) -> None:
    """An intent accepted into a new stream is not left lying."""
    settings = OrchestratorSettings(redis_url=redis_url, database_url=database, partitions_poll_s=0.05)
    stop = asyncio.Event()
    running = asyncio.create_task(serve(settings, stop))
    try:
        for partition in (0, 1):
            await ask_for_account(redis, partition, f"user:p{partition}:THB")
        await mesh.grow(pool=world.pool, redis=redis, partitions=3)
        await ask_for_account(redis, 2, "user:p2:THB")

        async def opened() -> bool:
            names = await world.pool.fetch("SELECT name FROM pm.tb_account_map WHERE name LIKE 'user:p_:THB'")
            return len(names) == 3

        await until(opened, "accounts asked for in all three partitions", timeout_s=20)
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)
    assert [await redis.xlen(keys.intents(partition)) for partition in range(3)] == [0, 0, 0]


@pytest.mark.usefixtures("installed")
async def test_jobs_leave_and_due_intents_are_asked_about_for_a_psp_registered_while_it_runs(
    world: World, redis: Redis, redis_url: str, database: str
) -> None:
    """Register, relay and poller are wired, and stop with the process."""
    settings = OrchestratorSettings(redis_url=redis_url, database_url=database, due_poll_s=0.05, partitions_poll_s=0.05)
    stop = asyncio.Event()
    running = asyncio.create_task(serve(settings, stop))
    outbound = Outbound(world.pool, redis)
    waiting, due = a_job(), a_job(age_s=13 * 3600)
    try:
        async with mesh.psp_marked(pool=world.pool, redis=redis, psp=PSP) as connection:
            await connection.execute(
                "INSERT INTO pm.psp (psp, manifest) VALUES ($1, $2)", PSP, write_manifest(manifest_of())
            )
        await outbound.write(waiting)
        await outbound.open_intent(due)

        async def out() -> bool:
            return {job.action for job in await outbound.jobs()} == {Action.SUBMIT, Action.INQUIRE}

        await until(out, "the job and the question", timeout_s=20)
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)
    assert {job.intent_id for job in await outbound.jobs()} == {waiting.intent_id, due.intent_id}
