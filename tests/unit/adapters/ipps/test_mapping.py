"""Every word of the IPPS API against what it proves; and jobs against what is sent for them, if anything is."""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters.sandbox
from adapters.ipps import mapping
from adapters.ipps.emvco import encode
from adapters.ipps.manifest import FINAL_ANSWERS, QR_PAY, WITHDRAWAL
from adapters.ipps.payees import Bill
from adapters.runtime.http import Reply
from adapters.runtime.psp import Ambiguous, Answer, Definite, NotSent, Ready
from adapters.sandbox.ipps.records import TransferStatus
from shared.contracts import Action, JobMessage, Outcome
from shared.errors import BadInput

REFERENCE = "K7PM2Q9X4RT8VW3"
AMOUNT = 12_345
CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
ID_OF_NOBODY = "1-2345-67890-12-1"
SETTLED: dict[str, Any] = {
    "statusCode": "00",
    "partnerTxnUid": REFERENCE,
    "txnNo": "0A1B2C3D4E5F60718293",
    "status": "SETTLED",
    "amount": "123.45",
    "currency": "THB",
    "errorCode": None,
}
PREPARED = {"lookup_ref": "LK1", "payee": "S*** T***", "bank_code": "014"}


def job(**changes: Any) -> JobMessage:
    """Return a job about 123.45 baht."""
    return JobMessage(
        **{
            "psp": "ipps",
            "intent_id": "0192c5d4-7a1b-7c3d-8e4f-5a6b7c8d9e0f",
            "attempt": 1,
            "operation": WITHDRAWAL,
            "action": Action.SUBMIT,
            "reference": REFERENCE,
            "amount_minor": AMOUNT,
            "currency": "THB",
            "created_ms": 1,
            "epoch": "m:1",
            **changes,
        }
    )


def reply(told: object, status: int = 200, **headers: str) -> Reply:
    """Return an answer of IPPS's."""
    raw = told if isinstance(told, bytes) else json.dumps(told).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def refused(code: str, status: int, **headers: str) -> Reply:
    """Return an HTTP error in IPPS's words."""
    return reply({"statusCode": "10", "errorCode": code, "errorDesc": "words of theirs"}, status, **headers)


def rejected(code: str | None, **changes: Any) -> Reply:
    """Return a transfer that was rejected."""
    return reply(SETTLED | {"statusCode": "10", "status": "REJECTED", "errorCode": code} | changes)


def every(told: Reply) -> list[Answer]:
    """Return what an answer to a transfer, an inquiry and a cancellation would mean."""
    return [
        mapping.submitted(told, job(), PREPARED),
        mapping.inquired(told, job()),
        mapping.cancelled(told, job()),
    ]


# Requests.


@pytest.mark.parametrize(
    ("destination", "kind", "value"),
    [
        ({"proxy_type": "MOBILE", "proxy": "080-123-4567"}, "MOBILE", "0066801234567"),
        ({"proxy_type": "MOBILE", "proxy": "+66 80 123 4567"}, "MOBILE", "0066801234567"),
        ({"proxy_type": "NATIONAL_ID", "proxy": ID_OF_NOBODY}, "NATIONAL_ID", "1234567890121"),
        ({"proxy_type": "EWALLET", "proxy": "140000801111111"}, "EWALLET", "140000801111111"),
        ({"proxy_type": "BANK_ACCOUNT", "proxy": "123-4-56789-0", "bank_code": "014"}, "BANK_ACCOUNT", "0141234567890"),
    ],
)
def test_a_withdrawal_asks_for_the_proxy_as_it_travels(destination: dict[str, str], kind: str, value: str) -> None:
    """However people typed it; and for the amount as text."""
    body = mapping.look_up_request(job(), destination)
    assert body == {"proxyType": kind, "proxyValue": value, "amount": "123.45"}


