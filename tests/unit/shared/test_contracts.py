"""Messages between services: what was written yesterday is read today, and nothing is repeated in error texts.

The golden messages are entries as version 1 wrote them, byte for byte. They stay for as long as version 1 is read.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import (
    INTENT_VERSION,
    NOBODY_KNOWS,
    RESULT_VERSION,
    VERSION,
    Action,
    Envelope,
    IntentMessage,
    JobMessage,
    Kind,
    MalformedMessage,
    NewerVersion,
    NextAction,
    OpenAccountMessage,
    Outcome,
    ResultMessage,
    ResumeMessage,
    Source,
    job_envelope,
    read_body,
    read_envelope,
    read_job,
    read_result,
    result_envelope,
)
from shared.operations import Adjustment, Metadata, P2PTransfer

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

GOLDEN_JOB = {
    b"v": b"1",
    b"id": ID.encode(),
    b"kind": b"job",
    b"body": (
        b'{"psp":"ipps","intent_id":"0198c1f2-7a10-7123-8abc-def012030000","attempt":2,"operation":"IPPS_WITHDRAWAL",'
        b'"action":"submit","reference":"A1B2C3D4E5F6G7H","amount_minor":12345,"currency":"THB",'
        b'"created_ms":1795206642548,"epoch":"6f1f8a52-9f4f-4b5a-8c88-2f7c0a1f3c11:3","inquire_first":true,'
        b'"destination":{"proxy_type":"MOBILE","proxy":"k2:bm9uY2U:Y3Q"},"psp_ids":{"txn_no":"X1"},'
        b'"test_scenario":null}'
    ),
    b"attempt": b"4",
    b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
GOLDEN_RESULT = {
    b"v": b"1",
    b"id": ID.encode(),
    b"kind": b"result",
    b"body": (
        b'{"psp":"ipps","intent_id":"0198c1f2-7a10-7123-8abc-def012030000","attempt":2,"operation":"IPPS_WITHDRAWAL",'
        b'"action":"submit","source":"job","outcome":"PAID","reference":"A1B2C3D4E5F6G7H","psp_transaction_id":"X1",'
        b'"psp_ids":{"txn_no":"X1"},"amount_minor":12345,"currency":"THB","code":null,"detail":null,"final":true,'
        b'"fenced":false,"at_ms":1795206643496,"next_action":null,"retry_after_s":null,"summary":{"proxy":"0***"},'
        b'"callback_id":null,"raw":null}'
    ),
    b"attempt": b"0",
    b"traceparent": b"",
}
GOLDEN_NEXT_ACTION = {
    b"v": b"1",
    b"id": ID.encode(),
    b"kind": b"result",
    b"body": (
        b'{"psp":"qp","intent_id":"0198c1f2-7a10-7123-8abc-def012030000","attempt":1,"operation":"QP_TOPUP",'
        b'"action":"inquire","source":"job","outcome":"NEXT_ACTION","reference":"R1","psp_transaction_id":null,'
        b'"psp_ids":{"qrc_id":"AD1"},"amount_minor":null,"currency":null,"code":null,"detail":null,"final":false,'
        b'"fenced":false,"at_ms":1795206643496,"next_action":{"kind":"qr","link":"https://qr.example/AD1",'
        b'"qr":"AD1","expires_ms":1795207843496},"retry_after_s":5,"summary":{},"callback_id":null,"raw":null}'
    ),
    b"attempt": b"0",
    b"traceparent": b"",
}
GOLDEN_OBSERVATION = {
    b"v": b"1",
    b"id": b"00000000-0000-0000-0000-000000000000",
    b"kind": b"observation",
    b"body": (
        b'{"psp":"ipps","intent_id":null,"attempt":0,"operation":null,"action":null,"source":"callback",'
        b'"outcome":"DECLINED","reference":"A1B2C3D4E5F6G7H","psp_transaction_id":"X1","psp_ids":{},'
        b'"amount_minor":null,"currency":null,"code":"over_limit","detail":"over the limit","final":false,'
        b'"fenced":false,"at_ms":1795206643496,"next_action":null,"retry_after_s":null,"summary":{},'
        b'"callback_id":"k2:00ff","raw":"k2:bm9uY2U:Y3Q"}'
    ),
    b"attempt": b"0",
    b"traceparent": b"",
}


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


@pytest.mark.parametrize("version", range(1, INTENT_VERSION + 1))
def test_every_version_of_an_intent_so_far_is_read(version: int) -> None:
    """Raising the version without reading the previous one would strand every entry in flight."""
    assert read_envelope(GOLDEN_P2P | {b"v": b"%d" % version}).version == version


def test_what_adapters_read_keeps_its_version() -> None:
    """Others deploy adapters, and later: a job of a newer version would be handed back by all of them."""
    assert read_envelope(GOLDEN_P2P | {b"kind": b"job"}).version == VERSION == 1
    with pytest.raises(NewerVersion):
        read_envelope(GOLDEN_P2P | {b"kind": b"job", b"v": b"2"})


def test_a_word_out_of_a_settlement_file_is_told_in_a_version_that_knows_it() -> None:
    """An orchestrator of the release before hands it back; every other result it still reads."""
    said = ResultMessage(psp="tp", source=Source.JOB, outcome=Outcome.PENDING, reference="R1", at_ms=1)
    assert result_envelope(said).version == VERSION
    settled = said.model_copy(update={"source": Source.SETTLEMENT})
    assert result_envelope(settled).version == RESULT_VERSION
    assert read_result(read_envelope(result_envelope(settled).fields())) == settled


def test_a_newer_version_is_handed_back_not_condemned() -> None:
    """A newer process will come for it; it is no malformed message."""
    with pytest.raises(NewerVersion):
        read_envelope(GOLDEN_P2P | {b"v": b"%d" % (INTENT_VERSION + 1)})
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


def test_a_job_of_version_1_stays_readable() -> None:
    """Every field as it was written; the envelope counts planned retries."""
    envelope = read_envelope(GOLDEN_JOB)
    assert (envelope.kind, envelope.attempt) == (Kind.JOB, 4)
    assert read_job(envelope) == JobMessage(
        psp="ipps",
        intent_id=ID,
        attempt=2,
        operation="IPPS_WITHDRAWAL",
        action=Action.SUBMIT,
        reference="A1B2C3D4E5F6G7H",
        amount_minor=12345,
        currency="THB",
        created_ms=1795206642548,
        epoch="6f1f8a52-9f4f-4b5a-8c88-2f7c0a1f3c11:3",
        inquire_first=True,
        destination={"proxy_type": "MOBILE", "proxy": "k2:bm9uY2U:Y3Q"},
        psp_ids={"txn_no": "X1"},
    )


def test_a_payment_of_version_1_stays_readable() -> None:
    """Amount, currency and the PSP's transaction."""
    assert read_result(read_envelope(GOLDEN_RESULT)) == ResultMessage(
        psp="ipps",
        intent_id=ID,
        attempt=2,
        operation="IPPS_WITHDRAWAL",
        action=Action.SUBMIT,
        source=Source.JOB,
        outcome=Outcome.PAID,
        reference="A1B2C3D4E5F6G7H",
        psp_transaction_id="X1",
        psp_ids={"txn_no": "X1"},
        amount_minor=12345,
        currency="THB",
        final=True,
        at_ms=1795206643496,
        summary={"proxy": "0***"},
    )


