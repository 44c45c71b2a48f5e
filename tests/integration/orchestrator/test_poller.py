"""The poller: what is open is asked about, what was never submitted is given up for good, and nothing is guessed."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from shared.contracts import Action, JobMessage, Outcome, ResultMessage, Source
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown
from shared.psp import PollSchedule
from shared.streams import group, keys, permits
from shared.streams.breaker import BreakerRules, record
from shared.streams.client import connect
from shared.streams.permits import Begin, Cancelled, PermitState
from shared.streams.verdicts import Entry, Member
from tests.integration.orchestrator.outbound import (
    JOB_TTL_S,
    PSP,
    Outbound,
    a_job,
    manifest_of,
    permit_of,
)
from tests.waiting import until

MEMBER = Member(keys.jobs(PSP), keys.ADAPTER_GROUP, "adapter-1")
FIRST_S, LEASE_S = 10, 30


@pytest.fixture
def outbound(pool: Pool, redis: Redis) -> Outbound:
    """Room for few jobs over real stores."""
    return Outbound(pool, redis, jobs_max=4)


async def deliver(outbound: Outbound) -> Entry:
    """Hand the next job to an adapter."""
    await group.ensure_group(outbound.redis, MEMBER.stream, MEMBER.group)
    (entry,) = await group.read(outbound.redis, MEMBER, count=1, block_ms=100)
    return entry


async def submit(outbound: Outbound, job: JobMessage, entry: Entry) -> permits.Begun:
    """Do what an adapter does before it submits."""
    return await permits.begin_submit(
        outbound.redis, MEMBER, entry.id, permit=permit_of(job), token="adapter-1.1", job_ttl_ms=JOB_TTL_S * 1000
    )


async def take(outbound: Outbound, job: JobMessage) -> None:
    """Let the job be submitted by an adapter, of which nothing is heard again."""
    await outbound.relay().turn(PSP)
    entry = await deliver(outbound)
    assert (await submit(outbound, job, entry)).status is Begin.GO
    await outbound.redis.delete(keys.jobs(PSP))


def never_submitted(job: JobMessage, heard: list[ResultMessage]) -> bool:
    """Say whether the one result is the verdict that this job was never submitted."""
    (result,) = heard
    return (result.outcome, result.source, result.intent_id, result.attempt, result.final, result.reference) == (
        Outcome.NOT_SUBMITTED,
        Source.VERDICT,
        job.intent_id,
        job.attempt,
        True,
        job.reference,
    )


async def test_a_job_that_is_still_on_its_way_is_left_alone(outbound: Outbound) -> None:
    """It waits for as long again as it has waited, and is not counted as asked about."""
    await outbound.enrol(manifest_of())
    young, older = a_job(), a_job(age_s=100)
    for job in (young, older):
        await outbound.open_intent(job)
    assert await outbound.poller().turn() == 2
    assert await outbound.jobs() == []
    assert await outbound.results() == []
    for job, pause_s in ((young, FIRST_S), (older, 100)):
        left_s, polls = await outbound.next_poll(job)
        assert polls == 0
        assert left_s == pytest.approx(pause_s, abs=2)
        assert (await permits.look(outbound.redis, permit=permit_of(job))).state is PermitState.ABSENT


async def test_a_job_still_on_its_way_is_looked_at_when_its_time_is_up(outbound: Outbound) -> None:
    """Not a schedule's pause later."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=JOB_TTL_S - 20)
    await outbound.open_intent(job)
    await outbound.poller().turn()
    assert (await outbound.next_poll(job))[0] == pytest.approx(20, abs=2)


@pytest.mark.parametrize("place", ["stream", "outbox"])
async def test_a_job_still_in_the_backlog_past_its_time_is_cancelled_and_never_submitted_later(
    outbound: Outbound, place: str
) -> None:
    """Its hold is released; the copy that is delivered afterwards must not pay."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=JOB_TTL_S + 1)
    await outbound.open_intent(job, sent=False)
    if place == "stream":
        await outbound.relay().turn(PSP)
    await outbound.poller().turn()
    assert never_submitted(job, await outbound.results())
    if place == "outbox":
        await outbound.relay().turn(PSP)
    entry = await deliver(outbound)
    assert (await submit(outbound, job, entry)).status is Begin.CANCELLED


async def test_a_verdict_that_was_not_heard_is_given_again(outbound: Outbound) -> None:
    """The result may have been lost between the permit and the stream."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=30)
    await outbound.open_intent(job)
    won = await permits.win_cancelled(outbound.redis, permit=permit_of(job), who="operator")
    assert won is Cancelled.CANCELLED
    await outbound.poller().turn()
    assert never_submitted(job, await outbound.results())