@pytest.mark.parametrize(
    ("destination", "code"),
    [
        ({"proxy_type": "MOBILE", "proxy": "12345"}, "bad_proxy"),
        ({"proxy_type": "NATIONAL_ID", "proxy": "1234567890120"}, "bad_check_digit"),
        ({"proxy_type": "NATIONAL_ID", "proxy": "12345"}, "bad_proxy"),
        ({"proxy_type": "EWALLET", "proxy": "0801234567"}, "bad_proxy"),
        ({"proxy_type": "BANK_ACCOUNT", "proxy": "1234567890", "bank_code": "14"}, "bad_proxy"),
        ({"proxy_type": "BANK_ACCOUNT", "proxy": "1234567890", "bank_code": "SCB"}, "bad_proxy"),
        ({"proxy_type": "BANK_ACCOUNT", "proxy": "1234567890"}, "bad_destination"),
        ({"proxy_type": "PIGEON", "proxy": "1234567890"}, "bad_destination"),
        ({"proxy_type": "MOBILE"}, "bad_destination"),
        ({}, "bad_destination"),
    ],
)
def test_a_malformed_destination_is_named_and_not_quoted(destination: dict[str, str], code: str) -> None:
    """Before anything is sent; and declined for good."""
    with pytest.raises(BadInput) as caught:
        mapping.look_up_request(job(), destination)
    answer = mapping.declined(caught.value)
    assert (answer.outcome, answer.code, answer.final) == (Outcome.DECLINED, code, True)
    assert answer.detail
    assert not [text for name, text in destination.items() if name == "proxy" and text in answer.detail]


def test_a_code_is_handed_on_as_it_was_scanned() -> None:
    """Never as we would have written it; its own amount must be the one requested."""
    order_of_others = "00020101021229370016A000000677010111011300660000000005802TH530376454044.226304E469"
    body = mapping.look_up_request(job(operation=QR_PAY, amount_minor=422), {"qr": order_of_others})
    assert body == {"proxyType": "QR", "proxyValue": order_of_others, "amount": "4.22"}
    with pytest.raises(BadInput) as caught:
        mapping.look_up_request(job(operation=QR_PAY, amount_minor=423), {"qr": order_of_others})
    assert caught.value.code == "amount_mismatch"


def test_a_code_without_an_amount_takes_the_one_requested() -> None:
    """The payer names it."""
    code = encode(Bill("099400016550100", "REF1"))
    assert mapping.look_up_request(job(operation=QR_PAY), {"qr": code})["amount"] == "123.45"


@given(st.text(max_size=600))
def test_nonsense_that_was_scanned_is_refused_by_name(text: str) -> None:
    """No other exception."""
    with pytest.raises(BadInput) as caught:
        mapping.look_up_request(job(operation=QR_PAY), {"qr": text})
    assert CODE.fullmatch(mapping.declined(caught.value).code or "")


@pytest.mark.parametrize(("change", "code"), [({"currency": "RUB"}, "foreign_currency"), ({"operation": "X_Y"}, None)])
def test_what_ipps_does_not_do_is_not_asked(change: dict[str, str], code: str | None) -> None:
    """Other currencies, other operations."""
    with pytest.raises(BadInput) as caught:
        mapping.look_up_request(job(**change), {"proxy_type": "MOBILE", "proxy": "0801234567"})
    assert caught.value.code == (code or "unknown_operation")


def test_a_transfer_names_the_look_up_our_reference_and_the_amount() -> None:
    """And carries the payer's words, as far as they fit."""
    body = mapping.transfer_request(job(), {"comment": "x" * 500}, PREPARED)
    wanted = {"lookupRef": "LK1", "partnerTxnUid": REFERENCE, "amount": "123.45", "currency": "THB"}
    assert body == wanted | {"note": "x" * 400}
    assert mapping.transfer_request(job(), {}, PREPARED) == wanted


# Look-ups.


LOOKED_UP = {
    "statusCode": "00",
    "lookupRef": "LK1",
    "expiresAt": "2026-01-01T00:02:00.000Z",
    "accountNameMasked": "SOMCHAI T***",
    "bankCode": "014",
    "amount": "123.45",
}


