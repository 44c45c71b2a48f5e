"""Submitting: what each kind of answer comes to, for a bank of every kind of fence."""

import asyncio

import pytest
from redis.asyncio import Redis

from adapters.runtime.steps import STEPS
from shared.contracts import Action, Outcome, Source
from shared.psp import FenceKind
from shared.streams import keys, permits
from shared.streams.permits import Cancelled, PermitState
from tests.contract.psp.bank import Bank
from tests.contract.psp.bank_psp import PSP
from tests.integration.adapters.runtime.scene import (
    HOUR_MS,
    JOBS,
    PERSON,
    RESULTS,
    a_job,
    add,
    asking,
    drained,
    permit,
    permit_for,
    result_of,
    results_of,
    running,
    told,
)
from tests.ports import Lease
from tests.waiting import until

LONG_AGO = 13 * HOUR_MS


async def test_a_payment_is_told_with_everything_the_saga_needs(client: Redis, redis_url: str, bank: Bank) -> None:
    """Amount, currency, the PSP's transaction, whose it is; final."""
    job = a_job()
    async with running(redis_url, bank) as crew:
        await add(client, job)
        result = await result_of(client, job)
    assert (result.outcome, result.final, result.source) == (Outcome.PAID, True, Source.JOB)
    assert (result.amount_minor, result.currency) == (job.amount_minor, "THB")
    assert result.psp_transaction_id == bank.payments[0].transaction
    assert (result.intent_id, result.attempt, result.reference) == (job.intent_id, 1, job.reference)
    assert (result.operation, result.action) == (job.operation, Action.SUBMIT)
    assert bank.paid(job.reference) == 1
    assert await drained(client)
    assert crew.counted("paymesh_psp_results_total", outcome="PAID") == 1


