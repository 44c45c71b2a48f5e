"""The operations: what a payee may look like, what is personal, and that nothing personal travels unsealed."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.entries import Offer, intent_entry
from gateway.operations import INSTANT, OPERATIONS, PERSONAL_FIELDS, sealed_message
from gateway.problems import Problem
from gateway.requests import parse_operation
from gateway.views import masked_operation, masked_request
from shared.contracts import Action, IntentMessage, JobMessage, read_body
from shared.ids import IntentId, intent_id
from shared.sealing import KeyRing, mask, unseal

RING = KeyRing.parse("k1:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=")
INTENT = intent_id(1_767_225_600_000_000, 1, 7)
QR = "00020101021229370016A000000677010111011300660000000005802TH530376454044.226304E469"
WITHDRAWAL: dict[str, Any] = {
    "operation_type": "IPPS_WITHDRAWAL",
    "from_account": "user:alice:THB",
    "amount_minor": 25_000,
    "currency": "THB",
    "proxy_type": "MOBILE",
    "proxy": "080-123-4567",
}
QR_PAY: dict[str, Any] = {
    "operation_type": "THAI_QR_PAY",
    "from_account": "user:alice:THB",
    "amount_minor": 422,
    "currency": "THB",
    "qr": QR,
}
TOPUP: dict[str, Any] = {
    "operation_type": "QP_TOPUP",
    "to_account": "user:alice:RUB",
    "amount_minor": 30_510,
    "currency": "RUB",
}
OTHERS: dict[str, dict[str, Any]] = {
    "P2P_TRANSFER": {
        "operation_type": "P2P_TRANSFER",
        "from_account": "user:alice:THB",
        "to_account": "user:bob:THB",
        "amount_minor": 1,
        "currency": "THB",
    },
    "ADJUSTMENT": {
        "operation_type": "ADJUSTMENT",
        "account": "user:alice:THB",
        "direction": "CREDIT",
        "amount_minor": 1,
        "currency": "THB",
    },
}
SMALLEST = {**OTHERS, "IPPS_WITHDRAWAL": WITHDRAWAL, "THAI_QR_PAY": QR_PAY, "QP_TOPUP": TOPUP}


def parse(fields: dict[str, Any]) -> Any:
    """Read an operation."""
    return parse_operation(json.dumps(fields).encode())


def fault(fields: dict[str, Any]) -> Problem:
    """Return what is wrong with an operation."""
    with pytest.raises(Problem) as raised:
        parse(fields)
    return raised.value


def test_what_is_personal_is_known_for_every_operation() -> None:
    """By the types of the fields; a field that joins them belongs into this table."""
    assert {name: kind.personal for name, kind in OPERATIONS.items()} == {
        "P2P_TRANSFER": ("from_name", "to_name", "comment"),
        "ADJUSTMENT": ("comment",),
        "IPPS_WITHDRAWAL": ("proxy", "recipient_name", "comment"),
        "THAI_QR_PAY": ("qr", "comment"),
        "QP_TOPUP": ("comment",),
    }
    assert set(PERSONAL_FIELDS) == {"from_name", "to_name", "comment", "proxy", "recipient_name", "qr"}
    assert set(INSTANT) == {"P2P_TRANSFER", "ADJUSTMENT"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_becomes_its_message_field_by_field(name: str) -> None:
    """Defaults included; what is not personal is copied as it is."""
    request = parse(
        {**SMALLEST[name], "metadata": {"tags": ["a"], "labels": {"tier": "gold"}}, "requires_monitoring": True}
    )
    message = sealed_message(RING, context=str(INTENT), request=request)
    assert message.operation_type == name
    copied, posted = message.model_dump(), request.model_dump()
    for field in posted.keys() - set(OPERATIONS[name].personal):
        assert copied[field] == posted[field], field


GOOD_PROXIES = [
    ("MOBILE", "0801234567"),
    ("MOBILE", "+66 80 123 4567"),
    ("MOBILE", "0066801234567"),
    ("MOBILE", "(080) 123-4567"),
    ("NATIONAL_ID", "1-2345-67890-12-1"),
    ("EWALLET", "140066801234567"),
    ("BANK_ACCOUNT", "123-4-56789-0"),
    ("BANK_ACCOUNT", "A" * 40),
]


@pytest.mark.parametrize(("proxy_type", "proxy"), GOOD_PROXIES)
def test_a_proxy_is_taken_as_people_type_it(proxy_type: str, proxy: str) -> None:
    """With its separators; the adapter reads it."""
    bank = {"bank_code": "014"} if proxy_type == "BANK_ACCOUNT" else {}
    assert parse({**WITHDRAWAL, "proxy_type": proxy_type, "proxy": proxy, **bank}).proxy == proxy


BAD_PAYEES: list[tuple[dict[str, Any], str, str]] = [
    ({"proxy": "080123456x"}, "proxy_characters", "proxy"),
    ({"proxy": "080 1234567 ๑"}, "proxy_characters", "proxy"),
    ({"proxy": "٠٨٠١٢٣٤٥٦٧"}, "proxy_characters", "proxy"),
    ({"proxy": "0801234567\n"}, "proxy_characters", "proxy"),
    ({"proxy": "080+1234567"}, "proxy_characters", "proxy"),
    ({"proxy": "080123456"}, "proxy_length", "proxy"),
    ({"proxy": "08012345678901"}, "proxy_length", "proxy"),
    ({"proxy": " - "}, "proxy_length", "proxy"),
    ({"proxy": ""}, "too_short", "proxy"),
    ({"proxy": "0" * 65}, "too_long", "proxy"),
    ({"proxy": 801234567}, "wrong_type", "proxy"),
    ({"proxy": None}, "wrong_type", "proxy"),
    ({"proxy_type": "EMAIL"}, "unknown_value", "proxy_type"),
    ({"proxy_type": "NATIONAL_ID", "proxy": "123456789012"}, "proxy_length", "proxy"),
    ({"proxy_type": "NATIONAL_ID", "proxy": "+1234567890121"}, "proxy_characters", "proxy"),
    ({"proxy_type": "EWALLET", "proxy": "14006680123456"}, "proxy_length", "proxy"),
    ({"proxy_type": "BANK_ACCOUNT", "proxy": "1234567890"}, "bank_code_required", "bank_code"),
    ({"proxy_type": "BANK_ACCOUNT", "proxy": "1" * 41, "bank_code": "014"}, "proxy_length", "proxy"),
    ({"proxy_type": "BANK_ACCOUNT", "proxy": "123/456", "bank_code": "014"}, "proxy_characters", "proxy"),
    ({"proxy_type": "BANK_ACCOUNT", "proxy": "123", "bank_code": "14"}, "bad_bank_code", "bank_code"),
    ({"proxy_type": "BANK_ACCOUNT", "proxy": "123", "bank_code": "๐๑๔"}, "bad_bank_code", "bank_code"),
    ({"proxy_type": "BANK_ACCOUNT", "proxy": "123", "bank_code": 14}, "wrong_type", "bank_code"),
    ({"bank_code": "014"}, "bank_code_not_allowed", "bank_code"),
]


@pytest.mark.parametrize(("changes", "code", "place"), BAD_PAYEES)
def test_a_payee_that_nobody_could_read_is_refused(changes: dict[str, Any], code: str, place: str) -> None:
    """With a code of its own and the field's name, and never with the value."""
    problem = fault({**WITHDRAWAL, **changes})
    assert (problem.code, problem.faults[0][0]) == (code, place)
    value = changes.get("proxy") or "0801234567"
    assert len(str(value)) < 5 or str(value) not in f"{problem.detail} {problem.faults}"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({**QR_PAY, "qr": ""}, "too_short"),
        ({**QR_PAY, "qr": "0" * 513}, "too_long"),
        ({**QR_PAY, "qr": QR + "\n"}, "not_printable_ascii"),
        ({**QR_PAY, "qr": "ก" * 20}, "not_printable_ascii"),
        ({**QR_PAY, "from_account": "transit:THB"}, "account_not_payable"),
        ({**QR_PAY, "from_account": "user:alice:RUB"}, "currency_mismatch"),
        ({**QR_PAY, "proxy": "0801234567"}, "unknown_field"),
        ({**TOPUP, "ttl_s": 59}, "ttl_out_of_range"),
        ({**TOPUP, "ttl_s": 259_201}, "ttl_out_of_range"),
        ({**TOPUP, "ttl_s": "900"}, "wrong_type"),
        ({**TOPUP, "static": 1}, "wrong_type"),
        ({**TOPUP, "to_account": "user:alice:THB"}, "currency_mismatch"),
        ({**TOPUP, "from_account": "user:alice:RUB"}, "unknown_field"),
        ({**TOPUP, "test_scenario": "x" * 513}, "too_long"),
        ({**TOPUP, "test_scenario": "a\x00"}, "not_printable_ascii"),
    ],
)
def test_codes_and_top_ups_have_their_bounds(fields: dict[str, Any], code: str) -> None:
    """Each fault with its code."""
    assert fault(fields).code == code


