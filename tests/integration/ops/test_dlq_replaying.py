"""Replays: each record once whoever else replays it, and nothing that may have been paid is submitted again."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from ops.audit import Connection
from ops.dlq.prospects import Effect, foresee
from ops.dlq.reach import Reach, reach_stores
from ops.dlq.search import Search, Wanted
from shared.contracts import Action, Outcome
from shared.db.pool import Pool
from shared.psp import FenceKind
from shared.streams import keys, permits
from shared.streams.client import connect
from shared.streams.dead_letters import Moved, redrive_all
from shared.streams.permits import PermitState
from tests.contract.psp.bank import Bank, served
from tests.integration.adapters.runtime.scene import (
    JOBS,
    a_job,
    add,
    asking,
    mark,
    permit,
    permit_for,
    result_of,
    results_of,
    running,
)
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.dlq_scene import (
    Ended,
    bury,
    bury_job,
    bury_waiting,
    insert_intent,
    replay_all,
    settings_of,
    typed,
)
from tests.integration.streams.scene import envelope_fields, new_id, stream_entries
from tests.waiting import until

RECORDS = 10_000


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """A client of a server whose bank's slot is marked."""
    client = connect(redis_url)
    await mark(client)
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def bank() -> AsyncIterator[Bank]:
    """A bank without a fence."""
    async with served(Bank(FenceKind.NONE)) as bank:
        yield bank


@pytest_asyncio.fixture
async def reach(database: str, redis_url: str, client: Redis) -> AsyncIterator[Reach]:
    """The stores as a command reaches them."""
    del client
    async with reach_stores(settings_of(database, redis_url)) as reach:
        yield reach


@pytest.mark.slow
async def test_two_operators_at_once_replay_each_of_10000_once(mesh: Mesh) -> None:
    """Two processes, the same filter, the same moment: neither begins before both are there."""
    stream = keys.intents(0)
    names = [str(new_id()) for _ in range(RECORDS)]
    await bury(mesh.redis, stream, [envelope_fields(name) for name in names])
    line = ("dlq", "replay", "--stream", "intents.i0", "--rate", "3000", "--confirm", "--reason", "mended", "--json")
    one, other = await _together(mesh, *line)
    assert (one.code, other.code) == (0, 0), one.errors + other.errors
    assert one.json["moved"] + other.json["moved"] == RECORDS
    assert one.json["gone"] or other.json["gone"], "both have reached for the same, or they did not meet"
    entries = await stream_entries(mesh.redis, stream)
    assert sorted(fields[b"id"].decode() for _, fields in entries) == sorted(names)
    assert {fields[b"redrives"] for _, fields in entries} == {b"1"}
    left = keys.dlq(stream), keys.dlq_counts(stream), keys.dlq_hours(stream), keys.dlq_index(stream)
    assert await mesh.redis.xlen(left[0]) == 0
    assert not await mesh.redis.exists(*left[1:])
    rows = await mesh.pool.fetch("SELECT target, detail FROM pm.audit_log WHERE action = 'dlq.replay'")
    assert sorted(row["target"] for row in rows) == sorted(f"intent:{name}" for name in names)
    assert {json.loads(row["detail"])["outcome"] for row in rows} == {"moved"}


async def _together(mesh: Mesh, *arguments: str) -> list[Ended]:
    """Let two operators type the same; nobody is let on to the audit log, where both begin, before both wait for it.

    Left to themselves, the first may be through with everything by the time that a busy machine has started the second.
    """
    async with asyncio.TaskGroup() as operators, mesh.pool.acquire() as door, door.transaction():
        await door.execute("LOCK TABLE pm.audit_log IN SHARE MODE")
        typing = [operators.create_task(typed(mesh.settings, *arguments)) for _ in range(2)]
        await until(lambda: _wait_for(door, 2), "two operators at the door", timeout_s=25)
    return [await ended for ended in typing]


