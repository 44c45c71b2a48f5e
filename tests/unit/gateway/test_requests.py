"""The request models: what may be said, to the last character."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.operations import AdjustmentRequest, P2PTransferRequest
from gateway.problems import Problem
from gateway.requests import parse_nothing, parse_open_account, parse_operation

DECEIVING = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
TRANSFER: dict[str, Any] = {
    "operation_type": "P2P_TRANSFER",
    "from_account": "user:alice:THB",
    "to_account": "merchant:shop1:THB",
    "amount_minor": 1,
    "currency": "THB",
}


def body(**changes: Any) -> bytes:
    """Return a transfer's body with changes."""
    return json.dumps({**TRANSFER, **changes}).encode()


def test_the_largest_transfer_is_read_in_full() -> None:
    """Every optional field at its bound."""
    request = parse_operation(
        body(
            amount_minor=2**62,
            from_name="ก" * 140,
            to_name="x",
            comment="line one, no line two",
            metadata={"tags": ["t" * 64] * 16},
            requires_monitoring=True,
        )
    )
    assert isinstance(request, P2PTransferRequest)
    assert (request.amount_minor, len(request.metadata.tags), request.requires_monitoring) == (2**62, 16, True)


def test_an_adjustment_is_told_apart_by_its_operation_type() -> None:
    """And knows a direction."""
    request = parse_operation(
        b'{"operation_type":"ADJUSTMENT","account":"user:a:JPY","direction":"DEBIT","amount_minor":5,"currency":"JPY"}'
    )
    assert isinstance(request, AdjustmentRequest)
    assert (request.direction, request.comment) == ("DEBIT", None)


def test_null_words_are_no_words() -> None:
    """Clients send null for what they do not have."""
    request = parse_operation(body(from_name=None, comment=None))
    assert isinstance(request, P2PTransferRequest)
    assert request.from_name is None


def test_every_fault_is_named_with_its_field() -> None:
    """The first one's code in front; the operation type that pydantic puts into the path left out."""
    with pytest.raises(Problem) as raised:
        parse_operation(body(amount_minor=0, to_account="x", metadata={"tags": ["", "a\n"]}, more=1))
    problem = raised.value
    assert {(place, code) for place, code, _ in problem.faults} == {
        ("amount_minor", "amount_out_of_range"),
        ("to_account", "bad_account_name"),
        ("metadata.tags.0", "too_short"),
        ("metadata.tags.1", "control_characters"),
        ("more", "unknown_field"),
    }
    assert problem.code == problem.faults[0][1]


def test_hundreds_of_faults_are_named_up_to_a_bound() -> None:
    """An answer must not be larger than the question."""
    with pytest.raises(Problem) as raised:
        parse_operation(body(**{f"field_{number}": number for number in range(500)}))
    assert len(raised.value.faults) == 16


@given(st.text(min_size=1, max_size=140))
def test_words_are_accepted_exactly_when_they_print(words: str) -> None:
    """Whatever the script: Thai, emoji, right-to-left letters; but no control of any kind."""
    unprintable = any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in words)
    deceiving = any(unicodedata.bidirectional(character) in DECEIVING for character in words)
    accepted = True
    try:
        parse_operation(body(comment=words))
    except Problem:
        accepted = False
    assert accepted == (not unprintable and not deceiving)


def test_an_account_to_open_must_be_a_wallet() -> None:
    """Users' and merchants'."""
    assert parse_open_account(b'{"name":"merchant:m-1:RUB"}').name == "merchant:m-1:RUB"
    for name in ("transit:THB", "fee:f:THB", "psp:ipps:THB", "suspense:qp:RUB", "liquidity:THB", "equity:THB"):
        with pytest.raises(Problem) as raised:
            parse_open_account(json.dumps({"name": name}).encode())
        assert raised.value.code == "account_not_openable"


def test_no_body_and_an_empty_object_are_nothing() -> None:
    """Anything else is something."""
    parse_nothing(b"")
    parse_nothing(b" {} ")
    for something in (b"[]", b'{"a":1}', b"x"):
        with pytest.raises(Problem):
            parse_nothing(something)