async def test_a_verdict_waits_for_no_psp(outbound: Outbound) -> None:
    """Paused, broken, overfull: nobody has to be asked."""
    await outbound.enrol(manifest_of())
    await outbound.pause(PSP)
    await record(outbound.redis, PSP, "0" * 10, rules=BreakerRules(), jitter=0.0)
    await outbound.psps.refresh()
    job = a_job(age_s=JOB_TTL_S + 1)
    await outbound.open_intent(job, sent=False)
    await outbound.poller().turn()
    assert never_submitted(job, await outbound.results())


@pytest.mark.parametrize("age_s", [0, JOB_TTL_S + 1])
async def test_a_job_that_somebody_took_is_asked_about_and_never_cancelled(outbound: Outbound, age_s: float) -> None:
    """However old: it may have been paid."""
    await outbound.enrol(manifest_of(job_ttl_s=JOB_TTL_S * 2))
    job = a_job(age_s=age_s)
    await outbound.open_intent(job, sent=False)
    entry_permit = permit_of(job)
    await outbound.redis.set(entry_permit.key, f"TAKEN somebody {job.created_ms}")
    await outbound.pool.execute("UPDATE pm.outbox_event SET sent_at = now()")
    await outbound.enrol(manifest_of())
    await outbound.poller().turn()
    assert await outbound.results() == []
    assert await outbound.jobs() == [job.model_copy(update={"action": Action.INQUIRE})]
    left_s, polls = await outbound.next_poll(job)
    assert polls == 1
    assert left_s == pytest.approx(FIRST_S, abs=2)


async def test_a_taken_job_keeps_its_permit_and_is_asked_ever_more_rarely(outbound: Outbound) -> None:
    """The schedule is the manifest's."""
    await outbound.enrol(manifest_of())
    job = a_job()
    await outbound.open_intent(job, sent=False)
    await take(outbound, job)
    pauses = []
    for _ in range(3):
        await outbound.pool.execute("UPDATE pm.intent SET next_poll_at = now()")
        await outbound.poller().turn()
        pauses.append(round((await outbound.next_poll(job))[0] / FIRST_S))
    assert pauses == [1, 2, 4]
    assert (await permits.look(outbound.redis, permit=permit_of(job))).state is PermitState.TAKEN


@pytest.mark.parametrize(
    ("age_s", "epoch"), [(13 * 3600, None), (5, "6f1f8a52-9f4f-4b5a-8c88-2f7c0a1f3c11:7")], ids=["age", "epoch"]
)
async def test_a_job_too_old_for_its_permit_is_asked_about(outbound: Outbound, age_s: float, epoch: str | None) -> None:
    """An absent permit proves nothing then."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=age_s, **({"epoch": epoch} if epoch else {}))
    await outbound.open_intent(job)
    await outbound.poller().turn()
    assert [each.action for each in await outbound.jobs()] == [Action.INQUIRE]
    assert await outbound.results() == []


async def test_a_redis_that_lost_its_mark_lets_nothing_be_called_never_submitted(outbound: Outbound) -> None:
    """The permits went with it."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=JOB_TTL_S + 1)
    await outbound.open_intent(job)
    await outbound.redis.delete(keys.mesh(PSP))
    await outbound.poller().turn()
    assert await outbound.results() == []
    assert [each.action for each in await outbound.jobs()] == [Action.INQUIRE]
    assert not await outbound.redis.exists(keys.mesh(PSP))


