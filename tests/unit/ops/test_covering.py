"""What a look into a stream shows: nothing that somebody wrote, and names as people type them."""

import json
from typing import Any

import pytest

from ops.top.masking import COVERED, SEALED, cover
from ops.top.names import entry_id_of, stream_of
from shared.contracts import Action, IntentMessage, JobMessage
from shared.errors import BadInput
from shared.operations import IppsWithdrawal, P2PTransfer, QpTopup, ThaiQrPay
from shared.sealing import KeyRing, generate, seal
from shared.streams import keys

SECRET = "the-words-of-a-person"


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "in the clear"])
@pytest.mark.parametrize(
    "operation",
    [
        P2PTransfer(from_account="user:a:THB", to_account="user:b:THB", amount_minor=7, currency="THB",
                    from_name="?", to_name="?", comment="?"),
        IppsWithdrawal(from_account="user:a:THB", amount_minor=7, currency="THB", proxy_type="MOBILE", proxy="?",
                       recipient_name="?", comment="?"),
        ThaiQrPay(from_account="user:a:THB", amount_minor=7, currency="THB", qr="?", comment="?"),
        QpTopup(to_account="user:a:RUB", amount_minor=7, currency="RUB", comment="?"),
    ],
    ids=lambda operation: operation.operation_type,
)  # fmt: skip
def test_no_personal_field_of_any_operation_is_shown(operation: Any, *, sealed: bool) -> None:
    """Sealed or, should somebody have failed to seal it, in the clear."""
    ring = KeyRing.parse(generate("k1"))
    words = {
        name: seal(ring, context="i", field=name, text=SECRET) if sealed else SECRET
        for name, value in operation
        if value == "?"
    }
    body = IntentMessage(
        service_key="shop",
        idempotency_key=SECRET,
        fingerprints=("k1:aa",),
        operation=operation.model_copy(update=words),
    )
    shown = cover(body.model_dump_json().encode())
    assert SECRET not in json.dumps(shown)
    assert {shown["operation"][name] for name in words} == {SEALED if sealed else COVERED}
    assert shown["operation"]["amount_minor"] == 7
    assert shown["service_key"] == "shop"


def test_a_job_shows_where_it_stands_and_not_where_the_money_goes() -> None:
    """Kind of proxy, but no proxy."""
    job = JobMessage(
        psp="ipps", intent_id="i", attempt=1, operation="IPPS_WITHDRAWAL", action=Action.SUBMIT,
        reference="R1", amount_minor=5, currency="THB", created_ms=1, epoch="e:1",
        destination={"proxy_type": "MOBILE", "proxy": SECRET}, psp_ids={"txn_no": "T1"},
    )  # fmt: skip
    shown = cover(job.model_dump_json().encode())
    assert shown["destination"] == {"proxy_type": "MOBILE", "proxy": COVERED}
    assert (shown["reference"], shown["psp_ids"]) == ("R1", {"txn_no": "T1"})


@pytest.mark.parametrize(
    "body", [b"", b"\xff\x00", SECRET.encode(), b"[" * 100_000], ids=["empty", "raw", "text", "deep"]
)
def test_what_is_no_body_of_ours_is_only_measured(body: bytes) -> None:
    """Not one byte of it."""
    assert cover(body).startswith(f"({len(body)} bytes")


def test_lists_and_strangers_are_covered() -> None:
    """What is not known to be harmless."""
    assert cover(json.dumps([SECRET]).encode()) == COVERED
    assert cover(json.dumps({"whatever": SECRET, "code": [SECRET], "none": None}).encode()) == {
        "whatever": COVERED,
        "code": COVERED,
        "none": None,
    }


@pytest.mark.parametrize("text", ["intents.3", "intents.i3", "intents.{i3}"])
def test_partitions_have_three_spellings(text: str) -> None:
    """As a number, as a slot, as the key."""
    assert stream_of(text) == (keys.intents(3), keys.ORCHESTRATOR_GROUP)


def test_the_streams_of_a_psp_are_named_after_it() -> None:
    """With the groups that read them."""
    assert stream_of("jobs.ipps") == (keys.jobs("ipps"), keys.ADAPTER_GROUP)
    assert stream_of("results.{qp}") == (keys.results("qp"), keys.ORCHESTRATOR_GROUP)


@pytest.mark.parametrize("text", ["", "jobs", "jobs.", "jobs.{qp", "jobs.QP", "intents.256", "intents.x", "idem.1"])
def test_what_is_no_work_stream_is_not_looked_into(text: str) -> None:
    """No other key is a stream of ours."""
    with pytest.raises(BadInput):
        stream_of(text)


@pytest.mark.parametrize("text", ["", "-", "+", "5", "a-b", "(5-1"])
def test_what_is_no_entry_id_is_refused(text: str) -> None:
    """Least of all what means the whole stream."""
    assert entry_id_of("5-1") == b"5-1"
    with pytest.raises(BadInput):
        entry_id_of(text)