def test_the_bounds_themselves_are_inside() -> None:
    """The longest code, the longest and the shortest time."""
    assert len(parse({**QR_PAY, "qr": "~" * 512}).qr) == 512
    assert [parse({**TOPUP, "ttl_s": ttl_s}).ttl_s for ttl_s in (60, 259_200)] == [60, 259_200]


CANARY = "~!~"
"""Stands in no field name, code or sealed text: where it turns up, somebody's words have."""
_words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x2FFF, categories=("L", "N", "P", "S")), max_size=137)
_said = _words.map(lambda text: CANARY + text)
_digits = st.text("0123456789", min_size=10, max_size=13)
_printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=509)
_posts = st.one_of(
    st.fixed_dictionaries({"proxy": _digits}, optional={"recipient_name": _said, "comment": _said}).map(
        lambda more: {**WITHDRAWAL, **more}
    ),
    st.fixed_dictionaries({"qr": _printable.map(lambda text: CANARY + text)}, optional={"comment": _said}).map(
        lambda more: {**QR_PAY, **more}
    ),
    st.fixed_dictionaries({"comment": _said}).map(lambda more: {**TOPUP, **more}),
    st.fixed_dictionaries({"comment": _said, "from_name": _said, "to_name": _said}).map(
        lambda more: {**OTHERS["P2P_TRANSFER"], **more}
    ),
)


