"""From QP's words to facts: what is money, what is open, what proves nothing, and which link is ever shown."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.qp import mapping
from adapters.qp.link import build, deep_link, parse
from adapters.qp.manifest import MANIFEST, TOPUP
from adapters.qp.mapping import NEVER_MS, BadTerms, created, found, refused, standing, terms, unanswered
from adapters.qp.words import Code, Codes, CodeStatus, Payment, PaymentStatus, Refusal
from adapters.runtime.psp import Ambiguous, Answer, Call, Definite, NotSent
from shared.contracts import Action, JobMessage, Outcome
from shared.psp import check_manifest

ORDER = "7Z3K9QW2M4XC8VB5N1RT"
QRC_ID = "AD10000123456789ABCDEFGHIJKLMNOP"
BANK = "100000000999"
AMOUNT = 30_510
STATIC = {"static": "true"}
_C, _P = CodeStatus, PaymentStatus


def a_call(scenario: str | None = None, **opened: str) -> Call:
    """Return a call about a top-up."""
    job = JobMessage(
        psp="qp",
        intent_id="0198c1f2-7a10-7123-8abc-def012030000",
        attempt=1,
        operation=TOPUP,
        action=Action.INQUIRE,
        reference=ORDER,
        amount_minor=AMOUNT,
        currency="RUB",
        created_ms=1,
        epoch="m:1",
    )
    return Call(job, opened, test_scenario=scenario)


def a_code(status: CodeStatus = _C.NEW, *, static: bool = False, **changes: Any) -> Code:
    """Return the code of that top-up."""
    link = build(qrc_id=QRC_ID, bank=BANK, amount_kopecks=AMOUNT, dynamic=not static)
    return Code.model_construct(
        **{
            "qrc_id": QRC_ID,
            "order": ORDER,
            "qr_type": "static" if static else "dynamic",
            "amount": AMOUNT,
            "currency": "RUB",
            "payload": link.raw,
            "status": status,
            "expires_at": None if static else datetime(2026, 1, 31, 12, 0, 0, 5_000, tzinfo=UTC),
            **changes,
        }
    )


def a_payment(status: PaymentStatus, number: int = 1, **changes: Any) -> Payment:
    """Return a payment of that code."""
    return Payment.model_construct(
        **{
            "payment_id": f"PM{number}",
            "qrc_id": QRC_ID,
            "order": ORDER,
            "amount": AMOUNT,
            "currency": "RUB",
            "status": status,
            "error_code": "INSUFFICIENT_FUNDS" if status is _P.DECLINED else None,
            **changes,
        }
    )


def definite(answer: Answer) -> Definite:
    """Insist on a fact."""
    assert isinstance(answer, Definite), answer
    return answer


def doubt(answer: Answer) -> str:
    """Insist on a doubt; return its reason."""
    assert isinstance(answer, Ambiguous), answer
    return answer.reason


def facts(answer: Answer) -> list[tuple[Outcome, str | None]]:
    """Return every fact of an answer, the result first."""
    first = definite(answer)
    assert not any(fact.more for fact in first.more)
    return [(fact.outcome, fact.psp_transaction_id) for fact in (first, *first.more)]


# The manifest, and the request.


def test_the_manifest_promises_enough() -> None:
    """And every decline that the mapping calls final by a submission's answer is promised in it."""
    assert check_manifest(MANIFEST) is MANIFEST
    refusals = [Refusal(422, "OVER_LIMIT"), Refusal(422, "BLOCKED"), Refusal(400, "INVALID_REQUEST")]
    assert {definite(refused(refusal)).code for refusal in refusals} == set(MANIFEST.final_answers)


def test_a_dynamic_code_is_asked_for_with_the_usual_time() -> None:
    """Always the same request: the order stands for its terms."""
    assert terms(a_call()) == {"order": ORDER, "amount": AMOUNT, "qrType": "dynamic", "ttlSeconds": 1200}
    assert terms(a_call(static="false", ttl_s="60"))["ttlSeconds"] == 60


def test_a_static_code_has_no_time() -> None:
    """QP refuses one that has."""
    assert terms(a_call(ttl_s="60", **STATIC)) == {"order": ORDER, "amount": AMOUNT, "qrType": "static"}


def test_what_the_payer_is_to_see_goes_along_cut_to_fit() -> None:
    """So does a scenario, where the runtime hands one over."""
    asked = terms(a_call("paid", comment="ж" * 500))
    assert (asked["note"], asked["testScenario"]) == ("ж" * 400, "paid")


@pytest.mark.parametrize(
    "opened",
    [{"static": "yes"}, {"ttl_s": "0"}, {"ttl_s": "259201"}, {"ttl_s": "-5"}, {"ttl_s": "٣"}, {"ttl_s": "1" * 5000}],
)
def test_terms_that_there_are_not_are_refused(opened: dict[str, str]) -> None:
    """In one way."""
    with pytest.raises(BadTerms):
        terms(a_call(**opened))


