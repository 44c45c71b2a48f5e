"""The relay: every job reaches its stream, in order, within the bound, and nobody waits for somebody else's PSP."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from orchestrator.relay import Relay
from shared.contracts import Action, job_envelope
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown
from shared.streams import group, keys, permits
from shared.streams.client import connect
from shared.streams.dispatch import dispatch
from shared.streams.permits import Begin
from shared.streams.verdicts import Member
from tests.integration.orchestrator.outbound import PAYOUT, PSP, Outbound, a_job, manifest_of, permit_of
from tests.waiting import until

MEMBER = Member(keys.jobs(PSP), keys.ADAPTER_GROUP, "adapter-1")


@pytest.fixture
def outbound(pool: Pool, redis: Redis) -> Outbound:
    """Room for ten jobs over real stores."""
    return Outbound(pool, redis, jobs_max=10)


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    """Run a relay for the length of the block."""
    stop = asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


class LostCommit:
    """A pool whose connections vanish before they commit."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        async with self._pool.acquire() as connection:
            yield _Doomed(connection)


class _Doomed:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.fetch = connection.fetch
        self.execute = connection.execute

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        transaction = self._connection.transaction()
        await transaction.start()
        yield
        await transaction.rollback()
        raise ConnectionResetError


async def test_jobs_arrive_in_order_exactly_as_they_were_written(outbound: Outbound) -> None:
    """The body is the stored text, and the envelope the one of every other job."""
    await outbound.enrol(manifest_of())
    jobs = [a_job() for _ in range(7)]
    await outbound.write(*reversed(jobs))
    turn = await outbound.relay().turn(PSP)
    assert (turn.offered, turn.sent, turn.full) == (7, 7, False)
    assert await outbound.jobs() == jobs
    raw: Any = await outbound.redis.xrange(keys.jobs(PSP), count=1)
    assert raw[0][1] == job_envelope(jobs[0]).fields()
    assert await outbound.unsent() == []


async def test_a_cancellation_never_overtakes_its_submission(outbound: Outbound) -> None:
    """Both rows of one intent go, the submission first."""
    await outbound.enrol(manifest_of())
    job = a_job()
    await outbound.write(job.model_copy(update={"action": Action.CANCEL}), job)
    await outbound.relay().turn(PSP)
    assert [each.action for each in await outbound.jobs()] == [Action.SUBMIT, Action.CANCEL]


@pytest.mark.parametrize(("standing", "delayed", "room"), [(0, 0, 10), (4, 0, 6), (4, 3, 3), (0, 10, 0), (7, 8, 0)])
async def test_no_job_is_let_in_beyond_the_bound_even_if_the_others_only_wait_for_a_retry(
    outbound: Outbound, standing: int, delayed: int, room: int
) -> None:
    """What is under way counts until it is finished; the rest stays in the outbox, the first ones go."""
    await outbound.enrol(manifest_of())
    await dispatch(outbound.redis, PSP, [job_envelope(a_job()) for _ in range(standing)], jobs_max=100)
    await outbound.fill_delay(PSP, delayed)
    jobs = [a_job() for _ in range(12)]
    await outbound.write(*jobs)
    turn = await outbound.relay().turn(PSP)
    assert (turn.sent, turn.full) == (room, True)
    assert (await outbound.jobs())[standing:] == jobs[:room]
    assert await outbound.unsent() == [job.intent_id for job in jobs[room:]]


async def test_one_full_psp_never_blocks_another(outbound: Outbound) -> None:
    """Nor does it lose its jobs: they follow as soon as there is room."""
    await outbound.enrol(manifest_of("tp"), manifest_of("zz"))
    await outbound.fill_delay("tp", 10)
    blocked, free = [a_job("tp") for _ in range(3)], [a_job("zz") for _ in range(10)]
    await outbound.write(*blocked, *free)
    async with running(outbound.relay()):

        async def arrived(psp: str, number: int) -> bool:
            return len(await outbound.jobs(psp)) == number

        await until(lambda: arrived("zz", 10), "the free PSP's jobs")
        assert await outbound.jobs("tp") == []
        await outbound.redis.delete(keys.delay(keys.jobs("tp")))
        await until(lambda: arrived("tp", 3), "the other's, once there is room")
    assert await outbound.unsent("tp") == await outbound.unsent("zz") == []


async def test_relays_at_once_keep_the_bound_and_send_every_job(outbound: Outbound) -> None:
    """Each row is marked once, by whoever sent it."""
    outbound.jobs_max = 1000
    await outbound.enrol(manifest_of())
    jobs = [a_job() for _ in range(1500)]
    await outbound.write(*jobs)
    relays = [outbound.relay() for _ in range(3)]
    await asyncio.gather(*(relay.turn(PSP) for relay in relays for _ in range(3)))
    sent = Counter(job.intent_id for job in await outbound.jobs())
    assert set(sent.values()) == {1}
    assert len(sent) == 1000
    assert sorted([*sent, *await outbound.unsent()]) == [job.intent_id for job in jobs]