@pytest.mark.parametrize("sign", ["in doubt", "asked before", "psp id", "answer", "inquire first"])
async def test_a_lost_permit_is_no_proof_where_anything_else_tells_of_a_submission(
    outbound: Outbound, sign: str
) -> None:
    """It is asked about, in words that let the adapter conclude nothing from the permit either."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=JOB_TTL_S + 1, inquire_first=sign == "inquire first")
    await outbound.open_intent(
        job, state="IN_DOUBT" if sign == "in doubt" else "AUTHORIZED", polls=2 if sign == "asked before" else 0
    )
    if sign == "psp id":
        await outbound.pool.execute('UPDATE pm.psp_reference SET psp_ids = \'{"txn_no": "T1"}\'')
    if sign == "answer":
        await outbound.pool.execute(
            "INSERT INTO pm.psp_result (psp, entry_id, intent_id, attempt, source, outcome, body)"
            " VALUES ('tp', '1-1', $1, 1, 'job', 'PENDING', '{\"action\": \"submit\"}')",
            job.intent_id,
        )
    await outbound.poller().turn()
    assert await outbound.results() == []
    (question,) = await outbound.jobs()
    assert (question.action, question.inquire_first) == (Action.INQUIRE, True)
    assert question.psp_ids == ({"txn_no": "T1"} if sign == "psp id" else {})


async def test_a_job_that_has_not_left_the_outbox_is_not_asked_about(outbound: Outbound) -> None:
    """The question would overtake the submission."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=13 * 3600)
    await outbound.open_intent(job, sent=False)
    await outbound.poller().turn()
    assert await outbound.jobs() == []
    assert await outbound.results() == []
    assert (await outbound.next_poll(job))[0] > 5


@pytest.mark.parametrize("trouble", ["paused", "breaker", "backlog"])
async def test_a_psp_that_takes_no_questions_is_not_asked(outbound: Outbound, trouble: str) -> None:
    """The question is put off, and not counted."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=13 * 3600)
    await outbound.open_intent(job)
    before = 0
    if trouble == "paused":
        await outbound.pause(PSP)
    elif trouble == "breaker":
        await record(outbound.redis, PSP, "0" * 10, rules=BreakerRules(), jitter=0.0)
    else:
        before = 2 * outbound.jobs_max
        for _ in range(before):
            await outbound.redis.xadd(keys.jobs(PSP), {"x": "y"})
    await outbound.psps.refresh()
    await outbound.poller().turn()
    assert await outbound.redis.xlen(keys.jobs(PSP)) == before
    left_s, polls = await outbound.next_poll(job)
    assert left_s > 5
    assert polls == 0


async def test_an_intent_of_an_unknown_psp_is_put_off_and_warned_about(outbound: Outbound) -> None:
    """It must not be given up because a process has not heard of its PSP."""
    await outbound.enrol(manifest_of())
    job = a_job("zz", age_s=JOB_TTL_S + 1)
    await outbound.open_intent(job)
    with capture_logs() as logs:
        await outbound.poller().turn()
    assert [(line["event"], line["log_level"]) for line in logs] == [("poll_of_unknown_psp", "warning")]
    assert await outbound.results("zz") == []
    assert await outbound.jobs("zz") == []
    assert (await outbound.next_poll(job))[0] > LEASE_S


async def test_what_is_not_due_is_left_alone(outbound: Outbound) -> None:
    """A later hour is nobody's business now."""
    await outbound.enrol(manifest_of())
    later = a_job(age_s=13 * 3600)
    await outbound.open_intent(later, due_s=30)
    assert await outbound.poller().turn() == 0
    assert await outbound.jobs() == []


async def test_pollers_at_once_never_take_the_same_intent(outbound: Outbound) -> None:
    """One question each."""
    outbound.jobs_max = 10_000
    await outbound.enrol(manifest_of())
    jobs = [a_job(age_s=13 * 3600) for _ in range(40)]
    for job in jobs:
        await outbound.open_intent(job)
    turns = await asyncio.gather(*(outbound.poller().turn() for _ in range(4)))
    assert sum(turns) == 40
    assert sorted(job.intent_id for job in await outbound.jobs()) == [job.intent_id for job in jobs]


async def test_an_intent_in_somebody_elses_hands_is_skipped_and_holds_nobody_up(outbound: Outbound) -> None:
    """Another poller is claiming it, or a decision about it is being written."""
    await outbound.enrol(manifest_of())
    held, free = a_job(age_s=13 * 3600), a_job(age_s=13 * 3600)
    for job in (held, free):
        await outbound.open_intent(job)
    async with outbound.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM pm.intent WHERE id = $1 FOR UPDATE", held.intent_id)
        assert await asyncio.wait_for(outbound.poller().turn(), 5) == 1
    assert [job.intent_id for job in await outbound.jobs()] == [free.intent_id]