def test_a_look_up_prepares_its_reference_and_a_masked_payee() -> None:
    """The PSP's own masking is not relied on."""
    assert mapping.looked_up(reply(LOOKED_UP), job()) == Ready(PREPARED)
    bare = LOOKED_UP | {"amount": None, "accountNameMasked": None, "bankCode": None}
    for told in (bare, LOOKED_UP | {"accountNameMasked": "\0ABCDE", "bankCode": "a bank"}):
        assert mapping.looked_up(reply(told), job()) == Ready({"lookup_ref": "LK1"})


@pytest.mark.parametrize("amount", ["123.46", "1.00", "123.4", "0.00", "-1.00", "x"])
def test_a_payee_who_asks_for_another_amount_is_not_paid(amount: str) -> None:
    """A decline before anything was sent."""
    answer = mapping.looked_up(reply(LOOKED_UP | {"amount": amount}), job())
    assert isinstance(answer, Definite)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, "amount_mismatch")


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (refused("UNKNOWN_PROXY", 200), "unknown_proxy"),
        (refused("INVALID_PROXY", 200), "invalid_proxy"),
        (refused("INVALID_QR", 200), "invalid_qr"),
        (refused("AMOUNT_MISMATCH", 200), "amount_mismatch"),
        (refused("OVER_LIMIT", 200), "over_limit"),
        (refused("ACCOUNT_CLOSED", 200), "account_closed"),
        (refused("WORD_OF_TOMORROW", 200), "declined"),
        (refused("INVALID_REQUEST", 400), "invalid_request"),
        (refused("INVALID_SCENARIO", 400), "invalid_request"),
    ],
)
def test_a_refused_look_up_is_a_decline(told: Reply, wanted: str) -> None:
    """In our own stable words."""
    answer = mapping.looked_up(told, job())
    assert isinstance(answer, Definite)
    assert (answer.outcome, answer.code, answer.final) == (Outcome.DECLINED, wanted, True)
    assert "words of theirs" not in (answer.detail or "")


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (refused("UNAUTHENTICATED", 401), NotSent("unauthenticated")),
        (refused("SLOW_DOWN", 429, Retry_After="3"), NotSent("throttled", 3.0, throttled=True)),
        (refused("X", 503, Retry_After="7"), Ambiguous("http_503", 7.0)),
        (refused("NO_SUCH_PATH", 404), Ambiguous("no_such_path")),
        (refused("X", 302), Ambiguous("http_302")),
        (reply(b'{"statusCode": "00", "look'), Ambiguous("malformed_answer")),
        (reply([]), Ambiguous("malformed_answer")),
        (reply({"statusCode": "00"}), Ambiguous("malformed_answer")),
        (reply({"statusCode": "10"}), Ambiguous("malformed_answer")),
        (reply(LOOKED_UP | {"statusCode": "99"}), Ambiguous("malformed_answer")),
        (reply(LOOKED_UP | {"lookupRef": ""}), Ambiguous("malformed_answer")),
        (reply(LOOKED_UP | {"lookupRef": 7}), Ambiguous("malformed_answer")),
    ],
)
def test_a_look_up_without_an_answer_prepares_nothing(told: Reply, wanted: Answer) -> None:
    """And declines nothing either."""
    assert mapping.looked_up(told, job()) == wanted


# Transfers.


