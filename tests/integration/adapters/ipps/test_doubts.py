"""Answers that never came: what was done is found by asking, what was not is barred by the fence, and nothing twice."""

import asyncio

import pytest

from adapters.sandbox.outage import Mode
from shared.contracts import Action, JobMessage, Outcome
from shared.psp import FenceKind
from shared.streams import keys
from tests.integration.adapters.ipps.scene import AMOUNT, JOBS, LOOKUP_TTL_S, World, a_job, open_world, to_code
from tests.waiting import until

LOST = ("timeout", "reset", "malformed", "http_500", "http_429", "http_401", "http_404", "http_400")


async def test_a_payment_whose_answer_was_lost_is_found_by_asking(fenced: World) -> None:
    """However the answer was lost, under any fence, by proxy or by code: paid, and once."""
    jobs = [a_job(scenario=f"{fault}_after_commit") for fault in LOST]
    jobs.append(a_job(to_code(), scenario="timeout_after_commit"))
    results = await asyncio.gather(*(fenced.carried_out(job) for job in jobs))
    assert {(result.outcome, result.amount_minor) for result in results} == {(Outcome.PAID, AMOUNT)}
    assert [await fenced.payouts(job) for job in jobs] == [1] * len(jobs)


BARRED = {
    FenceKind.RESUBMIT: (Outcome.PAID, None),
    FenceKind.CANCEL: (Outcome.NOT_FOUND, "barred"),
    FenceKind.REFERENCE_TTL: (Outcome.UNKNOWN, "not_found"),
    FenceKind.NONE: (Outcome.UNKNOWN, "not_found"),
}


async def test_a_request_that_was_lost_is_concluded_as_the_fence_allows(fenced: World, fence: FenceKind) -> None:
    """Submitted again, barred, waited for, or left to people."""
    job = a_job(scenario="timeout_before_commit*1")
    result = await fenced.carried_out(job)
    assert (result.outcome, result.code) == BARRED[fence]
    assert result.fenced == (fence is FenceKind.CANCEL)
    assert await fenced.payouts(job) == (fence is FenceKind.RESUBMIT)
    assert bool((await fenced.control.books(job.reference))["bars"]) == (fence is FenceKind.CANCEL)


async def test_an_absence_is_final_once_the_look_up_has_expired(redis_url: str) -> None:
    """And not before: the result says when to ask again."""
    async with open_world(redis_url, FenceKind.REFERENCE_TTL) as world:
        job = a_job(scenario="timeout_before_commit")
        first = await world.carried_out(job)
        assert first.retry_after_s is not None
        assert LOOKUP_TTL_S <= first.retry_after_s <= LOOKUP_TTL_S + 3
        number = 1

        async def barred() -> bool:
            nonlocal number
            number += 1
            return (await world.asked(job, number)).fenced

        await until(barred, "a final absence", timeout_s=15)
        assert await world.payouts(job) == 0


async def landed(world: World, job: JobMessage) -> None:
    """Let what is on its way arrive."""
    await world.control.advance(1_000)

    async def served() -> bool:
        calls = await world.control.calls(job.reference, operation="transfer")
        return all(call["outcome"] is not None for call in calls)

    await until(served, "the late request to arrive")


async def test_a_submission_that_arrives_late_pays_once_or_never(fenced: World, fence: FenceKind) -> None:
    """Slower than our patience: whoever concluded something from its absence is not proven wrong afterwards."""
    job = a_job(scenario="slow:1000*1")
    result = await fenced.carried_out(job)
    await landed(fenced, job)
    match fence:
        case FenceKind.CANCEL:
            assert (result.outcome, result.fenced) == (Outcome.NOT_FOUND, True)
            assert await fenced.payouts(job) == 0
        case FenceKind.RESUBMIT:
            assert result.outcome is Outcome.PAID
            assert await fenced.payouts(job) == 1
        case FenceKind.REFERENCE_TTL | FenceKind.NONE:
            assert result.outcome is Outcome.UNKNOWN
            assert (await fenced.asked(job)).outcome is Outcome.PAID
            assert await fenced.payouts(job) == 1