async def test_a_final_decline_is_final_only_if_the_manifest_promises_so(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Another code may be taken back, so an inquiry has to confirm it."""
    promised, other = a_job(scenario="decline:over_limit"), a_job(scenario="decline:moody")
    async with running(redis_url, bank):
        for job in (promised, other, asking(other)):
            await add(client, job)
        over_limit = await result_of(client, promised)
        submitted, asked = await results_of(client, other, 2)
    assert (over_limit.outcome, over_limit.code, over_limit.final) == (Outcome.DECLINED, "over_limit", True)
    if submitted.action is not Action.SUBMIT:
        submitted, asked = asked, submitted
    assert (submitted.outcome, submitted.code, submitted.final) == (Outcome.DECLINED, "moody", False)
    assert asked.outcome is Outcome.PENDING or (asked.outcome, asked.final) == (Outcome.DECLINED, True)


async def test_an_inquiry_confirms_a_decline(client: Redis, redis_url: str, bank: Bank) -> None:
    """What the PSP says about our reference when asked is its last word."""
    job = a_job(scenario="decline:moody")
    async with running(redis_url, bank):
        await add(client, job)
        await result_of(client, job)
        await add(client, asking(job))
        _, asked = await results_of(client, job, 2)
    assert (asked.outcome, asked.code, asked.final) == (Outcome.DECLINED, "moody", True)


async def test_an_unfinished_payment_is_pending_and_found_by_inquiry(client: Redis, redis_url: str, bank: Bank) -> None:
    """PENDING until the bank says more."""
    job = a_job(scenario="processing")
    async with running(redis_url, bank):
        await add(client, job)
        assert (await result_of(client, job)).outcome is Outcome.PENDING
        bank.payments[0].status = "PAID"
        await add(client, asking(job))
        _, asked = await results_of(client, job, 2)
    assert asked.outcome is Outcome.PAID


@pytest.mark.parametrize(
    "scenario", ["timeout_after_commit", "reset_after_commit", "malformed_after_commit", "http_503_after_commit"]
)
async def test_a_payment_whose_answer_was_lost_is_found_by_inquiry(
    client: Redis, redis_url: str, bank: Bank, scenario: str
) -> None:
    """In the same breath; never submitted again, whatever the fence."""
    job = a_job(scenario=scenario)
    async with running(redis_url, bank):
        await add(client, job)
        result = await result_of(client, job)
    assert result.outcome is Outcome.PAID
    assert bank.calls["pay", job.reference] == bank.paid(job.reference) == 1


@pytest.mark.parametrize(
    "scenario", ["timeout_before_commit", "reset_before_commit", "malformed_before_commit", "http_503_before_commit"]
)
async def test_a_request_that_may_be_under_way_is_closed_only_by_the_fence(
    client: Redis, redis_url: str, bank: Bank, scenario: str
) -> None:
    """The inquiry says that it was never seen, which proves nothing by itself."""
    job = a_job(scenario=scenario)
    async with running(redis_url, bank):
        await add(client, job)
        result = await result_of(client, job)
        assert (await permit(client, job)).state is PermitState.TAKEN
        match bank.fence:
            case FenceKind.CANCEL:
                assert (result.outcome, result.fenced) == (Outcome.NOT_FOUND, True)
                assert job.reference in bank.barred
            case FenceKind.RESUBMIT:
                # The same fault again: the resubmission was no wiser.
                assert result.outcome is Outcome.UNKNOWN
                assert bank.calls["pay", job.reference] == 2
            case FenceKind.REFERENCE_TTL:
                assert (result.outcome, result.retry_after_s) == (Outcome.UNKNOWN, 4)
            case FenceKind.NONE:
                assert result.outcome is Outcome.UNKNOWN
        if bank.fence is not FenceKind.RESUBMIT:
            assert bank.calls["pay", job.reference] == 1


async def test_a_resubmission_settles_what_a_lost_request_left_open(client: Redis, redis_url: str, bank: Bank) -> None:
    """Where the manifest promises the same answer to the same reference; elsewhere it stays open or is barred."""
    job = a_job(scenario="http_503_before_commit")
    async with running(redis_url, bank):
        await add(client, job)
        await result_of(client, job)
        bank.played(job.reference, "success")
        await add(client, asking(job))
        _, asked = await results_of(client, job, 2)
    if bank.fence is FenceKind.RESUBMIT:
        assert asked.outcome is Outcome.PAID
        assert bank.paid(job.reference) == 1
    else:
        assert asked.outcome in (Outcome.NOT_FOUND, Outcome.EXPIRED)
        assert bank.paid(job.reference) == 0


@pytest.mark.parametrize("fence", [FenceKind.REFERENCE_TTL], indirect=True)
async def test_an_absence_is_final_once_the_reference_used_has_expired(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Asked before, it is open; asked after period and margin, it is barred."""
    job = a_job(scenario="reset_before_commit")
    async with running(redis_url, bank):
        await add(client, job)
        assert (await result_of(client, job)).outcome is Outcome.UNKNOWN
        seen = await permit(client, job)
        assert seen.won_ms is not None
        final_ms = seen.won_ms + 3_000

        async def late() -> bool:
            return (await permit(client, job)).now_ms >= final_ms

        await until(late, "the reference's end")
        await add(client, asking(job))
        _, asked = await results_of(client, job, 2)
    assert (asked.outcome, asked.fenced, asked.final) == (Outcome.NOT_FOUND, True, True)


@pytest.mark.parametrize("fence", [FenceKind.RESUBMIT], indirect=True)
async def test_nothing_is_resubmitted_once_the_psp_may_have_forgotten(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """The promise lasts an hour, less a margin; after it the doubt stays."""
    job = a_job(scenario="http_503_before_commit", age_ms=2 * HOUR_MS)
    await client.set(permit_for(job).key, f"TAKEN somebody {job.created_ms + HOUR_MS // 2}")
    async with running(redis_url, bank):
        await add(client, asking(job))
        result = await result_of(client, job)
    assert (result.outcome, result.fenced) == (Outcome.NOT_FOUND, False)
    assert bank.calls["pay", job.reference] == 0


async def test_a_refused_connection_frees_the_permit_and_is_tried_again_later(
    client: Redis, redis_url: str, fence: FenceKind, lease: Lease
) -> None:
    """Nobody listens: a proven non-event. When somebody does, the job goes through, once."""
    from tests.contract.psp.bank import served  # noqa: PLC0415 - this test opens and closes the bank itself

    job = a_job()
    bank = Bank(fence)
    bank.url = f"http://127.0.0.1:{(port := lease())}"
    async with running(redis_url, bank, budget_s=0.5) as crew:
        await add(client, job)
        await until(lambda: crew.counted("paymesh_psp_jobs_put_off_total") >= 2, "a job put off")
        assert (await permit(client, job)).state is PermitState.ABSENT
        assert await told(client, job) == []
        async with served(bank, port=port):
            assert (await result_of(client, job)).outcome is Outcome.PAID
    assert bank.paid(job.reference) == 1


async def test_what_the_psp_proves_not_to_have_taken_is_sent_again_within_the_budget(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """429 by its contract: three tries, then put off with the permit freed; then again."""
    job = a_job(scenario="http_429_before_commit")
    async with running(redis_url, bank, budget_s=4.0, retry_first_ms=1_000, retry_max_ms=1_000) as crew:
        await add(client, job)
        await until(lambda: crew.counted("paymesh_psp_jobs_put_off_total") >= 1, "a job put off")
        assert bank.calls["pay", job.reference] == 3
        bank.played(job.reference, "success")
        assert (await result_of(client, job)).outcome is Outcome.PAID
    assert bank.paid(job.reference) == 1


async def test_retry_after_is_honoured(client: Redis, redis_url: str, bank: Bank) -> None:
    """Within the budget by waiting, beyond it by putting the job off for as long."""
    job = a_job(scenario="http_429_before_commit:30")
    async with running(redis_url, bank):
        await add(client, job)

        async def put_off() -> list[bytes]:
            rows: list[bytes] = await client.execute_command("ZRANGE", keys.delay(JOBS), 0, -1, "WITHSCORES")
            return rows

        due_ms = int((await until(put_off, "a job put off"))[1])
    seen = await permit(client, job)
    assert seen.state is PermitState.ABSENT
    assert bank.calls["pay", job.reference] == 1
    assert 20_000 < due_ms - seen.now_ms <= 30_000


async def test_an_unknown_payee_is_declined_for_good_without_a_permit_taken(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """The preparation said so; CANCELLED was won first, so that no copy is submitted beside it."""
    job = a_job(to="nobody")
    async with running(redis_url, bank):
        await add(client, job)
        result = await result_of(client, job)
    assert (result.outcome, result.code, result.final) == (Outcome.DECLINED, "unknown_payee", True)
    assert (await permit(client, job)).state is PermitState.CANCELLED
    assert bank.calls["pay", job.reference] == 0


async def test_an_unknown_payee_says_nothing_while_somebody_may_be_submitting(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """A copy of the job whose preparation went well holds the permit: only an inquiry is right."""
    job = a_job(to="nobody")
    await client.set(permit_for(job).key, f"TAKEN somebody {job.created_ms}")
    async with running(redis_url, bank):
        await add(client, job)
        result = await result_of(client, job)
    assert result.outcome is not Outcome.DECLINED or bank.fence is FenceKind.RESUBMIT
    assert result.outcome is not Outcome.NOT_SUBMITTED


async def test_copies_of_a_job_pay_once(client: Redis, redis_url: str, bank: Bank) -> None:
    """The relay crashed after adding it; two adapters and both copies at once, many times over."""
    jobs = [a_job() for _ in range(12)]
    async with running(redis_url, bank), running(redis_url, bank):
        for job in (*jobs, *jobs):
            await add(client, job)
        for job in jobs:
            results = await results_of(client, job, 2)
            assert Outcome.PAID in {result.outcome for result in results} or bank.fence is FenceKind.CANCEL
            assert Outcome.NOT_SUBMITTED not in {result.outcome for result in results}
    assert [bank.paid(job.reference) for job in jobs] == [1] * 12


async def test_a_job_cancelled_in_the_backlog_is_never_submitted(client: Redis, redis_url: str, bank: Bank) -> None:
    """Poller or operator won CANCELLED; whoever reads the job, replays included, says so again."""
    job = a_job()
    won = await permits.win_cancelled(client, permit=permit_for(job), who="operator")
    assert won is Cancelled.CANCELLED
    async with running(redis_url, bank):
        await add(client, job)
        await add(client, job, redrives=b"1")
        results = await results_of(client, job, 2)
    assert {(result.outcome, result.final) for result in results} == {(Outcome.NOT_SUBMITTED, True)}
    assert bank.calls["pay", job.reference] == 0


async def test_a_job_past_its_time_is_not_submitted_any_more(client: Redis, redis_url: str, bank: Bank) -> None:
    """It lay in outbox or stream for longer than the manifest's job_ttl; even while the bank is down."""
    jobs = [a_job(age_ms=HOUR_MS + 1_000), a_job(age_ms=HOUR_MS + 1_000, scenario="on_prepare+http_503_before_commit")]
    async with running(redis_url, bank):
        for job in jobs:
            await add(client, job)
            assert (await result_of(client, job)).outcome is Outcome.NOT_SUBMITTED
            assert (await permit(client, job)).state is PermitState.CANCELLED
    assert not bank.payments


@pytest.mark.parametrize("way", ["old", "epoch", "inquire_first"])
async def test_a_job_whose_permit_may_be_lost_is_neither_submitted_nor_denied(
    client: Redis, redis_url: str, bank: Bank, way: str
) -> None:
    """Redis was restored, or the job is older than a permit lives: it may have been paid long ago."""
    job = a_job(age_ms=LONG_AGO if way == "old" else 0, inquire_first=way == "inquire_first")
    if way == "epoch":
        await client.hset(keys.mesh(PSP), "epoch", "2")
    async with running(redis_url, bank):
        await add(client, job)
        result = await result_of(client, job)
    assert bank.calls["pay", job.reference] == 0
    assert result.outcome in (Outcome.UNKNOWN, Outcome.NOT_FOUND)
    if result.outcome is Outcome.NOT_FOUND:
        assert result.fenced
        assert bank.fence is FenceKind.CANCEL or (bank.fence is FenceKind.REFERENCE_TTL and way == "old")


async def test_what_was_paid_before_the_stores_were_restored_is_found(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """The permit is gone, the payment is not."""
    job = a_job()
    async with running(redis_url, bank):
        await add(client, job)
        await result_of(client, job)
        await client.delete(permit_for(job).key)
        again = job.model_copy(update={"inquire_first": True})
        await add(client, again)
        results = await results_of(client, job, 2)
    assert [result.outcome for result in results] == [Outcome.PAID, Outcome.PAID]
    assert bank.paid(job.reference) == 1


async def test_an_inquiry_about_a_job_in_the_backlog_asks_nobody(client: Redis, redis_url: str, bank: Bank) -> None:
    """Nobody has submitted it; it is still to come, and goes through afterwards."""
    job = a_job()
    async with running(redis_url, bank):
        await add(client, asking(job))
        first = await result_of(client, job)
        assert (first.outcome, first.code) == (Outcome.PENDING, "queued")
        assert bank.calls["inquire", job.reference] == 0
        await add(client, job)
        await results_of(client, job, 2)
    assert bank.paid(job.reference) == 1


async def test_a_queued_job_can_be_cancelled_before_it_is_submitted(client: Redis, redis_url: str, bank: Bank) -> None:
    """By its permit, without the PSP's help; the job that comes later says the same."""
    job = a_job()
    async with running(redis_url, bank):
        await add(client, asking(job, Action.CANCEL))
        assert (await result_of(client, job)).outcome is Outcome.NOT_SUBMITTED
        await add(client, job)
        results = await results_of(client, job, 2)
    assert [result.outcome for result in results] == [Outcome.NOT_SUBMITTED] * 2
    assert not bank.calls["pay", job.reference]


async def test_a_submitted_job_cannot_be_cancelled_any_more(client: Redis, redis_url: str, bank: Bank) -> None:
    """The PSP says how it stands, if it can cancel at all."""
    job = a_job()
    async with running(redis_url, bank):
        await add(client, job)
        await result_of(client, job)
        await add(client, asking(job, Action.CANCEL))
        _, late = await results_of(client, job, 2)
    expected = Outcome.PAID if bank.fence is FenceKind.CANCEL else Outcome.PENDING
    assert late.outcome is expected


async def test_an_unanswered_inquiry_frees_nothing_and_is_no_news(client: Redis, redis_url: str, bank: Bank) -> None:
    """Its own failure proves nothing about the submission."""
    job = a_job(scenario="on_inquiry+http_503_before_commit")
    async with running(redis_url, bank):
        await add(client, job)
        assert (await result_of(client, job)).outcome is Outcome.PAID
        await add(client, asking(job))
        _, asked = await results_of(client, job, 2)
    assert (asked.outcome, asked.code) == (Outcome.PENDING, "http_503")
    assert bank.calls["inquire", job.reference] == 3
    assert (await permit(client, job)).state is PermitState.TAKEN


@pytest.mark.parametrize("step", [step for step in STEPS if step != "request_sent"])
async def test_an_answer_that_comes_after_the_entry_was_lost_is_an_observation(
    client: Redis, redis_url: str, bank: Bank, step: str
) -> None:
    """A fact is never dropped; everything else is."""
    job = a_job()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pause(at: str) -> None:
        if at == step:
            reached.set()
            await go_on.wait()

    async with running(redis_url, bank, steps=pause, lease_s=10) as crew:
        entry = await add(client, job)
        async with asyncio.timeout(10):
            await reached.wait()
        # Somebody else finished it meanwhile.
        await client.xack(JOBS, keys.ADAPTER_GROUP, entry)
        await client.xdel(JOBS, entry)
        go_on.set()

        async def lost() -> float:
            return crew.counted("paymesh_stream_lost_total", stream=JOBS)

        await until(lost, "an entry lost")
    ((kind, observation),) = await told(client, job)
    assert (kind, observation.outcome) == ("observation", Outcome.PAID)
    assert bank.paid(job.reference) == 1


async def test_nothing_personal_is_written_down(
    client: Redis, redis_url: str, bank: Bank, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither in results, nor in logs, nor among the keys."""
    job = a_job()
    async with running(redis_url, bank):
        await add(client, job)
        await result_of(client, job)
    dump = str(await client.execute_command("XRANGE", RESULTS, "-", "+"))
    printed = capfd.readouterr()
    assert PERSON not in dump + printed.out + printed.err
