"""Fences at their edges: when the question was put counts, and nobody concludes by a promise that was not made."""

import pytest
from redis.asyncio import Redis

from adapters.runtime.psp import Call, Definite
from shared.contracts import Action, Outcome
from shared.psp import FenceKind
from tests.contract.psp.bank import Bank
from tests.contract.psp.bank_psp import PERIODS
from tests.integration.adapters.runtime.scene import a_job, add, asking, now_ms, permit_for, result_of, running
from tests.waiting import until


@pytest.fixture
def fence() -> FenceKind:
    """The one that is a time."""
    return FenceKind.REFERENCE_TTL


async def test_an_absence_that_was_seen_before_the_reference_expired_is_not_final_because_its_answer_came_late(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """A request may have arrived between the bank's look into its books and the end of the reference's time."""
    job = a_job(age_ms=3_000)
    final_ms = now_ms() + 1_000
    taken_ms = final_ms - 1_000 * sum(PERIODS[FenceKind.REFERENCE_TTL])
    await client.set(permit_for(job).key, f"TAKEN somebody {taken_ms}")
    answer = bank.hold("after_inquire")
    async with running(redis_url, bank, call_timeout_s=5.0, budget_s=8.0):
        await add(client, asking(job))
        await until(lambda: answer.come, "a question")
        assert now_ms() < final_ms
        await until(lambda: now_ms() > final_ms + 200, "the end of the reference's time")
        bank.let_go()
        result = await result_of(client, job)
    assert (result.outcome, result.fenced) == (Outcome.NOT_FOUND, False)


@pytest.mark.parametrize("fence", [FenceKind.RESUBMIT])
async def test_nothing_is_resubmitted_by_whoever_took_too_long_to_prepare_it(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Others may have decided since the permit was taken over; the next question tries again."""
    job = a_job()
    await client.set(permit_for(job).key, f"TAKEN somebody {now_ms()}")
    answer = bank.hold("after_prepare")
    async with running(redis_url, bank, call_timeout_s=5.0, budget_s=8.0, lease_s=0.2):
        await add(client, asking(job))
        await until(lambda: answer.come, "a preparation")
        since_ms = now_ms()
        await until(lambda: now_ms() > since_ms + 400, "the end of the lease")
        bank.let_go()
        result = await result_of(client, job)
    assert (result.outcome, result.code) == (Outcome.PENDING, "too_slow")
    assert not bank.calls["pay", job.reference]


@pytest.mark.parametrize("fence", list(FenceKind))
async def test_a_confirmed_cancellation_bars_only_where_that_was_promised(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Elsewhere the request may still arrive, and be paid."""
    job = a_job()
    await client.set(permit_for(job).key, f"TAKEN somebody {now_ms()}")

    async def confirmed(_call: Call) -> Definite:
        return Definite(Outcome.EXPIRED, final=True)

    async with running(redis_url, bank) as crew:
        vars(crew.psp)["cancel"] = confirmed
        await add(client, asking(job, Action.CANCEL))
        result = await result_of(client, job)
    assert (result.outcome, result.fenced) == (Outcome.NOT_FOUND, bank.fence is FenceKind.CANCEL)