async def test_a_crash_before_the_commit_costs_a_copy_and_never_a_job(outbound: Outbound) -> None:
    """A copy is what the permit is for; a job that was marked first would be gone."""
    await outbound.enrol(manifest_of())
    jobs = [a_job() for _ in range(3)]
    await outbound.write(*jobs)
    with pytest.raises(OutcomeUnknown):
        await outbound.relay(pool=LostCommit(outbound.pool)).turn(PSP)
    assert await outbound.unsent() == [job.intent_id for job in jobs]
    await outbound.relay().turn(PSP)
    assert await outbound.jobs() == [*jobs, *jobs]
    assert await outbound.unsent() == []
    # Whoever is given the copy finds the permit taken, and asks instead of submitting.
    await group.ensure_group(outbound.redis, MEMBER.stream, MEMBER.group)
    entries = await group.read(outbound.redis, MEMBER, count=6, block_ms=100)
    begun = [
        await permits.begin_submit(
            outbound.redis, MEMBER, entry.id, permit=permit_of(job), token=f"t.{number}", job_ttl_ms=600_000
        )
        for number, (entry, job) in enumerate(zip(entries, [*jobs, *jobs], strict=True))
    ]
    assert [each.status for each in begun] == [Begin.GO] * 3 + [Begin.INQUIRE] * 3


async def test_while_redis_is_away_jobs_stay_unsent_and_follow_when_it_is_back(outbound: Outbound) -> None:
    """The relay warns, and goes on."""
    await outbound.enrol(manifest_of())
    job = a_job()
    await outbound.write(job)
    away = connect("redis://127.0.0.1:1")
    with capture_logs() as logs:
        async with running(outbound.relay(redis=away)):
            await until(lambda: len([line for line in logs if line["event"] == "jobs_not_sent"]) > 1, "two tries")
    await away.aclose()
    assert await outbound.unsent() == [job.intent_id]
    async with running(outbound.relay()):
        await until(outbound.jobs, "the job")


async def test_a_paused_psp_keeps_its_jobs_and_a_paused_operation_lets_the_others_pass(outbound: Outbound) -> None:
    """Cancellations pass a paused operation too: they move nothing."""
    await outbound.enrol(manifest_of())
    paused, other = a_job(), a_job(operation="TEST_TOPUP")
    await outbound.write(paused, paused.model_copy(update={"action": Action.CANCEL}), other)
    await outbound.pause(PSP)
    await outbound.psps.refresh()
    assert (await outbound.relay().turn(PSP)).offered == 0
    await outbound.pool.execute("UPDATE pm.psp_control SET operation = $1", PAYOUT)
    await outbound.psps.refresh()
    await outbound.relay().turn(PSP)
    assert [(job.intent_id, job.action) for job in await outbound.jobs()] == [
        (paused.intent_id, Action.CANCEL),
        (other.intent_id, Action.SUBMIT),
    ]
    assert await outbound.unsent() == [paused.intent_id]


async def test_a_psp_registered_while_it_runs_is_served(outbound: Outbound) -> None:
    """Nobody restarts orchestrators for a PSP."""
    relay = outbound.relay()
    async with running(relay):
        await outbound.enrol(manifest_of())
        await outbound.write(a_job())
        await until(outbound.jobs, "the first job of a PSP that was unknown at the start")


async def test_a_poke_is_heard_at_once(outbound: Outbound) -> None:
    """The poll is a backstop only."""
    await outbound.enrol(manifest_of())
    relay = outbound.relay()
    relay._poll_s = 30.0  # only a poke can be in time
    running_ = asyncio.create_task(relay.run(asyncio.Event()))

    async def arrived(number: int) -> bool:
        return len(await outbound.jobs()) == number

    try:
        for number in (1, 2, 3):
            await outbound.write(a_job())
            relay.poke(PSP)
            await until(partial(arrived, number), "the job", timeout_s=5)
    finally:
        running_.cancel()
        await asyncio.gather(running_, return_exceptions=True)


async def test_a_backlog_larger_than_one_turn_is_sent_at_once(outbound: Outbound) -> None:
    """A turn takes 256; nobody waits for the next poll."""
    outbound.jobs_max = 10_000
    await outbound.enrol(manifest_of())
    jobs = [a_job() for _ in range(700)]
    await outbound.write(*jobs)
    relay = outbound.relay()
    turns = [await relay.turn(PSP) for _ in range(4)]
    assert [(turn.sent, turn.more) for turn in turns] == [(256, True), (256, True), (188, False), (0, False)]
    assert await outbound.jobs() == jobs
