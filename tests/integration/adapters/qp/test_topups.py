"""Top-ups from the job to the results: shown, paid, paid again, late, taken back, lost and found again."""

import pytest

from adapters.qp.link import parse
from adapters.sandbox.client import ControlError
from shared.contracts import Action, Kind, Outcome, Source
from tests.integration.adapters.qp.scene import World, a_topup, facts

RESULT, BESIDE = Kind.RESULT, Kind.OBSERVATION


async def test_a_topup_is_shown_and_then_paid(world: World) -> None:
    """With a link that pays exactly it, and the payment that QP confirms."""
    job = a_topup()
    shown = await world.submit(job)
    assert shown.outcome is Outcome.NEXT_ACTION
    assert shown.next_action is not None
    link = parse(shown.next_action.link or "")
    assert (link.qrc_id, link.amount_kopecks) == (shown.psp_ids["qrc_id"], job.amount_minor)
    (open_,) = await world.ask(job, psp_ids=shown.psp_ids)
    assert open_[1].next_action == shown.next_action
    (payment,) = await world.pay(job)
    for ids in ({}, shown.psp_ids):
        ((kind, paid),) = await world.ask(job, psp_ids=ids)
        assert (kind, paid.outcome, paid.psp_transaction_id) == (RESULT, Outcome.PAID, payment)
        assert (paid.amount_minor, paid.currency, paid.final) == (job.amount_minor, "RUB", True)


async def test_the_time_asked_for_is_the_codes_time(world: World) -> None:
    """And twenty minutes where nobody asks."""
    for job, seconds in ((a_topup(ttl_s="90"), 90), (a_topup(), 1_200)):
        shown = (await world.submit(job)).next_action
        assert shown is not None
        (code,) = (await world.books(job))["qrs"]
        assert shown.expires_ms - code["createdAtMs"] == 1_000 * seconds


async def test_terms_that_there_are_not_never_reach_qp(world: World) -> None:
    """Declined beforehand, for good."""
    job = a_topup(ttl_s="soon")
    declined = await world.submit(job)
    assert (declined.outcome, declined.code, declined.final) == (Outcome.DECLINED, "bad_terms", True)
    assert await world.control.calls(job.reference) == []


async def test_a_refused_code_is_a_decline_for_good(world: World) -> None:
    """In our words; and an inquiry finds nothing that could be paid."""
    declined = await world.submit(a_topup("decline:over_limit"))
    assert (declined.outcome, declined.code, declined.final) == (Outcome.DECLINED, "over_limit", True)


async def test_a_code_expires_by_qps_word(world: World) -> None:
    """Not before, and then for good."""
    job = a_topup(ttl_s="60")
    await world.submit(job)
    await world.control.advance(59_000)
    assert facts(await world.ask(job)) == [(RESULT, Outcome.NEXT_ACTION, None)]
    await world.control.advance(1_001)
    ((_, expired),) = await world.ask(job)
    assert (expired.outcome, expired.code, expired.final) == (Outcome.EXPIRED, "expired", True)


async def test_a_payment_under_way_outlives_the_code(world: World) -> None:
    """It is pending until it is decided, and paid if it is accepted."""
    job = a_topup(ttl_s="60")
    await world.submit(job)
    (payment,) = await world.pay(job, scenario="processing")
    await world.control.advance(120_000)
    assert facts(await world.ask(job)) == [(RESULT, Outcome.PENDING, None)]
    await world.judge(payment, "accept")
    assert facts(await world.ask(job)) == [(RESULT, Outcome.PAID, payment)]


async def test_a_payment_after_the_expiry_is_told(world: World) -> None:
    """Although the code says that it has expired."""
    job = a_topup(ttl_s="60")
    await world.submit(job)
    await world.control.advance(61_000)
    assert facts(await world.ask(job)) == [(RESULT, Outcome.EXPIRED, None)]
    (payment,) = await world.pay(job, force=True)
    assert facts(await world.ask(job)) == [(RESULT, Outcome.PAID, payment)]
    assert (await world.books(job))["qrs"][0]["status"] == "EXPIRED"


async def test_a_code_paid_twice_has_two_facts_in_one_answer(world: World) -> None:
    """One result, one observation beside it; and again, whenever somebody asks."""
    job = a_topup()
    await world.submit(job)
    first, second = await world.pay(job, count=2, force=True)
    for _ in range(2):
        said = await world.ask(job)
        assert facts(said) == [(RESULT, Outcome.PAID, first), (BESIDE, Outcome.PAID, second)]
        assert {result.source for _, result in said} == {Source.JOB}
        assert {(result.amount_minor, result.reference) for _, result in said} == {(30_510, job.reference)}


async def test_a_static_code_is_paid_three_times(world: World) -> None:
    """Each payment under an id of its own, with its own amount, and the code goes on."""
    job = a_topup(static="true")
    shown = await world.submit(job)
    assert shown.next_action is not None
    assert shown.next_action.expires_ms == 253_402_300_799_000
    paid = [(await world.pay(job, amount=amount))[0] for amount in (100, 200, 300)]
    said = await world.ask(job, psp_ids=shown.psp_ids)
    kinds = [RESULT, BESIDE, BESIDE]
    assert facts(said) == [(kind, Outcome.PAID, payment) for kind, payment in zip(kinds, paid, strict=True)]
    assert [result.amount_minor for _, result in said] == [100, 200, 300]
    assert not said[0][1].final