async def _wait_for(door: Connection, count: int) -> bool:
    waiting = await door.fetchval(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'pm.audit_log'::regclass"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return bool(waiting == count)


async def test_what_may_have_been_paid_is_asked_about_first(
    reach: Reach, client: Redis, redis_url: str, bank: Bank
) -> None:
    """Its permit is TAKEN: the replay inquires, and the bank is paid once."""
    job = a_job()
    async with running(redis_url, bank):
        await add(client, job)
        await result_of(client, job)
    record = await bury_job(client, job)
    (prospect,) = await foresee(reach, [record])
    assert prospect.effect is Effect.INQUIRES
    assert (await replay_all(reach, JOBS)).moved == 1
    async with running(redis_url, bank):
        assert (await results_of(client, job, 2))[1].outcome is Outcome.PAID
    assert bank.calls["pay", job.reference] == bank.paid(job.reference) == 1


async def test_what_was_cancelled_is_never_submitted(reach: Reach, client: Redis, redis_url: str, bank: Bank) -> None:
    """Somebody has said that it never was, and must stay right."""
    job = a_job()
    await permits.win_cancelled(client, permit=permit_for(job), who="somebody")
    record = await bury_job(client, job)
    (prospect,) = await foresee(reach, [record])
    assert prospect.effect is Effect.SAYS_NOTHING_NEW
    await replay_all(reach, JOBS)
    async with running(redis_url, bank):
        assert (await result_of(client, job)).outcome is Outcome.NOT_SUBMITTED
    assert not bank.calls["pay", job.reference]


@pytest.mark.parametrize("state", ["SETTLED", "FAILED"])
async def test_what_was_decided_is_never_submitted_though_its_permit_is_gone(
    reach: Reach, client: Redis, redis_url: str, pool: Pool, bank: Bank, state: str
) -> None:
    """The replay wins CANCELLED before the job goes back."""
    job = a_job()
    await insert_intent(pool, job, state=state)
    record = await bury_job(client, job)
    (prospect,) = await foresee(reach, [record])
    assert prospect.effect is Effect.SAYS_NOTHING_NEW
    done = await replay_all(reach, JOBS)
    assert (done.moved, done.barred) == (1, 1)
    async with running(redis_url, bank):
        assert (await result_of(client, job)).outcome is Outcome.NOT_SUBMITTED
    assert not bank.calls["pay", job.reference]


async def test_what_was_begun_is_asked_about_though_its_permit_was_lost(
    reach: Reach, client: Redis, redis_url: str, pool: Pool, bank: Bank
) -> None:
    """Paid once, in doubt, and the permit gone with a server: an absent permit is no proof."""
    job = a_job()
    async with running(redis_url, bank):
        await add(client, job)
        await result_of(client, job)
    await insert_intent(pool, job, state="IN_DOUBT")
    await client.delete(permit_for(job).key)
    record = await bury_job(client, job)
    (prospect,) = await foresee(reach, [record])
    assert prospect.effect is Effect.INQUIRES
    await replay_all(reach, JOBS)
    assert (await permit(client, job)).state is PermitState.TAKEN
    async with running(redis_url, bank):
        assert (await results_of(client, job, 2))[1].outcome is Outcome.PAID
    assert bank.calls["pay", job.reference] == 1


@pytest.mark.parametrize("action", [Action.SUBMIT, Action.INQUIRE])
async def test_what_people_have_failed_is_not_resubmitted_by_asking(
    reach: Reach, client: Redis, redis_url: str, pool: Pool, action: Action
) -> None:
    """At a bank that is asked by submitting again, an absence after the verdict pays nobody."""
    job = a_job()
    await insert_intent(pool, job, state="FAILED")
    await client.set(permit_for(job).key, f"TAKEN somebody {job.created_ms}")
    if action is Action.INQUIRE:
        await permits.bar(client, permit=permit_for(job), token="request.1")
    await bury_job(client, job if action is Action.SUBMIT else asking(job))
    await replay_all(reach, JOBS)
    async with served(Bank(FenceKind.RESUBMIT)) as bank, running(redis_url, bank):
        assert (await result_of(client, job)).code == "not_found"
    assert bank.calls["inquire", job.reference] == 1
    assert not bank.calls["pay", job.reference]


async def test_a_doubt_at_a_psp_that_is_asked_by_submitting_again_ends_by_itself(
    reach: Reach, client: Redis, redis_url: str, pool: Pool
) -> None:
    """Its answer was lost and it never arrived: nobody has to say a verdict, and however often asked it pays once."""
    job = a_job()
    await insert_intent(pool, job, state="IN_DOUBT")
    await client.set(permit_for(job).key, f"TAKEN somebody {job.created_ms}")
    async with served(Bank(FenceKind.RESUBMIT)) as bank:
        for asked in (1, 2):
            await bury_job(client, asking(job))
            await replay_all(reach, JOBS)
            async with running(redis_url, bank):
                results = await results_of(client, job, asked)
            assert [result.outcome for result in results] == [Outcome.PAID] * asked
    assert bank.calls["pay", job.reference] == 1


async def test_what_was_never_begun_is_submitted_once(
    reach: Reach, client: Redis, redis_url: str, pool: Pool, bank: Bank
) -> None:
    """The common case: the adapter choked before its permit; mended, it pays."""
    job = a_job()
    await insert_intent(pool, job, state="AUTHORIZED")
    record = await bury_job(client, job)
    (prospect,) = await foresee(reach, [record])
    assert prospect.effect is Effect.SUBMITS
    await replay_all(reach, JOBS)
    async with running(redis_url, bank, verdicts=False):
        assert (await result_of(client, job)).outcome is Outcome.PAID
    assert bank.calls["pay", job.reference] == 1


async def test_what_dies_again_is_not_found_again_by_the_same_search(reach: Reach, client: Redis) -> None:
    """A replay ends, even if everything that it puts back dies at once."""
    stream = keys.intents(0)
    await bury(client, stream, [envelope_fields(f"e{number}") for number in range(600)])
    search = Search(reach.redis, [stream], Wanted(), limit=100_000)
    found = 0
    async for name, page in search.pages():
        assert name == stream
        moved = await redrive_all(client, stream, [record.entry_id for record in page])
        assert set(moved) == {Moved.MOVED}
        await bury_waiting(client, stream)
        found += len(page)
        assert found <= 600
    assert (found, search.cut) == (600, False)
    assert await client.xlen(keys.dlq(stream)) == 600


async def test_a_replay_without_a_database_moves_nothing(client: Redis, redis_url: str) -> None:
    """What cannot be put on record is not done; what it would do is said all the same."""
    job = a_job()
    record = await bury_job(client, job)
    settings = settings_of("postgresql://nobody@127.0.0.1:1/none", redis_url)
    address = f"{JOBS}:{record.entry_id.decode()}"
    dry = await typed(settings, "dlq", "replay", address)
    assert dry.code == 0, dry.errors
    assert "submits" in dry.output
    assert "PostgreSQL is out of reach" in dry.errors
    refused = await typed(settings, "dlq", "replay", address, "--confirm", "--reason", "x")
    assert refused.code == 1
    assert "PostgreSQL is out of reach" in refused.errors
    assert "Traceback" not in dry.errors + refused.errors
    assert await client.xlen(keys.dlq(JOBS)) == 1
