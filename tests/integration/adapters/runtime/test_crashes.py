"""Processes that die or sleep between any two steps: the bank never pays twice, and nobody denies what was paid.

Five real adapters strike at a step each, killed or stopped, amid a stream of jobs. Then others decide: another
consumer takes the jobs over, a poller inquires until everything is closed that the fence can close, and for some jobs
somebody tries to win CANCELLED. Sleepers wake up afterwards, and go on where they were. The bank's own books judge.
"""

import asyncio
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from adapters.runtime.steps import STEPS
from shared.contracts import JobMessage, Outcome, ResultMessage, Source
from shared.psp import FenceKind
from shared.streams import permits
from shared.streams.permits import Cancelled
from tests.contract.psp.bank import Bank, Held
from tests.integration.adapters.runtime.processes import AdapterProcess
from tests.integration.adapters.runtime.scene import (
    a_job,
    add,
    asking,
    drained,
    mark_group,
    permit,
    permit_for,
    result_of,
    results_of,
    running,
    told,
)
from tests.waiting import pace, until

JOBS_MIN, JOBS_MAX = 30, 180
SCENARIOS = (
    "success",
    "slow:60",
    "decline:over_limit",
    "http_503_after_commit",
    "reset_after_commit",
    "reset_before_commit",
    "processing",
)


@contextmanager
def adapters(
    folder: Path, redis_url: str, bank: Bank, how: str, steps: tuple[str, ...] = STEPS
) -> Iterator[list[AdapterProcess]]:
    """Run one adapter per step."""
    crew = [AdapterProcess(folder / step, redis_url, bank, step=step, how=how, concurrency=4) for step in steps]
    try:
        yield crew
    finally:
        for process in crew:
            process.end()


def denies(result: ResultMessage) -> bool:
    """Say whether the saga would give the money back on this."""
    return (
        result.outcome in (Outcome.NOT_SUBMITTED, Outcome.EXPIRED)
        or (result.outcome is Outcome.DECLINED and result.final)
        or result.fenced
    )


