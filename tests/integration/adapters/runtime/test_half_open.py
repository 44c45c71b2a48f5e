"""A breaker that is half open: what needs no call must not take the place of the one that finds out."""

import pytest
from redis.asyncio import Redis

from shared.contracts import Outcome
from shared.psp import FenceKind
from shared.streams.breaker import BreakerRules, BreakerState, read_breaker, record
from tests.contract.psp.bank import Bank
from tests.contract.psp.bank_psp import PSP
from tests.integration.adapters.runtime.scene import (
    HOUR_MS,
    a_job,
    add,
    result_of,
    running,
)
from tests.waiting import until


@pytest.fixture
def fence() -> FenceKind:
    """One is enough here."""
    return FenceKind.RESUBMIT


async def test_jobs_that_ran_out_of_time_in_an_outage_do_not_keep_the_breaker_from_closing(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Behind a backlog that needs no call the PSP is found to be well at once, not a probe's time per job later."""
    rules = BreakerRules(open_ms_min=10, open_ms_max=10)
    await record(client, PSP, "0" * rules.row_max, rules=rules, jitter=0.0)

    async def half_open() -> bool:
        return (await read_breaker(client, PSP)).state is BreakerState.HALF_OPEN

    await until(half_open, "a half-open breaker")
    outdated = [a_job(age_ms=2 * HOUR_MS) for _ in range(3)]
    fresh = a_job()
    for job in (*outdated, fresh):
        await add(client, job)
    async with running(redis_url, bank):
        result = await result_of(client, fresh, timeout_s=8)
    assert result.outcome is Outcome.PAID