async def test_a_static_code_paid_hundreds_of_times_is_told_whole(world: World) -> None:
    """No payment is left out of an answer."""
    job = a_topup(static="true")
    await world.submit(job)
    paid = [payment for _ in range(4) for payment in await world.pay(job, count=100)]
    said = await world.ask(job)
    assert [result.psp_transaction_id for _, result in said] == paid


async def test_another_amount_is_told_as_it_was_paid(world: World) -> None:
    """What was asked for is no matter."""
    job = a_topup()
    await world.submit(job)
    await world.pay(job, amount=29_999)
    ((_, paid),) = await world.ask(job)
    assert (paid.outcome, paid.amount_minor) == (Outcome.PAID, 29_999)


async def test_a_declined_payment_leaves_another_try_and_the_third_ends_it(world: World) -> None:
    """By QP's word, with the reason of the last one."""
    job = a_topup()
    await world.submit(job)
    for _ in range(2):
        await world.pay(job, scenario="payment_declined:insufficient_funds")
        assert facts(await world.ask(job)) == [(RESULT, Outcome.NEXT_ACTION, None)]
    await world.pay(job, scenario="payment_declined:insufficient_funds")
    ((_, declined),) = await world.ask(job)
    assert (declined.outcome, declined.code, declined.final) == (Outcome.DECLINED, "insufficient_funds", True)


async def test_a_payment_accepted_after_its_decline_is_told(world: World) -> None:
    """Although the code was cancelled by it."""
    job = a_topup()
    await world.submit(job)
    for _ in range(2):
        await world.pay(job, scenario="payment_declined:insufficient_funds")
    (revived,) = await world.pay(job, scenario="payment_declined:insufficient_funds+revived:1000")
    assert facts(await world.ask(job)) == [(RESULT, Outcome.DECLINED, None)]
    await world.control.advance(1_001)
    await world.heard(job, 4)
    assert facts(await world.ask(job)) == [(RESULT, Outcome.PAID, revived)]


async def test_a_payment_taken_back_is_told_under_its_id(world: World) -> None:
    """Alone, and beside another that stands."""
    job = a_topup()
    await world.submit(job)
    first, second = await world.pay(job, count=2, force=True)
    await world.judge(first, "reverse")
    assert facts(await world.ask(job)) == [(RESULT, Outcome.PAID, second), (BESIDE, Outcome.REVERSED, first)]
    await world.judge(second, "reverse")
    assert facts(await world.ask(job)) == [(RESULT, Outcome.REVERSED, first), (BESIDE, Outcome.REVERSED, second)]


# Doubt.


@pytest.mark.parametrize("fault", ["timeout", "reset", "malformed", "http_503"])
async def test_a_code_whose_answer_was_lost_is_found_and_shown(world: World, fault: str) -> None:
    """One code, and no doubt left."""
    job = a_topup(f"create={fault}_after_commit*1")
    shown = await world.submit(job)
    assert shown.outcome is Outcome.NEXT_ACTION
    assert shown.next_action is not None
    (code,) = (await world.books(job))["qrs"]
    assert (shown.next_action.link, shown.psp_ids) == (code["payload"], {"qrc_id": code["qrcId"]})


@pytest.mark.parametrize("fault", ["timeout", "reset", "malformed", "http_503"])
async def test_a_code_that_was_never_made_is_asked_for_again(world: World, fault: str) -> None:
    """The same order on the same terms is the same code, so that nothing can be made twice."""
    job = a_topup(f"create={fault}_before_commit*1")
    assert (await world.submit(job)).outcome is Outcome.NEXT_ACTION
    assert len((await world.books(job))["qrs"]) == 1


async def test_a_code_paid_before_its_answer_was_lost_is_paid(world: World) -> None:
    """The payer was faster than the doubt."""
    job = a_topup("create=timeout_after_commit+paid*1")
    paid = await world.submit(job)
    assert (paid.outcome, paid.amount_minor) == (Outcome.PAID, job.amount_minor)


async def test_a_code_unknown_under_its_id_is_looked_for_by_our_order(world: World) -> None:
    """The order is what we chose ourselves."""
    job = a_topup()
    await world.submit(job)
    (payment,) = await world.pay(job)
    assert facts(await world.ask(job, psp_ids={"qrc_id": "AD" + "0" * 30})) == [(RESULT, Outcome.PAID, payment)]


async def test_questions_that_fail_change_nothing(world: World) -> None:
    """Neither the code's nor the payments' failure is a fact."""
    for broken in ("find", "payments"):
        job = a_topup(f"{broken}=http_503_before_commit")
        await world.submit(job)
        await world.pay(job)
        ((_, open_),) = await world.ask(job)
        assert (open_.outcome, open_.final) == (Outcome.PENDING, False)


