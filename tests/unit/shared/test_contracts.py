"""Messages between services: what was written yesterday is read today, and nothing is repeated in error texts.

The golden messages are entries as version 1 wrote them, byte for byte. They stay for as long as version 1 is read.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import (
    VERSION,
    VERSIONS_READ,
    Adjustment,
    Envelope,
    IntentMessage,
    Kind,
    MalformedMessage,
    Metadata,
    NewerVersion,
    OpenAccountMessage,
    P2PTransfer,
    ResumeMessage,
    read_body,
    read_envelope,
)

ID = "0198c1f2-7a10-7123-8abc-def012030000"

GOLDEN_P2P = {
    b"v": b"1",
    b"id": ID.encode(),
    b"kind": b"intent",
    b"body": (
        b'{"service_key":"shop","user_id":"alice","idempotency_key":"order-1","fingerprints":["k2:00ff","k1:11ee"],'
        b'"operation":{"operation_type":"P2P_TRANSFER","from_account":"user:alice:THB","to_account":"user:bob:THB",'
        b'"amount_minor":1000,"currency":"THB","from_name":"k2:bm9uY2U:Y3Q","to_name":null,"comment":null,'
        b'"metadata":{"tags":["rent","may"]},"requires_monitoring":true},"waiter":"gw-1"}'
    ),
    b"attempt": b"0",
    b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
GOLDEN_ADJUSTMENT = {
    b"v": b"1",
    b"id": ID.encode(),
    b"kind": b"intent",
    b"body": (
        b'{"service_key":"ops","user_id":null,"idempotency_key":"fund-1","fingerprints":["k1:11ee"],'
        b'"operation":{"operation_type":"ADJUSTMENT","account":"user:alice:THB","direction":"CREDIT",'
        b'"amount_minor":4611686018427387904,"currency":"THB","comment":null,"approved_by":"chief",'
        b'"metadata":{"tags":[]},"requires_monitoring":false},"waiter":null}'
    ),
    b"attempt": b"3",
    b"traceparent": b"",
}
GOLDEN_OPEN_ACCOUNT = {
    b"v": b"1",
    b"id": ID.encode(),
    b"kind": b"open_account",
    b"body": b'{"service_key":"shop","name":"user:bob:THB","waiter":null}',
    b"attempt": b"0",
    b"traceparent": b"",
}
GOLDEN_RESUME = {b"v": b"1", b"id": ID.encode(), b"kind": b"resume", b"body": b'{"reason":"stuck"}'}


def body_of(**changes: Any) -> bytes:
    """Return the golden transfer's body with some fields of the message changed, or removed where None stands."""
    message = json.loads(GOLDEN_P2P[b"body"]) | changes
    return json.dumps({name: value for name, value in message.items() if value is not ...}).encode()


def operation_of(**changes: Any) -> bytes:
    """Return the golden transfer's body with some fields of the operation changed; ``...`` removes one."""
    operation = json.loads(GOLDEN_P2P[b"body"])["operation"] | changes
    return body_of(operation={name: value for name, value in operation.items() if value is not ...})


def read(body: bytes, kind: str = Kind.INTENT) -> object:
    """Read a body through an envelope."""
    return read_body(Envelope(kind=kind, id=ID, body=body))


def test_a_transfer_of_version_1_stays_readable() -> None:
    """Every field as it was written."""
    envelope = read_envelope(GOLDEN_P2P)
    assert (envelope.version, envelope.kind, envelope.id, envelope.attempt) == (1, Kind.INTENT, ID, 0)
    assert envelope.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert read_body(envelope) == IntentMessage(
        service_key="shop",
        user_id="alice",
        idempotency_key="order-1",
        fingerprints=("k2:00ff", "k1:11ee"),
        operation=P2PTransfer(
            from_account="user:alice:THB",
            to_account="user:bob:THB",
            amount_minor=1000,
            currency="THB",
            from_name="k2:bm9uY2U:Y3Q",
            metadata=Metadata(tags=("rent", "may")),
            requires_monitoring=True,
        ),
        waiter="gw-1",
    )


def test_an_adjustment_of_version_1_stays_readable() -> None:
    """The largest amount included."""
    envelope = read_envelope(GOLDEN_ADJUSTMENT)
    assert envelope.attempt == 3
    message = read_body(envelope)
    assert isinstance(message, IntentMessage)
    assert message.operation == Adjustment(
        account="user:alice:THB", direction="CREDIT", amount_minor=1 << 62, currency="THB", approved_by="chief"
    )


def test_an_account_opening_of_version_1_stays_readable() -> None:
    """Three fields."""
    expected = OpenAccountMessage(service_key="shop", name="user:bob:THB")
    assert read_body(read_envelope(GOLDEN_OPEN_ACCOUNT)) == expected


def test_a_resumption_of_version_1_stays_readable_without_its_optional_fields() -> None:
    """`attempt` and `traceparent` may be missing."""
    assert read_body(read_envelope(GOLDEN_RESUME)) == ResumeMessage(reason="stuck")