class Reckoning:
    """What was said about each job, held against the bank's books."""

    def __init__(self, client: Redis, bank: Bank) -> None:
        self._client = client
        self._bank = bank
        self.jobs: list[JobMessage] = []
        self.denied: set[str] = set()
        """Jobs for which somebody besides the adapters won CANCELLED."""

    async def post(self, scenario: str = "") -> None:
        """Add a job; if none in particular, then every other one twice, as a relay does that crashed in between."""
        job = a_job(scenario=scenario or SCENARIOS[len(self.jobs) % len(SCENARIOS)])
        self.jobs.append(job)
        for _ in range(1 if scenario else 1 + len(self.jobs) % 2):
            await add(self._client, job)

    async def said(self, job: JobMessage) -> list[ResultMessage]:
        """Return everything that was said about a job."""
        return [result for _, result in await told(self._client, job)]

    async def closed(self, job: JobMessage) -> bool:
        """Say whether the saga would know what to do."""
        if job.intent_id in self.denied:
            return True
        return any(denies(result) or result.outcome is Outcome.PAID for result in await self.said(job))

    async def try_to_cancel(self, rng: random.Random) -> None:
        """Let poller and operator have their say about some jobs."""
        for job in rng.sample(self.jobs, len(self.jobs) // 2):
            if await permits.win_cancelled(self._client, permit=permit_for(job), who="operator") is Cancelled.CANCELLED:
                self.denied.add(job.intent_id)

    async def poll(self, *, rounds: int) -> None:
        """Inquire about whatever is open, as the poller does, until nothing is, or so many times."""
        for payment in self._bank.payments:
            # What takes the bank its time gets done.
            payment.status = "PAID" if payment.status == "PROCESSING" else payment.status
        for job in self.jobs:
            self._bank.played(job.reference, "success")
        for _ in range(rounds):
            still_open = [job for job in self.jobs if not await self.closed(job)]
            if not still_open:
                return
            for job in still_open:
                await add(self._client, asking(job))
            await until(lambda: drained(self._client), "inquiries answered", timeout_s=30)
            await pace(0.2)

    async def hold_against_the_books(self, *, all_closed: bool) -> None:
        """Judge."""
        for job in self.jobs:
            said = await self.said(job)
            story = [(result.action, result.outcome, result.code, result.fenced) for result in said]
            seen = await permit(self._client, job)
            about = f"{self._bank.fence}: {story}, permit {seen}, test scenario {job.test_scenario}"
            paid = self._bank.paid(job.reference)
            assert paid <= 1, f"paid {paid} times; {about}"
            denied = job.intent_id in self.denied or any(denies(result) for result in said)
            assert not (paid and denied), f"paid and denied; {about}"
            confirmed = any(result.outcome is Outcome.PAID for result in said)
            assert not (confirmed and not paid), f"never paid, yet confirmed; {about}"
            if paid or all_closed:
                assert confirmed or denied, f"still open; {about}"


async def strike(reckoning: Reckoning, crew: list[AdapterProcess]) -> None:
    """Post jobs until every adapter has come to its step."""
    await until(lambda: all(process.ready for process in crew), "adapters that read", timeout_s=60)
    while len(reckoning.jobs) < JOBS_MIN or not all(process.struck for process in crew):
        assert len(reckoning.jobs) < JOBS_MAX, [process.log.read_text() for process in crew if not process.struck]
        await reckoning.post()
        # Whoever has not come to its step by then is slow, or its breaker is open: more at once would not help.
        await pace(0.03 if len(reckoning.jobs) < JOBS_MIN else 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_no_step_is_so_bad_that_money_moves_twice_or_is_denied(
    client: Redis, redis_url: str, bank: Bank, how: str, tmp_path: Path
) -> None:
    """Kill -9, or SIGSTOP until others have decided and SIGCONT after it, at every step."""
    await mark_group(client)
    reckoning = Reckoning(client, bank)
    rng = random.Random(f"{bank.fence} {how}")
    with adapters(tmp_path, redis_url, bank, how) as crew:
        await strike(reckoning, crew)
        async with running(redis_url, bank):
            await until(lambda: drained(client), "jobs taken over", timeout_s=40)
            await reckoning.try_to_cancel(rng)
            rounds = 3 if bank.fence is FenceKind.NONE else 30
            await reckoning.poll(rounds=rounds)
            await reckoning.hold_against_the_books(all_closed=bank.fence is not FenceKind.NONE)
            if how == "stop":
                for process in crew:
                    process.go_on()
                codes = await asyncio.gather(*(asyncio.to_thread(process.leave) for process in crew))
                assert codes == [0] * len(crew), [process.log.read_text()[-2000:] for process in crew]
            await reckoning.poll(rounds=rounds)
            await until(lambda: drained(client), "everything dealt with", timeout_s=20)
        await reckoning.hold_against_the_books(all_closed=bank.fence is not FenceKind.NONE)


@pytest.mark.parametrize("decided_by", ["consumer", "poller"])
async def test_a_consumer_that_slept_before_its_permit_finds_the_matter_decided(
    client: Redis, redis_url: str, bank: Bank, decided_by: str, tmp_path: Path
) -> None:
    """It had read the job and prepared it; meanwhile another consumer paid, or the poller gave it up."""
    await mark_group(client)
    reckoning = Reckoning(client, bank)
    sleeper = AdapterProcess(tmp_path / "sleeper", redis_url, bank, call_timeout_s=20, budget_s=20, hold_max_s=100)
    try:
        await until(lambda: sleeper.ready, "an adapter that reads", timeout_s=60)
        held = bank.hold("prepare")
        await reckoning.post("success")
        await until(lambda: held.come, "a preparation")
        sleeper.process.send_signal(signal.SIGSTOP)
        bank.let_go()
        (job,) = reckoning.jobs
        if decided_by == "poller":
            won = await permits.win_cancelled(client, permit=permit_for(job), who="poller")
            assert won is Cancelled.CANCELLED
            reckoning.denied.add(job.intent_id)
        else:
            async with running(redis_url, bank):
                assert (await results_of(client, job))[0].outcome is Outcome.PAID
        sleeper.go_on()
        assert await asyncio.to_thread(sleeper.leave) == 0
    finally:
        sleeper.end()
    assert bank.paid(job.reference) == (0 if decided_by == "poller" else 1)
    await reckoning.hold_against_the_books(all_closed=True)


async def test_a_sleeper_that_wakes_just_before_it_sends_is_stopped_by_the_age_of_its_permit(
    client: Redis, redis_url: str, bank: Bank, tmp_path: Path
) -> None:
    """It asks for the permit again, is told that the job is somebody else's, and sends nothing."""
    await mark_group(client)
    reckoning = Reckoning(client, bank)
    with adapters(tmp_path, redis_url, bank, "stop", ("permit_taken",)) as (sleeper,):
        await until(lambda: sleeper.ready, "an adapter that reads", timeout_s=60)
        await reckoning.post("success")
        await until(lambda: sleeper.struck, "a sleeper")
        (job,) = reckoning.jobs
        async with running(redis_url, bank):
            (first,) = await results_of(client, job)
            sent = bank.calls["pay", job.reference]
            sleeper.go_on()
            assert await asyncio.to_thread(sleeper.leave) == 0
    assert bank.calls["pay", job.reference] == sent == (1 if bank.fence is FenceKind.RESUBMIT else 0)
    assert first.outcome is (
        Outcome.PAID
        if bank.fence is FenceKind.RESUBMIT
        else Outcome.NOT_FOUND
        if bank.fence is FenceKind.CANCEL
        else Outcome.UNKNOWN
    )


@pytest.mark.parametrize("fence", [FenceKind.CANCEL, FenceKind.REFERENCE_TTL], indirect=True)
async def test_a_request_that_arrives_after_its_end_was_concluded_is_refused_by_the_bank(
    client: Redis, redis_url: str, bank: Bank, tmp_path: Path
) -> None:
    """No clock of ours could have stopped it: the sleeper had nothing left to look at. The fence does."""
    await mark_group(client)
    reckoning = Reckoning(client, bank)
    with adapters(tmp_path, redis_url, bank, "stop", ("before_send",)) as (sleeper,):
        await until(lambda: sleeper.ready, "an adapter that reads", timeout_s=60)
        await reckoning.post("success")
        await until(lambda: sleeper.struck, "a sleeper")
        (job,) = reckoning.jobs
        async with running(redis_url, bank):
            await until(lambda: drained(client), "a job taken over")
            await reckoning.poll(rounds=30)
            assert any(result.fenced for result in await reckoning.said(job))
            assert bank.calls["pay", job.reference] == 0
            sleeper.go_on()
            assert await asyncio.to_thread(sleeper.leave) == 0
    assert bank.calls["pay", job.reference] >= 1
    assert bank.paid(job.reference) == 0
    await reckoning.hold_against_the_books(all_closed=True)


def _has_come(held: Held, calls: int) -> bool:
    return held.come >= calls


@pytest.mark.slow
@pytest.mark.parametrize("fence", [FenceKind.NONE], indirect=True)
@pytest.mark.parametrize("sent", [False, True])
async def test_a_job_that_kills_every_process_is_given_up_after_three_deaths_alone(
    client: Redis, redis_url: str, bank: Bank, tmp_path: Path, *, sent: bool
) -> None:
    """Before its permit: never submitted. After it: unknown, however the bank's books look."""
    await mark_group(client)
    reckoning = Reckoning(client, bank)
    held = None if sent else bank.hold("prepare")
    await reckoning.post("success")
    (job,) = reckoning.jobs
    # Once among fresh entries, and three times alone.
    for death in range(4):
        patience: dict[str, Any] = {} if sent else {"call_timeout_s": 9, "budget_s": 20, "hold_max_s": 60}
        step = "before_append" if sent else ""
        process = AdapterProcess(tmp_path / str(death), redis_url, bank, step=step, how="kill", **patience)
        try:
            if held is not None:
                await until(partial(_has_come, held, death + 1), "a preparation", timeout_s=30)
                process.process.kill()
            await until(lambda: process.process.poll() is not None, "its death", timeout_s=30)  # noqa: B023 - awaited here
        finally:
            process.end()
    bank.let_go()
    async with running(redis_url, bank):
        verdict = await result_of(client, job)
    assert verdict.source is Source.VERDICT
    assert verdict.outcome is (Outcome.UNKNOWN if sent else Outcome.NOT_SUBMITTED)
    assert bank.paid(job.reference) == (1 if sent else 0)
