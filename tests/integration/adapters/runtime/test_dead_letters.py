"""Jobs that were given up: the verdict is true, said once, and holds against sleepers and replays."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from adapters.runtime.psp import Answer, Call, Ready
from shared.contracts import Action, JobMessage, Kind, Outcome, Source, job_envelope
from shared.psp import FenceKind
from shared.streams import keys
from shared.streams.dead_letters import read_page, redrive
from shared.streams.permits import PermitState
from tests.contract.psp.bank import Bank
from tests.contract.psp.bank_psp import PSP, BankPsp
from tests.integration.adapters.runtime.scene import (
    HOUR_MS,
    JOBS,
    PERSON,
    Running,
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
from tests.waiting import until

pytestmark = pytest.mark.parametrize("fence", [FenceKind.NONE], indirect=True)


class Broken(Exception):
    """A bug in an adapter; quotes what it choked on."""


def break_at(crew: Running, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the adapter a bug in one of its methods."""

    async def broken(_psp: BankPsp, call: Call) -> Ready | Answer:
        raise Broken(f"cannot send {call.opened['to']}")

    monkeypatch.setattr(type(crew.psp), method, broken)


async def buried(client: Redis) -> int:
    """Return how many jobs were given up."""
    return int(await client.xlen(keys.dlq(JOBS)))