@given(_posts)
def test_nothing_personal_stands_in_a_stream_entry(fields: dict[str, Any]) -> None:
    """Every field of that kind is sealed, and opens in its own place; answers show one letter."""
    request = parse(fields)
    view = masked_request(request, approved_by=None)
    offer = Offer("shop", "alice", "k", request, None, ("k1:00",), 1, "", view)
    entry = intent_entry(RING, INTENT, offer, waiter="gateway-1")
    message = read_body(entry.envelope)
    assert isinstance(message, IntentMessage)
    stored = message.operation.model_dump()
    assert CANARY.encode() not in entry.envelope.body
    for name in OPERATIONS[fields["operation_type"]].personal:
        if (text := fields.get(name)) is not None:
            assert text.encode() not in entry.envelope.body
            assert unseal(RING, context=str(INTENT), field=name, sealed=stored[name]) == text
            assert view[name] == mask(text)
    shown = masked_operation(RING, INTENT, message.operation.model_dump_json())
    assert shown == json.loads(json.dumps(view))


def test_a_sealed_value_opens_nowhere_else() -> None:
    """Another intent's context, or another field's name, opens nothing and is shown as such."""
    message = sealed_message(RING, context=str(INTENT), request=parse({**WITHDRAWAL, "comment": "rent"}))
    elsewhere = IntentId(UUID(int=INTENT.int ^ (1 << 30)))
    shown = masked_operation(RING, elsewhere, message.model_dump_json())
    assert (shown["proxy"], shown["comment"]) == ("***", "***")
    assert (shown["proxy_type"], shown["amount_minor"]) == ("MOBILE", 25_000)


def test_the_longest_sealed_texts_fit_into_a_job() -> None:
    """What the door lets in, the way to the adapter must carry: four bytes a character, and a long key id."""
    ring = KeyRing.parse(f"{'k' * 32}:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=")
    request = parse({**QR_PAY, "qr": "~" * 512, "comment": "\U0001f33b" * 140})
    message = sealed_message(ring, context=str(INTENT), request=request)
    job = JobMessage(
        psp="ipps",
        intent_id=str(INTENT),
        attempt=1,
        operation="THAI_QR_PAY",
        action=Action.SUBMIT,
        reference="R1",
        amount_minor=422,
        currency="THB",
        created_ms=1,
        epoch="m:1",
        destination={name: getattr(message, name) for name in ("qr", "comment")},
    )
    assert job.destination