def test_a_settled_transfer_is_paid() -> None:
    """With the PSP's number, the amount, and what people may see of the payee."""
    answer = mapping.submitted(reply(SETTLED), job(), PREPARED)
    assert answer == Definite(
        Outcome.PAID,
        psp_transaction_id=SETTLED["txnNo"],
        psp_ids={"txn_no": SETTLED["txnNo"]},
        amount_minor=AMOUNT,
        currency="THB",
        final=True,
        summary={"payee": "S*** T***", "bank_code": "014"},
    )


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (TransferStatus.PROCESSING, [Outcome.PENDING] * 3),
        (TransferStatus.SETTLED, [Outcome.PAID] * 3),
        (TransferStatus.REJECTED, [Outcome.DECLINED] * 3),
        (TransferStatus.REVERSED, [Outcome.REVERSED] * 3),
        (TransferStatus.CANCELLED, [Outcome.DECLINED, Outcome.DECLINED, Outcome.EXPIRED]),
    ],
)
def test_every_status_is_a_fact_to_whoever_asked(status: TransferStatus, wanted: list[Outcome]) -> None:
    """A barred reference is EXPIRED only in answer to the cancellation that may have barred it."""
    refusal = {"REJECTED": "OVER_LIMIT", "CANCELLED": "CANCELLED"}.get(status)
    told = SETTLED | {"status": status, "statusCode": "10" if refusal else "00", "errorCode": refusal}
    if status is TransferStatus.CANCELLED:
        told |= {"txnNo": None, "amount": None, "currency": None}
    answers = every(reply(told))
    assert [answer.outcome for answer in answers if isinstance(answer, Definite)] == wanted
    finals = [answer.final for answer in answers if isinstance(answer, Definite)]
    assert finals == [status is not TransferStatus.PROCESSING] * 3


def test_no_status_of_the_sandbox_is_missing_above() -> None:
    """Whoever adds one is told."""
    assert set(TransferStatus) == {"PROCESSING", "SETTLED", "REJECTED", "REVERSED", "CANCELLED"}


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("OVER_LIMIT", "over_limit"),
        ("ACCOUNT_CLOSED", "account_closed"),
        ("UNKNOWN_PROXY", "unknown_proxy"),
        ("LOOKUP_EXPIRED", "lookup_expired"),
        ("AMOUNT_MISMATCH", "amount_mismatch"),
        ("DECLINED", "declined"),
        ("WORD_OF_TOMORROW", "declined"),
        ("<script>", "declined"),
    ],
)
def test_a_rejection_is_a_decline_in_our_words(word: str, code: str) -> None:
    """Whether the manifest calls it final at once is another matter: `declined` it does not."""
    answer = mapping.submitted(rejected(word), job(), PREPARED)
    assert isinstance(answer, Definite)
    assert (answer.outcome, answer.code, answer.final) == (Outcome.DECLINED, code, True)
    assert (code in FINAL_ANSWERS) == (code != "declined")
    assert word == "DECLINED" or word not in (answer.detail or "")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (reply(SETTLED | {"partnerTxnUid": "SOMEBODYELSES00"}), "foreign_answer"),
        (reply(SETTLED | {"amount": "123.46"}), "contradictory_amount"),
        (reply(SETTLED | {"status": "REVERSED", "amount": "1.00"}), "contradictory_amount"),
        (reply(SETTLED | {"statusCode": "10"}), "contradictory_answer"),
        (reply(SETTLED | {"statusCode": None}), "contradictory_answer"),
        (rejected("OVER_LIMIT", statusCode="00"), "contradictory_answer"),
        (rejected(None), "malformed_answer"),
        (reply(SETTLED | {"status": "TELEPORTED"}), "malformed_answer"),
        (reply(SETTLED | {"txnNo": None}), "malformed_answer"),
        (reply(SETTLED | {"txnNo": "x" * 65}), "malformed_answer"),
        (reply(SETTLED | {"txnNo": "x\0"}), "malformed_answer"),
        (reply(SETTLED | {"txnNo": ""}), "malformed_answer"),
        (reply(SETTLED | {"amount": None}), "malformed_answer"),
        (reply(SETTLED | {"amount": 123.45}), "malformed_answer"),
        (reply(SETTLED | {"amount": "123.450"}), "malformed_answer"),
        (reply(SETTLED | {"currency": "USD"}), "malformed_answer"),
        (reply({name: SETTLED[name] for name in SETTLED if name != "partnerTxnUid"}), "malformed_answer"),
        (reply({"statusCode": "10", "errorCode": "OVER_LIMIT"}), "malformed_answer"),
        (reply(json.dumps(SETTLED).encode()[:60]), "malformed_answer"),
        (reply(b""), "malformed_answer"),
        (reply(b"\xff\xfe"), "malformed_answer"),
        (reply(b"[" * 10_000), "malformed_answer"),
        (reply(None), "malformed_answer"),
    ],
)
def test_an_answer_that_does_not_hold_together_is_doubt(told: Reply, reason: str) -> None:
    """To a transfer, an inquiry and a cancellation alike."""
    assert every(told) == [Ambiguous(reason)] * 3


