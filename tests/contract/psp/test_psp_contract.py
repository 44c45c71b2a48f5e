"""What the runtime may rely on, for every PSP: what an answer claims about the PSP's books is true.

`NotSent` is the dangerous word: whoever says it although something happened, or may yet, pays twice. The suite asks
the sandbox's own books.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from adapters.runtime.psp import Ambiguous, Answer, BadCallback, Call, Definite, NotSent, Ready
from shared.contracts import Action, Outcome
from shared.psp import FenceKind, check_manifest, read_manifest, write_manifest
from tests.contract.psp.stand import Stand

BEFORE = ("timeout", "reset", "malformed", "http_500", "http_502", "http_503")
CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_UNDER_WAY = (Outcome.PAID, Outcome.PENDING, Outcome.NEXT_ACTION)


def operations(stand: Stand) -> Sequence[str]:
    """Return what the PSP offers."""
    return list(stand.psp.manifest.operations)


async def prepared(stand: Stand, call: Call) -> Call:
    """Prepare a call; it must go well."""
    ready = await stand.psp.prepare(call)
    assert isinstance(ready, Ready), ready
    return replace(call, prepared=ready.data)


def impatient(call: Call, fault: str) -> Call:
    """Give up soon where no answer will come; one that does come may take as long as a busy machine takes for it."""
    return replace(call, timeout_s=0.4) if fault == "timeout" else call


async def submitted(stand: Stand, call: Call) -> Answer:
    """Prepare and submit."""
    return await stand.psp.submit(await prepared(stand, call))


def definite(answer: Answer) -> Definite:
    """Insist on a fact."""
    assert isinstance(answer, Definite), answer
    return answer


async def test_the_manifest_may_be_registered_and_read_again(stand: Stand) -> None:
    """It promises enough, and survives the register."""
    manifest = check_manifest(stand.psp.manifest)
    assert read_manifest(write_manifest(manifest)) == manifest


async def test_a_submission_that_goes_well_is_told_and_found(stand: Stand) -> None:
    """With the confirmed amount and the PSP's own id once it is paid; the inquiry says the same."""
    for operation in operations(stand):
        call = stand.call(operation)
        answer = definite(await submitted(stand, call))
        assert answer.outcome in _UNDER_WAY
        found = definite(await stand.psp.inquire(call))
        assert found.outcome in _UNDER_WAY
        if stand.psp.manifest.operations[operation].direction == "in":
            assert answer.outcome is Outcome.NEXT_ACTION
            assert answer.next_action is not None
            await stand.pay(call.job.reference)
            found = definite(await stand.psp.inquire(call))
        assert found.outcome is Outcome.PAID
        assert found.psp_transaction_id
        assert (found.amount_minor, found.currency) == (call.job.amount_minor, call.job.currency)
        assert await stand.paid(call.job.reference) == 1


async def test_a_reference_nobody_has_seen_is_not_found(stand: Stand) -> None:
    """In just that word; neither an error nor a decline."""
    for operation in operations(stand):
        assert definite(await stand.psp.inquire(stand.call(operation))).outcome is Outcome.NOT_FOUND


async def test_a_refusal_is_a_decline_with_a_code_of_ours(stand: Stand) -> None:
    """Whether it is final is said by the PSP and limited by the manifest."""
    for operation in operations(stand):
        if stand.psp.manifest.operations[operation].direction == "in":
            continue
        call = stand.call(operation, scenario="decline:over_limit")
        answer = definite(await submitted(stand, call))
        assert answer.outcome is Outcome.DECLINED
        assert answer.code == "over_limit"
        assert CODE.fullmatch(answer.code)
        assert definite(await stand.psp.inquire(call)).outcome is Outcome.DECLINED
        assert await stand.paid(call.job.reference) == 0


@pytest.mark.parametrize("fault", BEFORE)
async def test_an_answer_that_proves_nothing_is_ambiguous(stand: Stand, fault: str) -> None:
    """Nothing was done, but only the sandbox knows that."""
    for operation in operations(stand):
        call = await prepared(stand, stand.call(operation, scenario=f"{fault}_before_commit"))
        assert isinstance(await stand.psp.submit(impatient(call, fault)), Ambiguous)
        assert await stand.paid(call.job.reference) == 0


