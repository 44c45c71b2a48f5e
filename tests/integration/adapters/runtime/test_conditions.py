"""What holds an adapter back: kill switch, breaker, results nobody reads, its own bulkhead, a stop."""

import asyncio

import pytest
from redis.asyncio import Redis

from shared.contracts import Outcome
from shared.errors import StoreMismatch, Transient
from shared.psp import FenceKind
from shared.streams import keys
from shared.streams.breaker import BreakerState, read_breaker
from shared.streams.control import pause, resume
from shared.streams.permits import PermitState
from tests.contract.psp.bank import Bank, served
from tests.contract.psp.bank_psp import PAYOUT, PSP
from tests.integration.adapters.runtime.scene import (
    JOBS,
    RESULTS,
    Running,
    a_job,
    add,
    asking,
    drained,
    now_ms,
    permit,
    result_of,
    running,
    told,
)
from tests.ports import Lease
from tests.waiting import until

pytestmark = pytest.mark.parametrize("fence", [FenceKind.NONE], indirect=True)


async def noticed(crew: Running, *, paused: bool) -> None:
    """Wait until the adapter has seen the kill switch."""
    conditions = crew.adapter.conditions
    await until(lambda: conditions.may_submit(PAYOUT) is not paused, "the kill switch seen", timeout_s=1.0)