@pytest.mark.parametrize("golden", [GOLDEN_P2P, GOLDEN_ADJUSTMENT, GOLDEN_OPEN_ACCOUNT])
def test_what_is_written_today_is_what_version_1_wrote(golden: dict[bytes, bytes]) -> None:
    """An older process must understand it: same fields, same bytes."""
    envelope = read_envelope(golden)
    again = Envelope(
        kind=envelope.kind,
        id=envelope.id,
        body=read_body(envelope).model_dump_json().encode(),
        attempt=envelope.attempt,
        traceparent=envelope.traceparent,
    )
    assert again.fields() == golden


def test_the_present_version_is_read_and_written() -> None:
    """Raising the version without reading the previous one would strand every entry in flight."""
    assert VERSION in VERSIONS_READ
    assert VERSION == 1 or VERSION - 1 in VERSIONS_READ


def test_a_newer_version_is_handed_back_not_condemned() -> None:
    """A newer process will come for it; it is no malformed message."""
    with pytest.raises(NewerVersion):
        read_envelope(GOLDEN_P2P | {b"v": b"%d" % (VERSION + 1)})
    assert not issubclass(NewerVersion, MalformedMessage)


@given(
    st.builds(
        Envelope,
        kind=st.text(),
        id=st.text(),
        body=st.binary(),
        attempt=st.integers(0, 1 << 31),
        traceparent=st.text(),
    )
)
def test_an_envelope_survives_the_stream(envelope: Envelope) -> None:
    """The body's bytes above all."""
    assert read_envelope(envelope.fields()) == envelope


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {b"v": b"1"},
        GOLDEN_P2P | {b"v": b"one"},
        GOLDEN_P2P | {b"v": b"0"},
        GOLDEN_P2P | {b"kind": b"\xff"},
        GOLDEN_P2P | {b"attempt": b""},
        {name: value for name, value in GOLDEN_P2P.items() if name != b"body"},
    ],
)
def test_what_is_no_envelope_is_malformed(broken: dict[bytes, bytes]) -> None:
    """Missing fields, no numbers, no text, and versions nobody reads any more."""
    with pytest.raises(MalformedMessage):
        read_envelope(broken)


@pytest.mark.parametrize("body", [body_of(extra=1), operation_of(extra=1), operation_of(metadata={"tags": [], "x": 1})])
def test_an_extra_field_is_refused_at_every_depth(body: bytes) -> None:
    """A field nobody reads is a wish nobody honours."""
    with pytest.raises(MalformedMessage, match="extra_forbidden"):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        operation_of(amount_minor=0),
        operation_of(amount_minor=-1),
        operation_of(amount_minor=(1 << 62) + 1),
        operation_of(amount_minor=10.0),
        operation_of(amount_minor="10"),
        operation_of(amount_minor=True),
        operation_of(amount_minor=...),
        operation_of(requires_monitoring="yes"),
        operation_of(operation_type="P2P"),
        operation_of(operation_type=...),
        operation_of(metadata={"tags": ["x"] * 17}),
        operation_of(metadata={"tags": [""]}),
        operation_of(metadata={"tags": ["x" * 65]}),
        body_of(service_key=...),
        body_of(fingerprints="k1:00"),
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
    ],
)
def test_a_body_that_breaks_its_contract_is_malformed(body: bytes) -> None:
    """Types are strict: no float, no text and no bool becomes an amount."""
    with pytest.raises(MalformedMessage):
        read(body)


def test_an_unknown_kind_is_malformed() -> None:
    """Neither guessed nor passed on."""
    with pytest.raises(MalformedMessage):
        read(b"{}", kind="payout")


def test_an_id_that_is_no_uuid_is_malformed() -> None:
    """Before anything is looked up by it."""
    with pytest.raises(MalformedMessage):
        read_body(Envelope(kind=Kind.RESUME, id="me", body=b'{"reason":"stuck"}'))


SECRET = "VERY-PERSONAL"


@pytest.mark.parametrize(
    "body",
    [
        operation_of(amount_minor=SECRET),
        operation_of(comment={"text": SECRET}),
        operation_of(operation_type=SECRET),
        operation_of(metadata={"tags": [SECRET * 10]}),
        body_of(user_id=[SECRET]),
        b'{"service_key": "' + SECRET.encode(),
        SECRET.encode(),
    ],
)
def test_error_texts_never_repeat_the_values_they_choke_on(body: bytes) -> None:
    """They go to logs and dead letters, where nobody may read them."""
    with pytest.raises(MalformedMessage) as refusal:
        read(body)
    assert SECRET not in str(refusal.value)
    assert refusal.value.__suppress_context__, "the cause, which quotes the input, is not shown either"


def test_an_envelopes_error_never_repeats_its_fields() -> None:
    """Neither version nor kind."""
    with pytest.raises(MalformedMessage) as refusal:
        read_envelope(GOLDEN_P2P | {b"v": SECRET.encode()})
    assert SECRET not in str(refusal.value)
