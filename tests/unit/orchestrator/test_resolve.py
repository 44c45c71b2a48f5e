"""What a PSP's word makes of an intent: total, and never a conclusion from less than a fact."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from orchestrator.resolve import (
    NOTHING,
    Case,
    Direction,
    Open,
    Payment,
    Purpose,
    Response,
    Settle,
    resolve,
)
from shared.contracts import Action, NextAction, Outcome, ResultMessage, Source
from shared.states import TERMINAL, IntentState

S = IntentState
INTENT = "0198c1f2-0000-7000-8000-000000000000"
DIRECTIONS: tuple[Direction, ...] = ("in", "out")
SEEN = (S.AUTHORIZED, S.IN_DOUBT, S.SETTLED, S.FAILED, S.EXPIRED, S.REJECTED)
OPEN = (S.AUTHORIZED, S.IN_DOUBT)


def case(state: IntentState = S.AUTHORIZED, direction: Direction = "out", **more: Any) -> Case:
    """An intent over 100 minor units."""
    return Case(state=state, direction=direction, attempt=1, amount_minor=100, currency="THB", **more)


def said(outcome: Outcome, **more: Any) -> ResultMessage:
    """A word of the PSP about it, with what its outcome needs."""
    needs: dict[Outcome, dict[str, Any]] = {
        Outcome.PAID: {"psp_transaction_id": "T1", "amount_minor": 100, "currency": "THB"},
        Outcome.DECLINED: {"code": "over_limit"},
        Outcome.NEXT_ACTION: {"next_action": NextAction(link="https://qr", expires_ms=1)},
    }
    fields: dict[str, Any] = {
        "psp": "ipps",
        "intent_id": INTENT,
        "attempt": 1,
        "action": Action.SUBMIT,
        "source": Source.JOB,
        "outcome": outcome,
        "at_ms": 1,
        **needs.get(outcome, {}),
        **more,
    }
    return ResultMessage.model_validate(fields)


PAYMENTS: tuple[dict[str, Payment], ...] = (
    {},
    {"T1": Payment(100, settles=True)},
    {"T1": Payment(100, settles=False, children=frozenset({Purpose.LATE_CREDIT}))},
    {"T1": Payment(100, settles=False, children=frozenset({Purpose.SUSPENSE}))},
    {"T0": Payment(100, settles=True, children=frozenset({Purpose.REVERSAL}))},
)


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("source", Source)
def test_every_word_in_every_state_has_an_answer_and_terminal_means_terminal(outcome: Outcome, source: Source) -> None:
    """Nothing raises, nothing that is over is settled or doubted again, and money out is never credited."""
    for state, direction, payments, final, fenced in product(SEEN, DIRECTIONS, PAYMENTS, (True, False), (True, False)):
        word = said(outcome, source=source, final=final, fenced=fenced and outcome is Outcome.NOT_FOUND)
        response = resolve(case(state, direction, payments=payments, callback_trusted=True), word)
        if state in TERMINAL:
            assert response.settle is None, (state, direction, word)
            assert not response.doubt
        if response.settle is not None:
            assert response.settle.kind in (("post", "void") if direction == "out" else ("credit", "close"))


@pytest.mark.parametrize("outcome", Outcome)
def test_a_forged_or_reordered_callback_only_ever_asks_a_question(outcome: Outcome) -> None:
    """Unless the manifest trusts callbacks, one concludes nothing, opens nothing and alarms nobody."""
    for state, direction, payments in product(SEEN, DIRECTIONS, PAYMENTS):
        response = resolve(case(state, direction, payments=payments), said(outcome, source=Source.CALLBACK, final=True))
        assert response in (NOTHING, Response(ask=True))


def test_a_callback_that_is_no_news_asks_nothing() -> None:
    """Copies of a callback cost the PSP no inquiries."""
    paid = {"T1": Payment(100, settles=True)}
    assert resolve(case(S.SETTLED, payments=paid), said(Outcome.PAID, source=Source.CALLBACK)) is NOTHING
    assert resolve(case(S.FAILED), said(Outcome.DECLINED, source=Source.CALLBACK)) is NOTHING
    assert resolve(case(S.SETTLED), said(Outcome.PAID, source=Source.CALLBACK)).ask


@pytest.mark.parametrize("state", OPEN)
def test_money_out_is_posted_only_for_a_payment_and_voided_only_for_a_last_word(state: IntentState) -> None:
    """The whole table of open withdrawals."""
    expected: list[tuple[ResultMessage, Settle | None]] = [
        (said(Outcome.PAID), Settle("post", "T1", 100)),
        (said(Outcome.DECLINED, final=True), Settle("void", code="over_limit")),
        (said(Outcome.NOT_SUBMITTED, code="job_ttl"), Settle("void", code="job_ttl")),
        (said(Outcome.NOT_FOUND, fenced=True), Settle("void", code="not_found")),
        (said(Outcome.EXPIRED), Settle("void", code="expired")),
        (said(Outcome.REVERSED, psp_transaction_id="T1"), Settle("void", "T1", code="reversed")),
        (said(Outcome.DECLINED), None),
        (said(Outcome.NOT_FOUND), None),
        (said(Outcome.PENDING), None),
        (said(Outcome.UNKNOWN), None),
        (said(Outcome.NEXT_ACTION), None),
    ]
    for word, settle in expected:
        assert resolve(case(state), word).settle == settle, word.outcome


def test_a_decline_that_is_not_the_last_word_is_inquired_about_first() -> None:
    """And an inquiry that hears it again waits, instead of asking as fast as it can."""
    assert resolve(case(), said(Outcome.DECLINED)) == Response(ask=True)
    assert resolve(case(), said(Outcome.DECLINED, action=Action.INQUIRE)) == Response(wait=True)


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.NOT_FOUND])
def test_what_may_have_happened_leaves_the_funds_held(outcome: Outcome) -> None:
    """NOT_FOUND is no proof; neither it nor UNKNOWN ends anything, and somebody asks again."""
    response = resolve(case(), said(outcome))
    assert (response.settle, response.doubt, response.wait) == (None, True, True)
    money_in = resolve(case(direction="in"), said(outcome))
    assert (money_in.settle, money_in.doubt, money_in.wait) == (None, False, True)


def test_a_success_after_a_decline_goes_to_suspense_and_never_rewrites_history() -> None:
    """The PSP paid what was given back to the payer: the house is short of it, and people are told."""
    response = resolve(case(S.FAILED), said(Outcome.PAID))
    assert response.opens == (Open(Purpose.SUSPENSE, "T1", 100, "out"),)
    assert [(alert.kind, alert.critical) for alert in response.alerts] == [("paid_after_failure", True)]
    again = resolve(
        case(S.FAILED, payments={"T1": Payment(100, settles=False, children=frozenset({Purpose.SUSPENSE}))}),
        said(Outcome.PAID),
    )
    assert again == Response(opens=response.opens), "repeated words carry on what was opened, and alarm nobody"


def test_a_second_payment_of_one_withdrawal_goes_to_suspense() -> None:
    """A PSP that pays twice is not a payer's second payment."""
    response = resolve(case(S.SETTLED, payments={"T0": Payment(100, settles=True)}), said(Outcome.PAID))
    assert response.opens == (Open(Purpose.SUSPENSE, "T1", 100, "out"),)
    assert response.alerts[0].kind == "paid_twice"