async def test_a_paused_psp_is_not_called_within_a_second_and_carries_on_afterwards(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Jobs wait on their stream, unread."""
    async with running(redis_url, bank) as crew:
        await noticed(crew, paused=False)
        await pause(client, PSP, who="ann", at_ms=now_ms())
        await noticed(crew, paused=True)
        jobs = [a_job() for _ in range(5)]
        for job in jobs:
            await add(client, job)
        await until(lambda: crew.counted("paymesh_psp_paused") == 1, "a gauge")

        async def nobody_holds() -> bool:
            return not (await client.xpending(JOBS, keys.ADAPTER_GROUP))["pending"]

        await until(nobody_holds, "jobs left alone")
        assert not bank.calls
        await resume(client, PSP)
        for job in jobs:
            assert (await result_of(client, job)).outcome is Outcome.PAID


async def test_a_job_under_way_is_put_off_when_the_switch_is_thrown_before_it_is_sent(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Its permit is freed with it, so that it may be cancelled."""
    job = a_job(scenario="http_429_before_commit")
    async with running(redis_url, bank, budget_s=8.0, hold_max_s=60, retry_first_ms=1_000, retry_max_ms=1_000) as crew:
        await add(client, job)
        await until(lambda: bank.calls["pay", job.reference], "a first try")
        await pause(client, PSP, who="ann", at_ms=now_ms())
        await noticed(crew, paused=True)
        sent = bank.calls["pay", job.reference]

        async def put_off() -> bool:
            return bool(await client.zcard(keys.delay(JOBS)) or await client.xlen(JOBS))

        await until(lambda: crew.counted("paymesh_psp_jobs_put_off_total", reason="paused"), "put off")
        assert await put_off()
        assert (await permit(client, job)).state is PermitState.ABSENT
        assert bank.calls["pay", job.reference] <= sent + 1


async def test_a_paused_operation_is_not_submitted_but_still_asked_about(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Doubts are cleared while nothing new is sent."""
    before, after = a_job(), a_job()
    async with running(redis_url, bank) as crew:
        await add(client, before)
        await result_of(client, before)
        await pause(client, PSP, PAYOUT, who="ann", at_ms=now_ms())
        await noticed(crew, paused=True)
        await add(client, after)
        await add(client, asking(before))
        await until(lambda: bank.calls["inquire", before.reference], "an inquiry")
        await until(lambda: crew.counted("paymesh_psp_jobs_put_off_total", reason="paused"), "a job put off")
        assert not bank.calls["pay", after.reference]
        await resume(client, PSP, PAYOUT)
        assert (await result_of(client, after)).outcome is Outcome.PAID


async def test_a_psp_that_is_down_opens_the_breaker_and_is_left_alone_until_a_probe_succeeds(
    client: Redis, redis_url: str, bank: Bank, fence: FenceKind, lease: Lease
) -> None:
    """Nobody listens; the jobs wait, and every one of them goes through afterwards, once."""
    jobs = [a_job() for _ in range(20)]
    gone = Bank(fence)
    gone.url = f"http://127.0.0.1:{(port := lease())}"
    async with running(redis_url, gone, tries=1) as crew:
        for job in jobs:
            await add(client, job)

        async def opened() -> bool:
            return (await read_breaker(client, PSP)).state is BreakerState.OPEN

        await until(opened, "an open breaker")
        await until(lambda: crew.counted("paymesh_psp_breaker") == 2, "a gauge")
        failed = crew.counted("paymesh_psp_calls_total")
        async with served(gone, port=port):
            for job in jobs:
                assert (await result_of(client, job, timeout_s=30)).outcome is Outcome.PAID
        assert failed < 200
    assert [gone.paid(job.reference) for job in jobs] == [1] * 20
    assert (await read_breaker(client, PSP)).state is BreakerState.CLOSED
    assert bank.payments == []


async def test_no_more_jobs_are_taken_on_while_nobody_reads_the_results(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """What is under way ends, results are never refused; the rest waits on its stream."""
    jobs = [a_job(scenario="slow:40") for _ in range(40)]
    async with running(redis_url, bank, results_max=5, concurrency=2):
        for job in jobs:
            await add(client, job)

        async def full() -> bool:
            return int(await client.xlen(RESULTS)) >= 5

        await until(full, "results over bound")

        async def held() -> int:
            return int((await client.xpending(JOBS, keys.ADAPTER_GROUP))["pending"])

        async def quiet() -> bool:
            return not await held()

        await until(quiet, "nothing under way")
        waiting = await client.xlen(JOBS)
        assert waiting > 0
        rows = await client.xlen(RESULTS)
        assert rows + waiting == 40
        await client.delete(RESULTS)

        async def all_told() -> bool:
            if await client.xlen(RESULTS) >= 5:
                await client.delete(RESULTS)
            return await drained(client)

        await until(all_told, "everything dealt with", timeout_s=30)
    assert sum(bank.paid(job.reference) for job in jobs) == 40


async def test_a_slow_psp_is_called_no_more_often_at_once_than_the_bulkhead_allows(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """The other jobs wait on their stream, where other processes may take them."""
    held = bank.hold("pay")
    jobs = [a_job() for _ in range(12)]
    # Eight slots: one is the reader's, one may be the reclaimer's.
    async with running(redis_url, bank, call_timeout_s=4.0, budget_s=8.0, hold_max_s=60, lease_s=8):
        for job in jobs:
            await add(client, job)
        await until(lambda: held.come >= 7, "a full bulkhead")
        assert held.come <= 8
        bank.let_go()
        for job in jobs:
            assert (await result_of(client, job)).outcome is Outcome.PAID


async def test_a_stop_lets_what_is_under_way_end_and_takes_nothing_on(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Answered jobs are told; the others stay on the stream; the consumer's name is gone."""
    held = bank.hold("paid")
    first, later = a_job(), a_job()
    async with running(redis_url, bank, call_timeout_s=4.0, budget_s=8.0, hold_max_s=60) as crew:
        await add(client, first)
        await until(lambda: held.come, "a payment under way")
        crew.stop.set()
        await add(client, later)
        bank.let_go()
        await crew.task
        assert crew.adapter.worker.healthy
    said = await told(client)
    assert (first.intent_id, Outcome.PAID) in [(result.intent_id, result.outcome) for _, result in said]
    assert await client.xinfo_consumers(JOBS, keys.ADAPTER_GROUP) == [] or not bank.calls["pay", later.reference]


async def test_an_adapter_that_cannot_see_the_kill_switch_takes_nothing_on(redis_url: str, bank: Bank) -> None:
    """Before its first look, and when the last one is too old."""
    async with running(redis_url, bank) as crew:
        conditions = crew.adapter.conditions
        await noticed(crew, paused=False)
        conditions._seen_s = asyncio.get_running_loop().time() - 60
        assert not conditions.open
        assert not conditions.may_submit(PAYOUT)
        await noticed(crew, paused=False)


async def test_an_adapter_is_ready_only_where_its_slot_belongs_to_a_mesh(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Without the mark it would only inquire, and every job would end in doubt."""
    async with running(redis_url, bank) as crew:
        conditions = crew.adapter.conditions
        await noticed(crew, paused=False)
        await conditions.check()
        await client.delete(keys.mesh(PSP))

        async def refuses() -> bool:
            try:
                await conditions.check()
            except StoreMismatch:
                return True
            return False

        await until(refuses, "an adapter that is not ready")
        conditions._seen_s = None
        with pytest.raises(Transient):
            await conditions.check()