@pytest.mark.parametrize(
    ("code", "status", "wanted"),
    [
        ("INVALID_REQUEST", 400, NotSent("invalid_request", 10.0)),
        ("INVALID_SCENARIO", 400, NotSent("invalid_request", 10.0)),
        ("UNKNOWN_LOOKUP", 400, NotSent("unknown_lookup", 10.0)),
        ("UNAUTHENTICATED", 401, NotSent("unauthenticated", 10.0)),
        ("DUPLICATE_REFERENCE", 409, Ambiguous("duplicate_reference")),
        ("REFERENCE_REUSED", 409, Ambiguous("reference_reused")),
        ("NOT_FOUND", 404, Ambiguous("http_404")),
        ("NO_SUCH_PATH", 404, Ambiguous("no_such_path")),
        ("NO_SUCH_METHOD", 405, Ambiguous("http_405")),
        ("TOO_LARGE", 413, Ambiguous("http_413")),
        ("TOO_LATE", 409, Ambiguous("http_409")),
        # The right status in other words, or the right words under another status, prove nothing.
        ("HTTP_400", 400, Ambiguous("http_400")),
        ("HTTP_401", 401, Ambiguous("http_401")),
        ("UNKNOWN_LOOKUP", 500, Ambiguous("http_500")),
        ("UNAUTHENTICATED", 403, Ambiguous("http_403")),
        ("UNAVAILABLE", 503, Ambiguous("http_503")),
    ],
)
def test_an_error_to_a_transfer_is_a_non_event_only_in_the_contracts_words(
    code: str, status: int, wanted: Answer
) -> None:
    """Whoever believes more pays twice."""
    assert mapping.submitted(refused(code, status), job(), PREPARED) == wanted


def test_throttling_does_not_prove_that_nothing_was_done() -> None:
    """The contract does not say so, hence a transfer is in doubt; a question just waits."""
    told = refused("HTTP_429", 429, Retry_After="3")
    assert mapping.submitted(told, job(), PREPARED) == Ambiguous("http_429", 3.0)
    assert mapping.cancelled(told, job()) == Ambiguous("http_429", 3.0)
    assert mapping.inquired(told, job()) == NotSent("throttled", 3.0, throttled=True)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 404, 400, 401, 301])
def test_an_error_page_of_somebody_in_between_is_doubt(status: int) -> None:
    """Such as a proxy's, in HTML."""
    assert every(reply(b"<html>", status, Retry_After="9")) == [Ambiguous(f"http_{status}", 9.0)] * 3


# Inquiries and cancellations.


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (refused("NOT_FOUND", 404), Definite(Outcome.NOT_FOUND)),
        (refused("NO_SUCH_PATH", 404), Ambiguous("no_such_path")),
        (refused("HTTP_404", 404), Ambiguous("http_404")),
        (refused("NOT_FOUND", 410), Ambiguous("http_410")),
        (reply({"statusCode": "10", "errorCode": "NOT_FOUND"}), Ambiguous("malformed_answer")),
        (refused("UNAUTHENTICATED", 401), NotSent("unauthenticated")),
    ],
)
def test_an_absence_is_said_in_one_way_only(told: Reply, wanted: Answer) -> None:
    """A wrong path is no absence: it would void what was paid."""
    assert mapping.inquired(told, job()) == wanted


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (refused("TOO_LATE", 409), Definite(Outcome.PENDING, retry_after_s=1)),
        (refused("NO_SUCH_PATH", 404), Ambiguous("no_such_path")),
        (refused("NOT_FOUND", 404), Ambiguous("http_404")),
        (refused("UNAUTHENTICATED", 401), NotSent("unauthenticated")),
        (refused("X", 500), Ambiguous("http_500")),
    ],
)
def test_a_cancellation_is_confirmed_by_nothing_but_the_word(told: Reply, wanted: Answer) -> None:
    """Neither by an error nor by an absence."""
    assert mapping.cancelled(told, job()) == wanted


