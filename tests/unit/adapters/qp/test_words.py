"""Reading QP's answers: all of it makes sense, or it proves nothing."""

import json
from typing import Any

import pytest

from adapters.qp.words import Code, Codes, Payments, Refusal, harmless, read
from adapters.runtime.http import Reply
from adapters.runtime.psp import Ambiguous, NotSent

CODE: dict[str, Any] = {
    "qrcId": "AD10000123456789ABCDEFGHIJKLMNOP",
    "order": "ORDER-1",
    "qrType": "dynamic",
    "amount": 100,
    "currency": "RUB",
    "payload": "https://qr.nspk.ru/…",
    "status": "NEW",
    "createdAt": "2026-01-31T12:00:00.000Z",
    "expiresAt": "2026-01-31T12:20:00.000Z",
}
PAYMENT: dict[str, Any] = {
    "paymentId": "PM1",
    "qrcId": CODE["qrcId"],
    "order": "ORDER-1",
    "amount": 100,
    "currency": "RUB",
    "status": "ACCEPTED",
    "errorCode": None,
    "createdAt": "2026-01-31T12:00:00.000Z",
    "refunded": 0,
}


def reply(told: object, status: int = 200, **headers: str) -> Reply:
    """Return an answer."""
    return Reply(status, headers, json.dumps(told).encode())


def test_a_code_is_read_and_what_is_new_in_it_passed_over() -> None:
    """QP may add fields; its link does not show in logs."""
    code = read(reply(CODE | {"novelty": {"a": 1}}), Code)
    assert isinstance(code, Code)
    assert (code.qrc_id, code.status, code.amount) == (CODE["qrcId"], "NEW", 100)
    assert "nspk" not in repr(code)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "REFUNDED"},
        {"status": None},
        {"amount": "100"},
        {"amount": 0},
        {"amount": 100.0},
        {"amount": True},
        {"amount": 1 << 70},
        {"qrcId": "../payments"},
        {"qrcId": ""},
        {"qrcId": "A" * 65},
        {"order": "ORDER 1"},
        {"currency": "rub"},
        {"expiresAt": "2026-01-31T12:20:00"},
        {"expiresAt": "1969-01-31T12:20:00Z"},
        {"expiresAt": 5},
        {"payload": None},
    ],
)
def test_a_code_with_one_senseless_field_proves_nothing(changes: dict[str, Any]) -> None:
    """Least of all a status that nobody has heard of."""
    assert read(reply(CODE | changes), Code) == Ambiguous("malformed")


@pytest.mark.parametrize("name", ["qrcId", "order", "qrType", "amount", "currency", "payload", "status"])
def test_a_code_without_one_of_its_fields_proves_nothing(name: str) -> None:
    """It is half an answer."""
    assert read(reply({key: value for key, value in CODE.items() if key != name}), Code) == Ambiguous("malformed")


@pytest.mark.parametrize(
    "changes", [{"status": "DONE"}, {"amount": None}, {"paymentId": "P" * 65}, {"paymentId": ""}, {"errorCode": 5}]
)
def test_one_senseless_payment_spoils_the_list(changes: dict[str, Any]) -> None:
    """To pass it over might be to pass over money."""
    right = read(reply({"payments": [PAYMENT]}), Payments)
    assert isinstance(right, Payments)
    assert read(reply({"payments": [PAYMENT, PAYMENT | changes]}), Payments) == Ambiguous("malformed")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 5_000, b"1" * 5_000, b"{}"])
@pytest.mark.parametrize("status", [200, 400, 404, 422])
def test_what_is_no_answer_of_qps_proves_nothing(body: bytes, status: int) -> None:
    """Whatever its status: somebody in between may have said it."""
    assert isinstance(read(Reply(status, {}, body), Codes), Ambiguous)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 499])
def test_a_refusal_in_qps_words_is_one(status: int) -> None:
    """With its code."""
    assert read(reply({"code": "WORD", "message": "…"}, status), Code) == Refusal(status, "WORD")


@pytest.mark.parametrize("told", [{"errorCode": "HTTP_422"}, {"code": 5}, {"code": None}])
def test_an_error_without_qps_code_proves_nothing(told: dict[str, Any]) -> None:
    """The deed may be done."""
    assert read(reply(told, 422), Code) == Ambiguous("http_422")


@pytest.mark.parametrize("status", [201, 204, 302, 429, 500, 503, 599])
def test_another_status_proves_nothing_but_when_to_come_again(status: int) -> None:
    """Not even 429: QP promises nothing about it."""
    said = read(reply({"code": "OVER_LIMIT"}, status, **{"Retry-After": "7"}), Code)
    assert said == Ambiguous(f"http_{status}", 7.0)


def test_a_question_that_was_one_too_many_changed_nothing() -> None:
    """And does not count against QP, which is well; every other failure stays what it is."""
    assert harmless(Ambiguous("http_429", 7.0)) == NotSent("throttled", 7.0, throttled=True)
    for answer in (Ambiguous("http_503"), NotSent("unreachable"), Refusal(404, "NOT_FOUND")):
        assert harmless(answer) is answer