async def test_a_job_taken_in_the_last_moment_is_asked_about_instead_of_given_up(outbound: Outbound) -> None:
    """Between the look and the verdict an adapter may win."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=JOB_TTL_S + 1)
    await outbound.open_intent(job)
    send: Any = outbound.redis.execute_command
    looks = 0

    async def overtaken(*words: Any, **options: Any) -> Any:
        nonlocal looks
        if permit_of(job).key in words:
            looks += 1
            if looks == 3:  # after EVALSHA and EVAL of the look
                await send("SET", permit_of(job).key, f"TAKEN adapter {job.created_ms}")
        return await send(*words, **options)

    outbound.redis.execute_command = overtaken  # type: ignore[method-assign]
    await outbound.poller().turn()
    assert looks >= 3
    assert await outbound.results() == []
    assert [each.action for each in await outbound.jobs()] == [Action.INQUIRE]


async def test_an_answer_that_came_meanwhile_keeps_the_schedule_it_made(outbound: Outbound) -> None:
    """Whoever heard the PSP knows better when to ask."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=13 * 3600)
    await outbound.open_intent(job)
    poller = outbound.poller()
    append: Any = outbound.redis.execute_command

    async def answered(*words: Any, **options: Any) -> Any:
        if words[0] == "XADD":
            await outbound.pool.execute("UPDATE pm.intent SET next_poll_at = now() + interval '1 hour'")
        return await append(*words, **options)

    outbound.redis.execute_command = answered  # type: ignore[method-assign]
    await poller.turn()
    left_s, polls = await outbound.next_poll(job)
    assert left_s > 3500
    assert polls == 0


async def test_a_poller_that_dies_after_it_claimed_delays_an_intent_by_its_lease_only(outbound: Outbound) -> None:
    """And while Redis is away nothing is guessed."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=13 * 3600)
    await outbound.open_intent(job)
    away = connect("redis://127.0.0.1:1")
    with pytest.raises(OutcomeUnknown):
        await outbound.poller(redis=away).turn()
    await away.aclose()
    left_s, polls = await outbound.next_poll(job)
    assert left_s == pytest.approx(LEASE_S, abs=2)
    assert polls == 0


async def test_it_goes_on_by_itself_until_it_is_stopped(outbound: Outbound) -> None:
    """Page after page, turn after turn."""
    await outbound.enrol(manifest_of(poll=PollSchedule(1, 1.0, 1, 60)))
    job = a_job(age_s=13 * 3600)
    await outbound.open_intent(job)
    stop = asyncio.Event()
    running = asyncio.create_task(outbound.poller().run(stop))

    async def twice() -> bool:
        return len(await outbound.jobs()) >= 2

    try:
        await until(twice, "two questions")
    finally:
        stop.set()
        await asyncio.wait_for(running, 5)


@pytest.mark.parametrize(("age_s", "watched"), [(60, True), (1200 + 3600 + 60, False)], ids=["young", "old"])
async def test_a_code_that_was_paid_or_expired_is_asked_about_for_a_while(
    outbound: Outbound, *, age_s: int, watched: bool
) -> None:
    """The callback of a late or second payment may be lost; after its time and an hour nobody asks any more."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=age_s, operation="TEST_TOPUP", destination={"ttl_s": "1200"})
    await outbound.open_intent(job, state="EXPIRED")
    await outbound.relay().turn(PSP)
    await outbound.redis.delete(keys.jobs(PSP))
    await outbound.poller().turn()
    assert [question.action for question in await outbound.jobs()] == [Action.INQUIRE]
    left = await outbound.pool.fetchval("SELECT next_poll_at - now() FROM pm.intent WHERE id = $1::uuid", job.intent_id)
    assert left.total_seconds() == pytest.approx(900, abs=2) if watched else left is None


async def test_a_decided_withdrawal_is_asked_about_once_on_a_hint(outbound: Outbound) -> None:
    """A callback has spoken of it, a reversal, say; without one it is never due."""
    await outbound.enrol(manifest_of())
    job = a_job(age_s=60)
    await outbound.open_intent(job, state="SETTLED")
    await outbound.relay().turn(PSP)
    await outbound.redis.delete(keys.jobs(PSP))
    await outbound.poller().turn()
    assert [question.action for question in await outbound.jobs()] == [Action.INQUIRE]
    assert await outbound.pool.fetchval("SELECT next_poll_at FROM pm.intent WHERE id = $1::uuid", job.intent_id) is None