def test_a_bar_on_another_reference_bars_nothing_of_ours() -> None:
    """The answer names whose it is."""
    told = {"statusCode": "10", "status": "CANCELLED", "errorCode": "CANCELLED", "partnerTxnUid": "SOMEBODYELSES00"}
    assert mapping.cancelled(reply(told), job()) == Ambiguous("foreign_answer")


@pytest.mark.parametrize("word", ["OVER_LIMIT", "CANCELLED"])
def test_a_cancellation_of_what_was_rejected_says_so(word: str) -> None:
    """The transfer's own code stands; only the status says that the reference is barred."""
    answer = mapping.cancelled(rejected(word), job())
    assert isinstance(answer, Definite)
    assert (answer.outcome, answer.code) == (Outcome.DECLINED, word.lower())


# The whole vocabulary.


def test_no_error_code_of_the_contract_is_unknown_here() -> None:
    """Every code that the sandbox can answer with stands in one of the tables, or is doubt on purpose."""
    folder = Path(adapters.sandbox.__file__).parent
    files = [*(folder / "ipps").glob("*.py"), folder / "answers.py", folder / "gates.py", folder / "desk.py"]
    calls = [node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    said: set[tuple[int | None, str]] = set()
    for call in calls:
        match call:
            case ast.Call(
                func=ast.Name(id="Refused"),
                args=[ast.Constant(value=int() as status), ast.Constant(value=str() as word), *_],
            ):
                said.add((status, word))
            case ast.Call(
                func=ast.Name(id="NotPayable" | "refusal_answer"), args=[ast.Constant(value=str() as word), *_]
            ):
                said.add((None, word))
    doubt_on_purpose = {(405, "NO_SUCH_METHOD"), (413, "TOO_LARGE"), (409, "WRONG_STATUS")}
    read = {*mapping._NOT_TAKEN, *mapping._DOUBTS, (404, "NOT_FOUND"), (409, "TOO_LATE")}
    assert len(said) > 12
    assert {pair for pair in said if pair[0] is not None} <= read | doubt_on_purpose
    assert {word for status, word in said if status is None} <= set(mapping._CODES)


def test_the_final_answers_are_codes_that_can_be_given() -> None:
    """None is misspelt, and none of them is the word for whatever the contract does not name."""
    assert set(FINAL_ANSWERS) == {code for code, _ in mapping._CODES.values()}
    assert mapping.OTHER_REFUSAL not in FINAL_ANSWERS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(SETTLED)), inner, max_size=5),
    max_leaves=10,
)


@given(
    JSON | st.fixed_dictionaries({name: st.just(value) | JSON for name, value in SETTLED.items()}),
    st.sampled_from([200, 201, 204, 400, 401, 404, 409, 429, 500, 503]),
)
def test_whatever_is_answered_is_an_answer(told: object, status: int) -> None:
    """Nothing raises; and only the whole truth is a payment."""
    came = reply(told, status)
    mapping.looked_up(came, job())
    for answer in every(came):
        if isinstance(answer, Definite) and answer.outcome is Outcome.PAID:
            assert isinstance(told, Mapping)
            assert told["partnerTxnUid"] == REFERENCE
            assert (status, answer.amount_minor) == (200, AMOUNT)