def test_a_next_action_of_version_1_stays_readable() -> None:
    """Link, payload and end."""
    result = read_result(read_envelope(GOLDEN_NEXT_ACTION))
    expected = NextAction(link="https://qr.example/AD1", qr="AD1", expires_ms=1795207843496)
    assert (result.outcome, result.next_action, result.retry_after_s) == (Outcome.NEXT_ACTION, expected, 5)


def test_an_observation_of_version_1_stays_readable_though_nobody_knows_its_intent() -> None:
    """A callback names our reference and the PSP's ids."""
    result = read_result(read_envelope(GOLDEN_OBSERVATION))
    assert (result.intent_id, result.attempt, result.source) == (None, 0, Source.CALLBACK)
    assert (result.outcome, result.code, result.reference) == (Outcome.DECLINED, "over_limit", "A1B2C3D4E5F6G7H")
    assert result.raw == "k2:bm9uY2U:Y3Q"


def test_jobs_and_results_are_written_today_as_version_1_wrote_them() -> None:
    """An older adapter or orchestrator must understand them: same fields, same bytes."""
    job = read_envelope(GOLDEN_JOB)
    assert job_envelope(read_job(job), attempt=4, traceparent=job.traceparent).fields() == GOLDEN_JOB
    for golden in (GOLDEN_RESULT, GOLDEN_NEXT_ACTION):
        assert result_envelope(read_result(read_envelope(golden))).fields() == golden
    observation = read_result(read_envelope(GOLDEN_OBSERVATION))
    assert result_envelope(observation, kind=Kind.OBSERVATION).fields() == GOLDEN_OBSERVATION
    assert observation.intent_id is None
    assert GOLDEN_OBSERVATION[b"id"] == NOBODY_KNOWS.encode()


def result_of(**changes: Any) -> Envelope:
    """Return the golden payment with some fields changed; ``...`` removes one."""
    body = json.loads(GOLDEN_RESULT[b"body"]) | changes
    text = json.dumps({name: value for name, value in body.items() if value is not ...})
    return Envelope(Kind.RESULT, ID, text.encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"psp_transaction_id": None},
        {"amount_minor": None},
        {"currency": ...},
        {"amount_minor": 0},
        {"outcome": "DECLINED"},
        {"outcome": "DECLINED", "code": "Over Limit"},
        {"outcome": "NEXT_ACTION"},
        {"fenced": True},
        {"attempt": 0},
        {"attempt": 64},
        {"intent_id": None},
        {"psp": "IPPS"},
        {"outcome": "LOST"},
        {"extra": 1},
        {"summary": {"proxy": "x" * 1025}},
    ],
)
def test_a_result_says_what_its_outcome_needs_or_is_malformed(changes: dict[str, Any]) -> None:
    """Half a fact about money is none."""
    with pytest.raises(MalformedMessage):
        read_result(result_of(**changes))


def test_jobs_and_results_are_read_from_their_own_streams_only() -> None:
    """A job is no intent, a result no job, and neither may name another intent than its envelope."""
    job, result = read_envelope(GOLDEN_JOB), read_envelope(GOLDEN_RESULT)
    for read_it, envelope in ((read_body, job), (read_job, result), (read_result, job), (read_body, result)):
        with pytest.raises(MalformedMessage):
            read_it(envelope)
    other = ID.replace("0198", "0199")
    with pytest.raises(MalformedMessage):
        read_job(Envelope(job.kind, other, job.body))
    with pytest.raises(MalformedMessage):
        read_result(Envelope(result.kind, other, result.body))


@pytest.mark.parametrize("field", ["destination", "psp_ids", "reference", "action", "created_ms"])
def test_an_error_about_a_job_never_repeats_it(field: str) -> None:
    """Destinations above all."""
    body = json.loads(GOLDEN_JOB[b"body"]) | {field: [SECRET]}
    with pytest.raises(MalformedMessage) as refusal:
        read_job(Envelope(Kind.JOB, ID, json.dumps(body).encode()))
    assert SECRET not in str(refusal.value)