@pytest.mark.parametrize("state", [S.SETTLED, S.FAILED, S.EXPIRED])
def test_a_second_or_late_payment_on_one_code_is_never_swallowed(state: IntentState) -> None:
    """Money in is keyed by the PSP's transaction: whatever does not settle the intent opens a child."""
    response = resolve(case(state, "in", payments={"T0": Payment(100, settles=True)}), said(Outcome.PAID))
    assert response == Response(opens=(Open(Purpose.LATE_CREDIT, "T1", 100, "in"),))


def test_the_first_payment_of_an_open_code_settles_it_for_what_was_paid() -> None:
    """The confirmed amount counts, not the one that was asked for."""
    response = resolve(case(direction="in"), said(Outcome.PAID, amount_minor=70))
    assert response.settle == Settle("credit", "T1", 70)
    assert [alert.kind for alert in response.alerts] == ["paid_another_amount"]


def test_a_withdrawal_paid_for_another_amount_agrees_with_the_psp_all_the_same() -> None:
    """Less releases the rest; more is the house's loss until people have looked at it."""
    less = resolve(case(), said(Outcome.PAID, amount_minor=60))
    assert (less.settle, less.opens) == (Settle("post", "T1", 60), ())
    more = resolve(case(), said(Outcome.PAID, amount_minor=130))
    assert (more.settle, more.opens) == (
        Settle("post", "T1", 100),
        (Open(Purpose.SUSPENSE, "T1", 30, "out"),),
    )
    for response in (less, more):
        assert [(alert.kind, alert.critical) for alert in response.alerts] == [("paid_another_amount", True)]