# Submissions.


def test_a_fresh_code_is_to_be_shown() -> None:
    """With its link, its payload, its end, and QP's id."""
    answer = definite(created(a_code(), a_call()))
    assert answer.outcome is Outcome.NEXT_ACTION
    assert dict(answer.psp_ids) == {"qrc_id": QRC_ID}
    shown = answer.next_action
    assert shown is not None
    assert (shown.link, shown.qr, shown.expires_ms) == (a_code().payload, a_code().payload, 1_769_860_800_005)


def test_a_static_code_never_expires() -> None:
    """Which is written as the end of the calendar."""
    shown = definite(created(a_code(static=True), a_call(**STATIC))).next_action
    assert shown is not None
    assert shown.expires_ms == NEVER_MS == int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize("status", [status for status in _C if status is not _C.NEW])
def test_a_code_that_was_there_before_and_was_used_is_asked_about(status: CodeStatus) -> None:
    """Its payments were not looked at, so nothing is known."""
    assert doubt(created(a_code(status), a_call())) == "code_in_use"


def other_links() -> list[str]:
    """Return links that are not the code's: changed, another's, of another amount or kind, or a bank's."""
    right = a_code().payload
    return [
        "",
        "https://example.org/pay",
        right[:-1] + ("0" if right[-1] != "0" else "1"),
        right.replace(f"sum={AMOUNT}", f"sum={AMOUNT + 1}"),
        right.replace("qr.nspk.ru", "qr.nspk.rv"),
        build(qrc_id=QRC_ID[::-1], bank=BANK, amount_kopecks=AMOUNT, dynamic=True).raw,
        build(qrc_id=QRC_ID, bank=BANK, amount_kopecks=AMOUNT + 1, dynamic=True).raw,
        build(qrc_id=QRC_ID, bank=BANK, amount_kopecks=AMOUNT, dynamic=False).raw,
        deep_link(parse(right), payer_bank="100000000111"),
    ]


@pytest.mark.parametrize("payload", other_links())
def test_a_link_that_is_not_the_codes_own_is_never_shown(payload: str) -> None:
    """Neither after a submission nor after an inquiry; and no fact is made of it."""
    code = a_code(payload=payload)
    assert doubt(created(code, a_call())) == "bad_link"
    assert doubt(standing(code, [], a_call())) == "bad_link"


@given(at=st.integers(0, 200), digit=st.sampled_from("0123456789ABCDEFabcdef&=?/"))
def test_a_link_with_one_wrong_character_is_never_shown(at: int, digit: str) -> None:
    """The checksum and the terms see every one."""
    right = a_code().payload
    at %= len(right)
    wrong = right[:at] + digit + right[at + 1 :]
    answer = created(a_code(payload=wrong), a_call())
    assert isinstance(answer, Definite) is (wrong == right)


def test_a_bad_link_does_not_hide_a_payment() -> None:
    """Money that has come is money, whatever was shown."""
    code = a_code(static=True, payload="broken")
    assert facts(standing(code, [a_payment(_P.ACCEPTED)], a_call(**STATIC))) == [(Outcome.PAID, "PM1")]


@pytest.mark.parametrize(
    "changes",
    [{"order": "OTHER"}, {"amount": AMOUNT - 1}, {"amount": None}, {"currency": "USD"}, {"qr_type": "static"}],
)
def test_a_code_of_other_terms_says_nothing_about_the_job(changes: dict[str, Any]) -> None:
    """Not even if it was paid."""
    code = a_code(_C.PAID, **changes)
    assert doubt(created(code, a_call())) == "foreign_code"
    payment = a_payment(_P.ACCEPTED, order=code.order)
    assert doubt(standing(code, [payment], a_call())) == "foreign_code"


def test_a_payment_of_another_code_says_nothing_about_the_job() -> None:
    """Nor does a list in which there is one."""
    for stray in (a_payment(_P.ACCEPTED, order="OTHER"), a_payment(_P.ACCEPTED, qrc_id="OTHER")):
        assert doubt(standing(a_code(_C.PAID), [a_payment(_P.ACCEPTED, 2), stray], a_call())) == "foreign_payment"


# Refusals.


@pytest.mark.parametrize(
    ("status", "word", "code"),
    [
        (422, "OVER_LIMIT", "over_limit"),
        (422, "MERCHANT_BLOCKED", "declined"),
        (422, "", "declined"),
        (400, "INVALID_REQUEST", "bad_request"),
        (400, "INVALID_SCENARIO", "bad_request"),
    ],
)
def test_a_refused_creation_is_a_final_decline_in_our_words(status: int, word: str, code: str) -> None:
    """QP's own words are never passed on."""
    answer = definite(refused(Refusal(status, word)))
    assert (answer.outcome, answer.code, answer.final) == (Outcome.DECLINED, code, True)


