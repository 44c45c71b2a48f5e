"""What QP tells of its own accord: hints about payments, records of refunds, and never a decline of a top-up."""

import json
from typing import Any

import pytest

from adapters.qp.callbacks import parse
from adapters.qp.manifest import MANIFEST
from adapters.runtime.psp import BadCallback
from adapters.runtime.work import Teller
from shared.contracts import Outcome

PAYMENT: dict[str, Any] = {
    "eventId": "e1",
    "occurredAt": "2026-01-31T12:00:00.000Z",
    "kind": "PAYMENT",
    "paymentId": "PM1",
    "qrcId": "AD10000123456789ABCDEFGHIJKLMNOP",
    "order": "ORDER1",
    "amount": 100,
    "currency": "RUB",
    "status": "ACCEPTED",
    "errorCode": None,
}
REFUND = {name: value for name, value in PAYMENT.items() if name != "qrcId"} | {
    "kind": "REFUND",
    "refundId": "R1",
    "status": "COMPLETED",
}


def raw(told: dict[str, Any]) -> bytes:
    """Return the bytes of a callback."""
    return json.dumps(told).encode()


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        ("ACCEPTED", Outcome.PAID, None),
        ("REVERSED", Outcome.REVERSED, None),
        ("IN_PROGRESS", Outcome.PENDING, None),
        ("DECLINED", Outcome.PENDING, "payment_declined"),
    ],
)
def test_a_payment_is_told_under_its_id_and_our_order(status: str, outcome: Outcome, code: str | None) -> None:
    """A declined one leaves the payer another try; nothing is anybody's last word."""
    seen = parse(raw(PAYMENT | {"status": status}))
    said = seen.answer
    assert (seen.reference, said.outcome, said.code, said.final) == ("ORDER1", outcome, code, False)
    assert (said.psp_transaction_id, said.amount_minor, said.currency) == ("PM1", 100, "RUB")
    assert dict(said.psp_ids) == {"qrc_id": PAYMENT["qrcId"]}


@pytest.mark.parametrize("status", ["IN_PROGRESS", "COMPLETED", "DECLINED"])
def test_a_refund_is_recorded_and_no_payment(status: str) -> None:
    """Not under the payment's id, where it might be taken for one."""
    seen = parse(raw(REFUND | {"status": status}))
    said = seen.answer
    assert (seen.reference, said.outcome, said.code) == ("ORDER1", Outcome.PENDING, f"refund_{status.lower()}")
    assert (said.psp_transaction_id, said.amount_minor) == (None, None)
    assert dict(said.summary) == {"refund_id": "R1", "payment_id": "PM1", "amount_minor": "100"}


@pytest.mark.parametrize("told", [PAYMENT, PAYMENT | {"status": "DECLINED"}, REFUND])
def test_whatever_is_read_can_be_told(told: dict[str, Any]) -> None:
    """The message that it becomes takes it."""
    heard = Teller(MANIFEST, lambda: 1).heard(parse(raw(told)), callback_id="c", raw="r")
    assert heard.reference == "ORDER1"


def test_what_is_new_in_a_callback_is_passed_over() -> None:
    """QP may add fields."""
    assert parse(raw(PAYMENT | {"novelty": 1})) == parse(raw(PAYMENT))


@pytest.mark.parametrize(
    "told",
    [
        PAYMENT | {"kind": "PAYOUT"},
        PAYMENT | {"status": "COMPLETED"},
        PAYMENT | {"amount": "100"},
        PAYMENT | {"amount": 0},
        PAYMENT | {"order": None},
        PAYMENT | {"order": "A B"},
        PAYMENT | {"paymentId": "P" * 200},
        REFUND | {"status": "ACCEPTED"},
        {name: value for name, value in PAYMENT.items() if name != "qrcId"},
    ],
)
def test_a_callback_that_makes_no_sense_is_refused_without_its_values(told: dict[str, Any]) -> None:
    """The fault names a field."""
    with pytest.raises(BadCallback) as refused:
        parse(raw(told))
    assert "PM1" not in str(refused.value)
    assert "P" * 64 not in str(refused.value)