async def test_a_submission_that_arrives_after_its_look_up_pays_nobody(redis_url: str) -> None:
    """The PSP looks at the clock when it pays, so the absence may be final by then."""
    async with open_world(redis_url, FenceKind.REFERENCE_TTL) as world:
        job = a_job(scenario="slow:1000*1")
        assert (await world.carried_out(job)).outcome is Outcome.UNKNOWN
        await world.control.advance(LOOKUP_TTL_S * 1000)
        await landed(world, job)
        assert await world.payouts(job) == 0
        result = await world.asked(job)
        assert (result.outcome, result.code, result.final) == (Outcome.DECLINED, "lookup_expired", True)


async def test_what_the_psp_hides_for_a_while_is_not_given_up(redis_url: str) -> None:
    """Committed but not shown: the cancellation comes too late and says so, and a later question finds it."""
    async with open_world(redis_url, FenceKind.CANCEL) as world:
        job = a_job(scenario="timeout_after_commit+unseen:60000")
        result = await world.carried_out(job)
        assert (result.outcome, result.fenced) == (Outcome.PENDING, False)
        await world.control.advance(60_000)
        assert (await world.asked(job)).outcome is Outcome.PAID
        assert await world.payouts(job) == 1


async def test_a_bar_whose_result_was_lost_is_found_again(redis_url: str) -> None:
    """As a decline for good: the PSP says that the reference was cancelled."""
    async with open_world(redis_url, FenceKind.CANCEL) as world:
        job = a_job(scenario="timeout_before_commit")
        assert (await world.carried_out(job)).fenced
        result = await world.asked(job)
        assert (result.outcome, result.code, result.final) == (Outcome.DECLINED, "cancelled", True)


async def test_a_cancellation_says_how_it_stands(fenced: World, fence: FenceKind) -> None:
    """Paid is paid: where cancellations are agreed, this one is too late, and elsewhere it is a question."""
    job = a_job()
    await fenced.carried_out(job)
    await fenced.add(job.model_copy(update={"action": Action.CANCEL}))
    result = await fenced.result(job, 2)
    too_late = fence is FenceKind.CANCEL
    assert (result.outcome, result.code) == (Outcome.PENDING if too_late else Outcome.PAID, None)
    assert (await fenced.calls())[-1] == ("cancel" if too_late else "status")
    assert (await fenced.asked(job, 3)).outcome is Outcome.PAID
    assert await fenced.payouts(job) == 1


async def test_what_was_given_up_before_it_was_submitted_never_is(fenced: World) -> None:
    """The permit says so; a payee may have been looked up, but nothing more."""
    job = a_job()
    await fenced.add(job.model_copy(update={"action": Action.CANCEL}))
    result = await fenced.result(job)
    assert (result.outcome, result.final) == (Outcome.NOT_SUBMITTED, True)
    await fenced.add(job)
    assert (await fenced.result(job, 2)).outcome is Outcome.NOT_SUBMITTED
    assert set(await fenced.calls()) <= {"lookup"}


@pytest.mark.parametrize("mode", ["refuse", "unavailable"])
async def test_an_outage_delays_and_pays_once(world: World, mode: Mode) -> None:
    """What is refused at the look-up has not happened; it is put off, not given up."""
    await world.control.begin_outage(seconds=60, mode=mode)
    jobs = [await world.add(a_job()) for _ in range(2)]
    await until(lambda: put_off(world), "a job to be put off")
    await world.control.end_outage()
    for job in jobs:
        assert (await world.result(job)).outcome is Outcome.PAID
        assert await world.payouts(job) == 1


@pytest.mark.parametrize("fault", ["timeout", "reset", "malformed", "http_500", "http_429"])
async def test_a_look_up_that_fails_is_made_again(world: World, fault: str) -> None:
    """It moves nothing, so nothing is in doubt."""
    job = a_job(scenario=f"lookup={fault}_after_commit*1")
    assert (await world.carried_out(job)).outcome is Outcome.PAID
    assert await world.payouts(job) == 1


async def test_a_wrong_key_submits_nothing(redis_url: str) -> None:
    """Every request is refused before it is read; the job waits for somebody to set the key right."""
    async with open_world(redis_url, api_key="wrong") as world:
        job = await world.add(a_job())
        await until(lambda: put_off(world), "the job to be put off")
        assert await world.told(job) == []
        assert await world.calls() == []


async def put_off(world: World) -> bool:
    """Say whether jobs wait to be tried again as a whole."""
    return bool(await world.client.zcard(keys.delay(JOBS)))