def test_a_payment_in_another_currency_moves_nothing() -> None:
    """It is doubted, and people are told."""
    response = resolve(case(), said(Outcome.PAID, currency="USD"))
    assert (response.settle, response.opens, response.doubt) == (None, (), True)
    assert response.alerts[0].critical


@pytest.mark.parametrize(("direction", "back"), [("out", "in"), ("in", "out")])
def test_a_reversal_takes_back_what_was_settled_once(direction: Direction, back: Direction) -> None:
    """As a child of its own, whoever the payment belonged to."""
    paid = {"T1": Payment(100, settles=True)}
    response = resolve(case(S.SETTLED, direction, payments=paid), said(Outcome.REVERSED, psp_transaction_id="T1"))
    assert response.opens == (Open(Purpose.REVERSAL, "T1", 100, back),)
    unnamed = resolve(case(S.SETTLED, direction, payments=paid), said(Outcome.REVERSED))
    assert unnamed.opens == response.opens, "the payment that settled it is the only one that can be meant"


def test_a_reversal_of_what_went_to_suspense_is_charged_to_suspense() -> None:
    """The wallet never had that money."""
    kept = {"T1": Payment(100, settles=False, children=frozenset({Purpose.LATE_CREDIT, Purpose.SUSPENSE}))}
    word = said(Outcome.REVERSED, psp_transaction_id="T1")
    assert resolve(case(S.SETTLED, "in", payments=kept), word).opens == (
        Open(Purpose.SUSPENSE_REVERSAL, "T1", 100, "out"),
    )
    settled = {"T1": Payment(130, settles=True, children=frozenset({Purpose.SUSPENSE}))}
    assert resolve(case(S.SETTLED, "out", payments=settled), word).opens == (
        Open(Purpose.REVERSAL, "T1", 100, "in"),
        Open(Purpose.SUSPENSE_REVERSAL, "T1", 30, "in"),
    )


def test_an_outcome_of_a_past_attempt_changes_no_state_and_its_money_goes_to_suspense() -> None:
    """Attempt 2 is under way; attempt 1 turns out to have been paid."""
    now = replace(case(), attempt=2)
    response = resolve(now, said(Outcome.PAID))
    assert (response.settle, response.opens) == (None, (Open(Purpose.SUSPENSE, "T1", 100, "out"),))
    assert resolve(now, said(Outcome.DECLINED, final=True)) is NOTHING


@pytest.mark.parametrize("outcome", [Outcome.DECLINED, Outcome.NOT_SUBMITTED])
def test_a_denial_of_what_was_settled_alarms_people_and_changes_nothing(outcome: Outcome) -> None:
    """Either books are wrong; the state is not theirs to change."""
    response = resolve(case(S.SETTLED, payments={"T1": Payment(100, settles=True)}), said(outcome, final=True))
    assert (response.settle, response.opens) == (None, ())
    assert response.alerts[0].critical


def test_an_expiry_is_the_psps_word_and_never_a_clocks() -> None:
    """Only EXPIRED closes an unpaid code; PENDING waits however long."""
    assert resolve(case(direction="in"), said(Outcome.EXPIRED)).settle == Settle("close", code="expired", expired=True)
    assert resolve(case(direction="in"), said(Outcome.PENDING)) == Response(wait=True)


def test_a_payment_taken_back_before_anybody_heard_of_it_closes_the_code_at_the_last_word() -> None:
    """Until then somebody else may still pay it."""
    word = said(Outcome.REVERSED, psp_transaction_id="T1")
    assert resolve(case(direction="in"), word) == Response(wait=True)
    last = said(Outcome.REVERSED, psp_transaction_id="T1", final=True)
    assert resolve(case(direction="in"), last).settle == Settle("close", "T1", code="reversed")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_payment_taken_back_before_anybody_heard_of_it_is_not_taken_back_again(direction: Direction) -> None:
    """The hold was voided for it, or the code closed: a wallet that never paid must not be credited."""
    ended = case(S.FAILED, direction, payments={"T1": Payment(100, settles=True)})
    assert resolve(ended, said(Outcome.REVERSED, psp_transaction_id="T1", amount_minor=100)) == NOTHING
    assert resolve(ended, said(Outcome.REVERSED)) == NOTHING