def test_a_request_without_a_key_was_not_looked_at() -> None:
    """A proven non-event, if it is QP that says so."""
    assert refused(Refusal(401, "UNAUTHENTICATED")) == unanswered(Refusal(401, "UNAUTHENTICATED"))
    assert refused(Refusal(401, "UNAUTHENTICATED")) == NotSent("unauthenticated")
    assert isinstance(refused(Refusal(401, "PROXY_SAYS_NO")), Ambiguous)


@pytest.mark.parametrize(
    ("status", "word", "reason"),
    [
        (409, "ORDER_CONFLICT", "order_conflict"),
        (409, "SOMETHING", "http_409"),
        (404, "NOT_FOUND", "http_404"),
        (400, "SOMETHING", "http_400"),
        (403, "FORBIDDEN", "http_403"),
        (418, "OVER_LIMIT", "http_418"),
    ],
)
def test_every_other_refusal_proves_nothing(status: int, word: str, reason: str) -> None:
    """A conflict of terms even says that there is a code."""
    assert doubt(refused(Refusal(status, word))) == reason
    assert doubt(unanswered(Refusal(status, word))) == reason


def test_a_refused_question_is_no_decline() -> None:
    """What declines a creation says nothing where something else was asked."""
    for refusal in (Refusal(422, "OVER_LIMIT"), Refusal(400, "INVALID_REQUEST")):
        assert isinstance(unanswered(refusal), Ambiguous)


def test_an_order_without_a_code_is_not_found_and_one_with_several_is_in_doubt() -> None:
    """QP promises at most one."""
    one = a_code()
    assert found(Codes.model_construct(qrs=())) == Definite(Outcome.NOT_FOUND)
    assert found(Codes.model_construct(qrs=(one,))) is one
    assert found(Codes.model_construct(qrs=(one, one))) == Ambiguous("several_codes")


# How a job stands.


def test_a_code_that_nobody_has_paid_is_still_to_be_shown() -> None:
    """So that an answer lost on its way is made up for."""
    assert definite(standing(a_code(), [], a_call())).outcome is Outcome.NEXT_ACTION


def test_a_declined_payment_leaves_the_payer_another_try() -> None:
    """The code is open again."""
    answer = definite(standing(a_code(), [a_payment(_P.DECLINED), a_payment(_P.DECLINED, 2)], a_call()))
    assert answer.outcome is Outcome.NEXT_ACTION


@pytest.mark.parametrize("status", list(_C))
def test_an_accepted_payment_is_money_whatever_the_code_says(status: CodeStatus) -> None:
    """With the id, the amount and the currency that QP confirmed, not those that were asked for."""
    payment = a_payment(_P.ACCEPTED, amount=7, currency="USD")
    answer = definite(standing(a_code(status), [a_payment(_P.DECLINED, 9), payment], a_call()))
    said = (answer.outcome, answer.psp_transaction_id, answer.amount_minor, answer.currency)
    assert said == (Outcome.PAID, "PM1", 7, "USD")
    assert answer.final is (status in (_C.PAID, _C.EXPIRED, _C.CANCELLED))


@pytest.mark.parametrize("static", [True, False])
def test_every_payment_is_a_fact_of_its_own(*, static: bool) -> None:
    """A code paid twice, a static code: the oldest first, and those that were taken back behind."""
    payments = [
        a_payment(_P.REVERSED, 1),
        a_payment(_P.ACCEPTED, 2),
        a_payment(_P.DECLINED, 3),
        a_payment(_P.ACCEPTED, 4),
        a_payment(_P.IN_PROGRESS, 5),
    ]
    call = a_call(**STATIC) if static else a_call()
    answer = standing(a_code(_C.NEW if static else _C.PAID, static=static), payments, call)
    assert facts(answer) == [(Outcome.PAID, "PM2"), (Outcome.PAID, "PM4"), (Outcome.REVERSED, "PM1")]
    assert not definite(answer).final, "one is under way"


@pytest.mark.parametrize("status", list(_C))
def test_as_long_as_a_payment_is_under_way_nothing_is_over(status: CodeStatus) -> None:
    """An expired or cancelled code may still be paid by it."""
    payments = [a_payment(_P.DECLINED), a_payment(_P.IN_PROGRESS, 2)]
    for given_up in (False, True):
        answer = definite(standing(a_code(status), payments, a_call(), given_up=given_up))
        assert (answer.outcome, answer.final) == (Outcome.PENDING, False)