@pytest.mark.parametrize("fault", BEFORE)
async def test_an_answer_lost_after_the_deed_is_ambiguous_and_the_inquiry_finds_it(stand: Stand, fault: str) -> None:
    """Whoever said NotSent here would pay twice."""
    for operation in operations(stand):
        call = await prepared(stand, stand.call(operation, scenario=f"{fault}_after_commit"))
        assert isinstance(await stand.psp.submit(impatient(call, fault)), Ambiguous)
        assert definite(await stand.psp.inquire(call)).outcome in _UNDER_WAY


@pytest.mark.parametrize("fault", BEFORE)
async def test_a_failed_inquiry_is_no_fact(stand: Stand, fault: str) -> None:
    """It neither finds nor misses anything."""
    for operation in operations(stand):
        call = stand.call(operation, scenario=f"{fault}_before_commit", on="inquire")
        definite(await submitted(stand, call))
        assert isinstance(await stand.psp.inquire(impatient(call, fault)), Ambiguous | NotSent)


@pytest.mark.parametrize("fault", BEFORE)
async def test_a_failed_preparation_is_not_ready(stand: Stand, fault: str) -> None:
    """Nothing can be submitted with it."""
    for operation in operations(stand):
        call = stand.call(operation, scenario=f"{fault}_before_commit", on="prepare")
        ready = await stand.psp.prepare(impatient(call, fault))
        if isinstance(ready, Ready):
            assert not ready.data, "prepared by nobody"
        else:
            assert isinstance(ready, Ambiguous | NotSent)


async def test_nobody_at_home_is_a_proven_non_event(stand: Stand) -> None:
    """No connection, no request; and no exception either."""
    for operation in operations(stand):
        call = await prepared(stand, stand.call(operation))
        async with stand.out_of_reach():
            assert isinstance(await stand.psp.submit(call), NotSent)
            assert isinstance(await stand.psp.inquire(call), NotSent)
            assert isinstance(await stand.psp.cancel(call), NotSent | Ambiguous)
        assert await stand.paid(call.job.reference) == 0


async def test_the_time_allowed_is_kept(stand: Stand) -> None:
    """A PSP that is slower than that has not answered."""
    for operation in operations(stand):
        call = await prepared(stand, stand.call(operation, scenario="slow:9000"))
        async with asyncio.timeout(8.0):
            assert isinstance(await stand.psp.submit(replace(call, timeout_s=0.3)), Ambiguous)


async def test_the_time_that_the_psp_asks_for_is_passed_on(stand: Stand) -> None:
    """Retry-After, in seconds."""
    for operation in operations(stand):
        answer = await submitted(stand, stand.call(operation, scenario="http_503_before_commit:7"))
        assert isinstance(answer, Ambiguous)
        assert answer.retry_after_s == 7


async def test_throttling_is_never_a_fact(stand: Stand) -> None:
    """It is a proven non-event only where the PSP's contract says so; the books agree."""
    for operation in operations(stand):
        call = stand.call(operation, scenario="http_429_before_commit:3")
        answer = await submitted(stand, call)
        assert isinstance(answer, NotSent | Ambiguous)
        assert answer.retry_after_s == 3
        assert await stand.paid(call.job.reference) == 0


# The fence.


async def test_a_reference_that_comes_again_pays_once_where_the_fence_says_so(stand: Stand) -> None:
    """And the second answer never claims that nothing happened."""
    manifest = stand.psp.manifest
    if manifest.submit_fence.kind is FenceKind.NONE:
        pytest.skip("this PSP promises nothing: only the permit stands between it and a second payment")
    for operation in operations(stand):
        call = stand.call(operation)
        first = definite(await submitted(stand, call))
        again = await submitted(stand, call)
        assert not isinstance(again, NotSent)
        assert not (isinstance(again, Definite) and again.outcome in (Outcome.NOT_FOUND, Outcome.EXPIRED))
        assert not (isinstance(again, Definite) and again.outcome is Outcome.DECLINED and again.final)
        assert await stand.paid(call.job.reference) <= 1
        if manifest.submit_fence.kind is FenceKind.RESUBMIT:
            repeated = definite(again)
            assert repeated.outcome is first.outcome
            assert repeated.psp_transaction_id == first.psp_transaction_id
            assert dict(repeated.psp_ids) == dict(first.psp_ids)


async def test_a_decline_comes_again_as_a_decline(stand: Stand) -> None:
    """Where the fence is `resubmit`: the same answer, declines included."""
    if stand.psp.manifest.submit_fence.kind is not FenceKind.RESUBMIT:
        pytest.skip("another fence")
    for operation in operations(stand):
        if stand.psp.manifest.operations[operation].direction == "in":
            continue
        call = stand.call(operation, scenario="decline:over_limit")
        first, again = definite(await submitted(stand, call)), definite(await submitted(stand, call))
        assert (again.outcome, again.code) == (first.outcome, first.code) == (Outcome.DECLINED, "over_limit")


