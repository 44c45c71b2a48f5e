"""What IPPS tells of its own accord."""

import json
from typing import Any

import pytest

from adapters.ipps.callbacks import callback_rules, parse_callback
from adapters.runtime.psp import BadCallback, Definite
from adapters.sandbox.callbacks import sign
from shared.contracts import Outcome

TOLD: dict[str, Any] = {
    "eventId": "c0ffee",
    "occurredAt": "2026-01-01T00:00:00.000Z",
    "partnerTxnUid": "K7PM2Q9X4RT8VW3",
    "txnNo": "0A1B2C",
    "status": "SETTLED",
    "amount": "123.45",
    "currency": "THB",
    "errorCode": None,
}


def heard(**changes: Any) -> Definite:
    """Return what a callback says."""
    return parse_callback(json.dumps(TOLD | changes).encode()).answer


def test_a_callback_names_our_reference_and_says_how_it_stands() -> None:
    """The amount is the PSP's: it is a hint, and compared by whoever asks."""
    seen = parse_callback(json.dumps(TOLD | {"amount": "1.00"}).encode())
    assert seen.reference == "K7PM2Q9X4RT8VW3"
    assert (seen.answer.outcome, seen.answer.amount_minor, seen.answer.currency) == (Outcome.PAID, 100, "THB")
    assert seen.answer.psp_transaction_id == "0A1B2C"


@pytest.mark.parametrize(
    ("status", "error", "outcome", "code"),
    [
        ("PROCESSING", None, Outcome.PENDING, None),
        ("SETTLED", None, Outcome.PAID, None),
        ("REVERSED", None, Outcome.REVERSED, None),
        ("REJECTED", "OVER_LIMIT", Outcome.DECLINED, "over_limit"),
        ("REJECTED", "WORD_OF_TOMORROW", Outcome.DECLINED, "declined"),
        ("CANCELLED", None, Outcome.DECLINED, "cancelled"),
    ],
)
def test_every_status_is_an_observation(status: str, error: str | None, outcome: Outcome, code: str | None) -> None:
    """In the words of answers."""
    answer = heard(status=status, errorCode=error)
    assert (answer.outcome, answer.code) == (outcome, code)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "TELEPORTED"},
        {"status": None},
        {"partnerTxnUid": "no reference of ours"},
        {"partnerTxnUid": None},
        {"amount": 123.45},
        {"amount": "0.00"},
        {"currency": "USD"},
        {"txnNo": None},
        {"status": "REJECTED"},
    ],
)
def test_a_callback_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """Without quoting it."""
    with pytest.raises(BadCallback) as caught:
        heard(**changes)
    assert not [value for value in changes.values() if isinstance(value, str) and value in str(caught.value)]


def test_secrets_are_not_shown() -> None:
    """Rules turn up in tracebacks."""
    assert "hush" not in repr(callback_rules(secrets=(b"hush",), networks=("10.0.0.0/8",)))
    assert sign(b"hush", "1", b"{}") != sign(b"husk", "1", b"{}")