async def test_a_job_that_never_came_to_its_permit_was_not_submitted(
    client: Redis, redis_url: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said after winning CANCELLED; a replay says the same and sends nothing."""
    job = a_job()
    async with running(redis_url, bank) as crew:
        with monkeypatch.context() as patch:
            break_at(crew, "prepare", patch)
            await add(client, job)
            result = await result_of(client, job)
        assert (result.outcome, result.source, result.final) == (Outcome.NOT_SUBMITTED, Source.VERDICT, True)
        assert (await permit(client, job)).state is PermitState.CANCELLED
        (record,) = await read_page(client, JOBS)
        assert (record.reason, record.error_class) == ("permanent", "Broken")
        assert PERSON not in repr(record)
        assert await redrive(client, JOBS, record.entry_id)
        replayed = (await results_of(client, job, 2))[1]
        assert replayed.outcome is Outcome.NOT_SUBMITTED
        assert crew.counted("paymesh_psp_verdicts_total", verdict="NOT_SUBMITTED") == 1
    assert not bank.calls["pay", job.reference]


async def test_a_job_that_may_have_been_sent_is_unknown(
    client: Redis, redis_url: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its permit is taken: nobody says that nothing happened; a replay inquires."""
    job = a_job()
    async with running(redis_url, bank) as crew:
        await add(client, job)
        await result_of(client, job)
        with monkeypatch.context() as patch:
            break_at(crew, "inquire", patch)
            await add(client, job, redrives=b"1")
            verdict = (await results_of(client, job, 2))[1]
        assert (verdict.outcome, verdict.source, verdict.final) == (Outcome.UNKNOWN, Source.VERDICT, False)
        (record,) = await read_page(client, JOBS)
        assert await redrive(client, JOBS, record.entry_id)
        replayed = (await results_of(client, job, 3))[2]
        assert replayed.outcome is Outcome.PAID
        assert crew.counted("paymesh_psp_verdicts_total", verdict="UNKNOWN") == 1
    assert bank.calls["pay", job.reference] == 1


async def test_a_bug_after_the_request_was_sent_never_frees_the_permit(
    client: Redis, redis_url: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter pays, then chokes on the answer: the payment is found by inquiry."""
    job = a_job()
    pay = BankPsp.submit

    async def broken(psp: BankPsp, call: Call) -> Answer:
        await pay(psp, call)
        raise Broken("an answer nobody foresaw")

    async with running(redis_url, bank):
        monkeypatch.setattr(BankPsp, "submit", broken)
        await add(client, job)
        assert (await result_of(client, job)).outcome is Outcome.PAID
    assert bank.calls["pay", job.reference] == bank.paid(job.reference) == 1


@pytest.mark.parametrize("changes", [{"age_ms": 13 * HOUR_MS}, {"inquire_first": True}, {"epoch": "other:1"}])
async def test_a_job_whose_permit_may_be_lost_is_unknown_when_given_up(
    client: Redis, redis_url: str, bank: Bank, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Too old, of another epoch, or re-dispatched after a loss."""
    job = a_job(**changes)
    async with running(redis_url, bank) as crew:
        break_at(crew, "inquire", monkeypatch)
        await add(client, job)
        assert (await result_of(client, job)).outcome is Outcome.UNKNOWN
    assert (await permit(client, job)).state is PermitState.ABSENT


async def test_an_inquiry_that_was_given_up_says_nothing(
    client: Redis, redis_url: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job it was about may be in the backlog; the poller asks again."""
    job = a_job()
    async with running(redis_url, bank) as crew:
        await client.set(permit_for(job).key, f"TAKEN somebody {job.created_ms}")
        break_at(crew, "inquire", monkeypatch)
        await add(client, asking(job))
        await until(lambda: crew.counted("paymesh_psp_verdicts_total", verdict="NONE"), "a verdict")
    assert await told(client) == []
    assert (await permit(client, job)).state is PermitState.TAKEN


@pytest.mark.parametrize("kind", ["no_envelope", "no_job", "other_psp", "other_operation", "cannot_unseal"])
async def test_what_is_no_job_of_ours_is_given_up_at_once(client: Redis, redis_url: str, bank: Bank, kind: str) -> None:
    """And says nothing about any intent, unless it can be read and was never submitted."""
    job = a_job()
    changed: dict[str, JobMessage] = {
        "other_psp": job.model_copy(update={"psp": "other"}),
        "other_operation": job.model_copy(update={"operation": "BANK_LOAN"}),
        "cannot_unseal": job.model_copy(update={"destination": {"elsewhere": job.destination["to"]}}),
    }
    fields = job_envelope(changed.get(kind, job)).fields()
    if kind == "no_envelope":
        fields = {b"hello": b"world"}
    elif kind == "no_job":
        fields |= {b"body": b"{}"}
    async with running(redis_url, bank) as crew:
        words = [word for pair in fields.items() for word in pair]
        await client.execute_command("XADD", JOBS, "*", *words)
        await until(lambda: crew.counted("paymesh_psp_verdicts_total"), "a verdict")
        assert await drained(client)
    said = [result.outcome for _, result in await told(client, job)]
    assert said == ([Outcome.NOT_SUBMITTED] if kind in ("other_operation", "cannot_unseal") else [])
    assert await buried(client) == 1


async def test_a_job_of_a_newer_version_is_handed_back_not_given_up(client: Redis, redis_url: str, bank: Bank) -> None:
    """A newer adapter will come for it."""
    job = a_job()
    fields = job_envelope(job).fields() | {b"v": b"2"}
    async with running(redis_url, bank) as crew:
        await client.execute_command("XADD", JOBS, "*", *[word for pair in fields.items() for word in pair])
        await until(lambda: crew.counted("paymesh_stream_handed_back_total"), "an entry handed back")
    assert await buried(client) == 0
    assert await client.xlen(JOBS) == 1


async def test_every_dead_letter_gets_one_verdict_from_however_many_processes(
    client: Redis, redis_url: str, bank: Bank
) -> None:
    """Three at once, and a fourth that comes later."""
    jobs = [a_job(destination={"elsewhere": a_job().destination["to"]}) for _ in range(30)]
    async with running(redis_url, bank), running(redis_url, bank), running(redis_url, bank):
        for job in jobs:
            await add(client, job)
        for job in jobs:
            await result_of(client, job)
    async with running(redis_url, bank) as late:
        extra = a_job(destination={"elsewhere": a_job().destination["to"]})
        await add(client, extra)
        await result_of(client, extra)
        await until(lambda: late.counted("paymesh_psp_verdicts_total"), "the count of what was told")
        assert late.counted("paymesh_psp_verdicts_total") == 1
    said = await told(client)
    assert len(said) == 31
    assert {kind for kind, _ in said} == {Kind.RESULT}
    assert {result.outcome for _, result in said} == {Outcome.NOT_SUBMITTED}
    last: bytes | str | None = await client.get(keys.verdicts(PSP))
    assert last == (await read_page(client, JOBS))[-1].entry_id


async def test_a_verdict_waits_until_the_server_answers(client: Redis, redis_url: str, bank: Bank) -> None:
    """With too few replicas nobody may say that it was never submitted; the dead letter keeps its turn."""
    job = a_job(destination={"elsewhere": a_job().destination["to"]})
    async with running(redis_url, bank, replicas_min=1, replicas_timeout_ms=20):
        await add(client, job)
        await until(lambda: buried(client), "a dead letter")
        await asyncio.gather(*(permit(client, job) for _ in range(3)))
        assert await told(client) == []
    async with running(redis_url, bank):
        assert (await result_of(client, job)).outcome is Outcome.NOT_SUBMITTED


async def test_an_adapter_without_its_replicas_sends_nothing(client: Redis, redis_url: str, bank: Bank) -> None:
    """The permit is given up and the job handed back, as often as it takes."""
    job = a_job()
    async with running(redis_url, bank, replicas_min=1, replicas_timeout_ms=20) as crew:
        await add(client, job)
        await until(lambda: crew.counted("paymesh_stream_outages_total"), "an outage")
    assert not bank.calls["pay", job.reference]
    assert (await permit(client, job)).state is PermitState.ABSENT
    async with running(redis_url, bank):
        assert (await result_of(client, job)).outcome is Outcome.PAID


async def test_a_cancellation_given_up_says_nothing(
    client: Redis, redis_url: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for again, or not."""
    job = a_job()
    async with running(redis_url, bank) as crew:
        await client.set(permit_for(job).key, f"TAKEN somebody {job.created_ms}")
        break_at(crew, "cancel", monkeypatch)
        await add(client, asking(job, Action.CANCEL))
        await until(lambda: crew.counted("paymesh_psp_verdicts_total", verdict="NONE"), "a verdict")
    assert await told(client) == []