async def test_a_cancelled_reference_is_barred_although_it_was_never_seen(stand: Stand) -> None:
    """Where the fence is `cancel`: what arrives afterwards pays nobody."""
    if stand.psp.manifest.submit_fence.kind is not FenceKind.CANCEL:
        pytest.skip("another fence")
    for operation in operations(stand):
        call = await prepared(stand, stand.call(operation))
        assert definite(await stand.psp.cancel(call)).outcome is Outcome.EXPIRED
        late = await stand.psp.submit(call)
        assert not isinstance(late, Definite) or late.outcome in (Outcome.DECLINED, Outcome.EXPIRED)
        assert await stand.paid(call.job.reference) == 0
        assert definite(await stand.psp.inquire(call)).outcome in (Outcome.NOT_FOUND, Outcome.EXPIRED, Outcome.DECLINED)


async def test_a_cancellation_that_comes_too_late_says_how_it_stands(stand: Stand) -> None:
    """Never that it was cancelled."""
    for operation in operations(stand):
        if stand.psp.manifest.operations[operation].direction == "in":
            continue
        call = stand.call(operation)
        assert definite(await submitted(stand, call)).outcome is Outcome.PAID
        late = await stand.psp.cancel(call)
        assert not isinstance(late, Definite) or late.outcome in (Outcome.PAID, Outcome.PENDING)
        assert await stand.paid(call.job.reference) == 1


async def test_a_preparation_that_has_expired_pays_nobody(stand: Stand) -> None:
    """Where the fence is `reference_ttl`: `submit` uses what was prepared and obtains nothing anew."""
    fence = stand.psp.manifest.submit_fence
    if fence.kind is not FenceKind.REFERENCE_TTL:
        pytest.skip("another fence")
    for operation in operations(stand):
        call = await prepared(stand, stand.call(operation))
        await stand.age(max(fence.period_s, 60))
        late = await stand.psp.submit(call)
        assert not isinstance(late, Definite) or late.outcome is Outcome.DECLINED
        assert await stand.paid(call.job.reference) == 0


# What is told.


async def test_nobody_learns_from_an_answer_where_the_money_went(stand: Stand) -> None:
    """Answers, preparations and calls are shown in logs and tracebacks."""
    for operation in operations(stand):
        call = await prepared(stand, stand.call(operation))
        shown = [repr(call), repr(await stand.psp.submit(call)), repr(await stand.psp.inquire(call))]
        shown.append(repr(await stand.psp.prepare(call)))
        assert not [value for value in stand.personal for text in shown if value in text]


async def test_a_genuine_callback_says_what_the_books_say(stand: Stand) -> None:
    """About our reference, or under an id that the PSP gave to it."""
    if stand.psp.callbacks is None:
        pytest.skip("this PSP sends none")
    for operation in operations(stand):
        call = stand.call(operation)
        answer = definite(await submitted(stand, call))
        if stand.psp.manifest.operations[operation].direction == "in":
            await stand.pay(call.job.reference)
        came = await stand.callback(call.job.reference)
        assert came is not None
        seen = stand.psp.parse_callback(*came)
        assert seen.answer.outcome is Outcome.PAID
        assert seen.reference == call.job.reference or dict(seen.answer.psp_ids).items() & dict(answer.psp_ids).items()
        assert seen.answer.amount_minor == call.job.amount_minor


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"status": 1}', b'{"status": {"status": []}}', b"1" * 5000]
)
async def test_a_callback_that_makes_no_sense_is_refused_in_one_way(stand: Stand, raw: bytes) -> None:
    """No other exception, whatever comes."""
    if stand.psp.callbacks is None:
        pytest.skip("this PSP sends none")
    with pytest.raises(BadCallback):
        stand.psp.parse_callback({}, raw)


async def test_an_inquiry_needs_nothing_but_the_job(stand: Stand) -> None:
    """It is made by processes that have prepared nothing, years later."""
    for operation in operations(stand):
        call = stand.call(operation)
        definite(await submitted(stand, call))
        bare = Call(call.job.model_copy(update={"action": Action.INQUIRE}), call.opened, {}, call.timeout_s)
        assert definite(await stand.psp.inquire(bare)).outcome in _UNDER_WAY
