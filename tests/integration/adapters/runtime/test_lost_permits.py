"""A permit that Redis lost: what the PSP has named was submitted, whatever the permit says; and pauses it asks for."""

import time
from itertools import pairwise
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.contracts import Action, Outcome
from shared.psp import FenceKind
from shared.streams.permits import PermitState
from tests.contract.psp.bank import Bank
from tests.integration.adapters.runtime.scene import (
    a_job,
    add,
    asking,
    permit,
    permit_for,
    result_of,
    results_of,
    running,
)


@pytest.fixture
def fence() -> FenceKind:
    """One is enough here."""
    return FenceKind.CANCEL


async def test_what_the_psp_has_named_is_given_up_at_the_psp_although_its_permit_was_lost(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """The permit is gone, the payment request is not: nobody may call it never submitted."""
    job = a_job()
    async with running(redis_url, bank):
        await add(client, job)
        assert (await result_of(client, job)).outcome is Outcome.PAID
        await client.delete(permit_for(job).key)
        named = asking(job, Action.CANCEL).model_copy(update={"psp_ids": {"transaction": "X1"}})
        await add(client, named)
        _, late = await results_of(client, job, 2)
    assert late.outcome is Outcome.PAID
    assert bank.calls["cancel", job.reference] == 1


@pytest.mark.parametrize("fence", [FenceKind.RESUBMIT])
async def test_a_request_is_not_repeated_before_the_psp_wants_it(client: Redis, redis_url: str, bank: Bank) -> None:
    """503 with Retry-After: neither a question nor the same reference comes earlier."""
    job = a_job(scenario="http_503_before_commit:1")
    came_s: list[float] = []
    play: Any = bank._play

    async def watched(*args: Any) -> Any:
        if args[2] == "pay":
            came_s.append(time.monotonic())
        return await play(*args)

    vars(bank)["_play"] = watched
    async with running(redis_url, bank, budget_s=8.0):
        await add(client, job)
        await result_of(client, job)
    assert all(later - earlier >= 1 for earlier, later in pairwise(came_s))


async def test_a_psp_that_wants_a_longer_pause_than_the_job_has_is_asked_by_somebody_else(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Until then nobody knows, and the result says when to ask."""
    job = a_job(scenario="http_503_after_commit:60")
    async with running(redis_url, bank):
        await add(client, job)
        result = await result_of(client, job)
        assert (result.outcome, result.retry_after_s) == (Outcome.UNKNOWN, 60)
        assert not bank.calls["inquire", job.reference]
        assert (await permit(client, job)).state is PermitState.TAKEN
        await add(client, asking(job))
        _, found = await results_of(client, job, 2)
    assert found.outcome is Outcome.PAID
    assert bank.calls["pay", job.reference] == 1