# Cancellations.


async def test_an_unpaid_code_is_cancelled(world: World) -> None:
    """Nobody can pay it any more; and asking again says the same."""
    job = a_topup()
    await world.submit(job)
    for _ in range(2):
        ((_, ended),) = await world.ask(job, Action.CANCEL)
        assert (ended.outcome, ended.code, ended.final) == (Outcome.EXPIRED, "cancelled", True)
    assert facts(await world.ask(job)) == [(RESULT, Outcome.EXPIRED, None)]
    with pytest.raises(ControlError, match="NOT_PAYABLE"):
        await world.pay(job)


async def test_a_code_cancelled_after_a_declined_payment_was_cancelled(world: World) -> None:
    """It is not the payment that ended it."""
    job = a_topup()
    await world.submit(job)
    await world.pay(job, scenario="payment_declined:insufficient_funds")
    ((_, ended),) = await world.ask(job, Action.CANCEL)
    assert (ended.outcome, ended.code) == (Outcome.EXPIRED, "cancelled")


async def test_a_code_that_qp_never_had_is_not_found_and_nothing_is_cancelled(world: World) -> None:
    """Which bars nothing."""
    ((_, ended),) = await world.ask(a_topup(), Action.CANCEL, inquire_first=True)
    assert (ended.outcome, ended.final, ended.fenced) == (Outcome.NOT_FOUND, False, False)


async def test_a_code_that_was_paid_or_is_being_paid_is_not_cancelled(world: World) -> None:
    """How it stands is told instead."""
    job = a_topup()
    await world.submit(job)
    (payment,) = await world.pay(job, scenario="processing")
    assert facts(await world.ask(job, Action.CANCEL)) == [(RESULT, Outcome.PENDING, None)]
    await world.judge(payment, "accept")
    assert facts(await world.ask(job, Action.CANCEL)) == [(RESULT, Outcome.PAID, payment)]


async def test_an_expired_code_that_was_paid_is_not_cancelled_either(world: World) -> None:
    """QP confirms the end of the code; the payment is there all the same."""
    job = a_topup(ttl_s="60")
    await world.submit(job)
    await world.control.advance(61_000)
    (payment,) = await world.pay(job, force=True)
    assert facts(await world.ask(job, Action.CANCEL)) == [(RESULT, Outcome.PAID, payment)]


async def test_a_cancellation_whose_answer_was_lost_is_confirmed(world: World) -> None:
    """It is asked for again."""
    job = a_topup("delete=reset_after_commit*1")
    await world.submit(job)
    assert facts(await world.ask(job, Action.CANCEL)) == [(RESULT, Outcome.EXPIRED, None)]


# Callbacks.


async def test_a_payment_is_heard_of_once_for_each_copy(world: World) -> None:
    """Copies have one id, and none of them is a result."""
    job = a_topup()
    shown = await world.submit(job)
    (payment,) = await world.pay(job, scenario="callback_duplicate:3")
    came = await world.heard(job, 3)
    assert {(said.outcome, said.psp_transaction_id, said.source) for said in came} == {
        (Outcome.PAID, payment, Source.CALLBACK)
    }
    assert {said.psp_ids["qrc_id"] for said in came} == {shown.psp_ids["qrc_id"]}
    assert {said.final for said in came} == {False}
    assert len(await world.said(job)) == 1, "only the submission has a result"


async def test_news_in_the_wrong_order_leave_the_answer_as_it_is(world: World) -> None:
    """Whoever asks learns how it stands now."""
    job = a_topup()
    await world.submit(job)
    (payment,) = await world.pay(job, scenario="callback_out_of_order")
    assert [said.outcome for said in await world.heard(job, 2)] == [Outcome.PAID, Outcome.PENDING]
    assert facts(await world.ask(job)) == [(RESULT, Outcome.PAID, payment)]


async def test_a_forged_or_stale_callback_is_not_heard(world: World) -> None:
    """Only the genuine one is, with what QP's books say."""
    job = a_topup()
    await world.submit(job)
    await world.pay(job, scenario="callback_forged+callback_replayed")
    assert [said.outcome for said in await world.heard(job)] == [Outcome.PAID]
    told = (await world.control.callbacks(job.reference))[:3]
    assert sorted(task["answers"][0] for task in told) == [200, 401, 401]


async def test_a_declined_payment_and_a_refund_are_heard_without_harm(world: World) -> None:
    """Both are observations of something that is open."""
    job = a_topup()
    await world.submit(job)
    await world.pay(job, scenario="payment_declined:insufficient_funds")
    (payment,) = await world.pay(job)
    body = {"refundId": "R-1", "paymentId": payment, "amount": 10}
    await world.refund(body)
    came = await world.heard(job, 3)
    assert sorted((said.outcome, said.code) for said in came if said.code) == [
        (Outcome.PENDING, "payment_declined"),
        (Outcome.PENDING, "refund_completed"),
    ]
    ((_, paid),) = await world.ask(job)
    assert (paid.outcome, paid.amount_minor) == (Outcome.PAID, job.amount_minor)