def test_a_code_that_is_being_paid_is_pending_before_its_payment_shows() -> None:
    """The code was looked at first."""
    assert definite(standing(a_code(_C.IN_PROGRESS), [], a_call())).outcome is Outcome.PENDING


@pytest.mark.parametrize("status", [status for status in _C if status is not _C.IN_PROGRESS])
def test_a_payment_that_was_taken_back_is_told_under_its_id(status: CodeStatus) -> None:
    """Never as an expiry; its amount is that of the payment."""
    answer = standing(a_code(status), [a_payment(_P.REVERSED, amount=9)], a_call())
    assert facts(answer) == [(Outcome.REVERSED, "PM1")]
    assert definite(answer).amount_minor == 9


def test_a_payment_taken_back_is_told_beside_one_under_way() -> None:
    """The result stays open."""
    answer = standing(a_code(_C.IN_PROGRESS), [a_payment(_P.REVERSED), a_payment(_P.IN_PROGRESS, 2)], a_call())
    assert facts(answer) == [(Outcome.PENDING, None), (Outcome.REVERSED, "PM1")]


@pytest.mark.parametrize(("status", "code"), [(_C.EXPIRED, "expired"), (_C.CANCELLED, "cancelled")])
def test_a_code_that_ended_unpaid_has_expired_by_qps_word(status: CodeStatus, code: str) -> None:
    """For good."""
    answer = definite(standing(a_code(status), [], a_call()))
    assert (answer.outcome, answer.code, answer.final) == (Outcome.EXPIRED, code, True)


def test_a_code_expired_after_declined_payments_has_expired() -> None:
    """The declines are not what ended it."""
    assert definite(standing(a_code(_C.EXPIRED), [a_payment(_P.DECLINED)], a_call())).outcome is Outcome.EXPIRED


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("INSUFFICIENT_FUNDS", "insufficient_funds"),
        ("OVER_LIMIT", "over_limit"),
        ("ODD", "declined"),
        (None, "declined"),
    ],
)
def test_a_code_that_declined_payments_have_ended_is_declined(error: str | None, code: str) -> None:
    """For the reason of the last one, in our words."""
    payments = [a_payment(_P.DECLINED), a_payment(_P.DECLINED, 2, error_code=error)]
    answer = definite(standing(a_code(_C.CANCELLED), payments, a_call()))
    assert (answer.outcome, answer.code, answer.final) == (Outcome.DECLINED, code, True)


def test_a_code_that_we_have_cancelled_has_expired_although_payments_were_declined() -> None:
    """It is our doing."""
    answer = definite(standing(a_code(_C.CANCELLED), [a_payment(_P.DECLINED)], a_call(), given_up=True))
    assert (answer.outcome, answer.code) == (Outcome.EXPIRED, "cancelled")


def test_a_code_that_did_not_end_although_we_cancelled_it_is_in_doubt() -> None:
    """Its payment was declined in that very moment: cancel again."""
    assert doubt(standing(a_code(), [a_payment(_P.DECLINED)], a_call(), given_up=True)) == "not_cancelled"


def test_a_paid_code_without_a_payment_is_in_doubt() -> None:
    """Neither which payment nor how much is known."""
    assert doubt(standing(a_code(_C.PAID), [], a_call())) == "no_payment_shown"


_PAYMENTS = st.lists(st.sampled_from(list(_P)), max_size=6)


@given(status=st.sampled_from(list(_C)), payments=_PAYMENTS, given_up=st.booleans())
def test_money_is_told_exactly_as_often_as_it_came(
    status: CodeStatus, payments: list[PaymentStatus], *, given_up: bool
) -> None:
    """Whatever the states; and an end without money is told only where there is none, nor any under way."""
    listed = [a_payment(said, number) for number, said in enumerate(payments)]
    answer = standing(a_code(status), listed, a_call(), given_up=given_up)
    told = facts(answer) if isinstance(answer, Definite) else []
    for outcome, said in ((Outcome.PAID, _P.ACCEPTED), (Outcome.REVERSED, _P.REVERSED)):
        assert [name for kind, name in told if kind is outcome] == [
            payment.payment_id for payment in listed if payment.status is said
        ]
    if told and told[0][0] in (Outcome.EXPIRED, Outcome.DECLINED, Outcome.NEXT_ACTION):
        assert set(payments) <= {_P.DECLINED}
        assert len(told) == 1
    if isinstance(answer, Definite) and answer.final:
        assert _P.IN_PROGRESS not in payments


def test_facts_carry_nothing_that_only_the_first_one_may_have() -> None:
    """An observation is a payment and no more."""
    answer = definite(standing(a_code(_C.PAID), [a_payment(_P.ACCEPTED, n) for n in (1, 2)], a_call()))
    assert answer.more == (replace(answer, psp_transaction_id="PM2", more=()),)
    assert mapping.NEVER_MS < 1 << 52
