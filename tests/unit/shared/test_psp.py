"""Manifests: what promises too little is refused before anything is paid on it."""

from dataclasses import replace
from typing import Any

import pytest

from shared.psp import (
    BadManifest,
    FenceKind,
    Manifest,
    OperationRules,
    PollSchedule,
    ReferenceFormat,
    SubmitFence,
    agreement,
    check_manifest,
    read_manifest,
    write_manifest,
)
from tests.channels import PAYOUTS

OUT = OperationRules("out", "THB", 100, 70_000_000)
IN = OperationRules("in", "RUB", 100, 100_000_000, ttl_s=1200)
GOOD = Manifest(
    psp="ipps",
    channel="IPPS",
    operations={"IPPS_WITHDRAWAL": OUT, "IPPS_TOPUP": IN},
    reference=ReferenceFormat("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 15),
    status_by_our_reference=True,
    submit_fence=SubmitFence(FenceKind.RESUBMIT, 86_400, 600),
    final_answers=("over_limit",),
    refundable=True,
    partial_refund=True,
    poll=PollSchedule(5, 1.5, 600, 3600),
)
GOLDEN = (
    '{"v":1,"psp":"ipps","channel":"IPPS","operations":{"IPPS_WITHDRAWAL":{"direction":"out","currency":"THB",'
    '"min_minor":100,"max_minor":70000000,"ttl_s":0,"deadline_s":60},"IPPS_TOPUP":{"direction":"in","currency":"RUB",'
    '"min_minor":100,"max_minor":100000000,"ttl_s":1200,"deadline_s":60}},"reference":{"alphabet":'
    '"ABCDEFGHJKLMNPQRSTUVWXYZ23456789","length":15},"status_by_our_reference":true,"submit_fence":{"kind":"resubmit",'
    '"period_s":86400,"margin_s":600},"final_answers":["over_limit"],"job_ttl_s":3600,"callback_trusted":false,'
    '"refundable":true,"partial_refund":true,"poll":{"first_s":5,"factor":1.5,"max_s":600,"until_s":3600}}'
)


def test_a_manifest_is_stored_as_it_always_was_and_read_again() -> None:
    """The register keeps what was written by earlier versions."""
    assert write_manifest(GOOD) == GOLDEN
    assert read_manifest(GOLDEN) == GOOD


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"psp": "IPPS"}, "lower-case"),
        ({"psp": "i"}, "lower-case"),
        ({"channel": "QP"}, "capitals"),
        ({"operations": {}}, "offers nothing"),
        ({"status_by_our_reference": False}, "status by our reference"),
        ({"submit_fence": SubmitFence(FenceKind.RESUBMIT)}, "period longer than its margin"),
        ({"submit_fence": SubmitFence(FenceKind.RESUBMIT, 60, 60)}, "period longer than its margin"),
        ({"submit_fence": SubmitFence(FenceKind.REFERENCE_TTL, 60, -1)}, "period longer than its margin"),
        ({"submit_fence": SubmitFence(FenceKind.NONE, 60)}, "has no period"),
        ({"submit_fence": SubmitFence(FenceKind.CANCEL, 0, 5)}, "has no period"),
        ({"reference": ReferenceFormat("AAB", 15)}, "repeat a character"),
        ({"reference": ReferenceFormat("0123456789", 10)}, "less than 48 bits"),
        ({"reference": ReferenceFormat("01", 65)}, "longer than 64"),
        ({"final_answers": ("OVER LIMIT",)}, "no code of ours"),
        ({"refundable": False}, "not as a whole"),
        ({"job_ttl_s": 0}, "job_ttl_s"),
        ({"job_ttl_s": 12 * 3600}, "job_ttl_s"),
        ({"poll": PollSchedule(first_s=0)}, "poll schedule"),
        ({"poll": PollSchedule(factor=0.5)}, "poll schedule"),
        ({"poll": PollSchedule(first_s=10, max_s=5)}, "poll schedule"),
        ({"operations": {"withdraw": OUT}}, "withdraw: no operation type"),
        ({"operations": {"A_B": replace(OUT, currency="baht")}}, "ISO 4217"),
        ({"operations": {"A_B": replace(OUT, min_minor=0)}}, "no range"),
        ({"operations": {"A_B": replace(OUT, min_minor=5, max_minor=4)}}, "no range"),
        ({"operations": {"A_B": replace(OUT, ttl_s=-1)}}, "time is negative"),
    ],
)
def test_a_manifest_that_promises_too_little_is_refused_by_name(changes: dict[str, Any], fault: str) -> None:
    """Every fault says what is wrong, and of which PSP."""
    with pytest.raises(BadManifest, match=fault):
        check_manifest(replace(GOOD, **changes))


def test_money_in_needs_no_status_by_our_reference() -> None:
    """Nothing of ours is at stake; a PSP that takes money in may know only its own ids."""
    check_manifest(replace(GOOD, operations={"QP_TOPUP": IN}, status_by_our_reference=False))


def test_all_faults_are_named_at_once() -> None:
    """Whoever writes a manifest mends it once."""
    with pytest.raises(BadManifest) as refusal:
        check_manifest(replace(GOOD, channel="X", job_ttl_s=0))
    assert "capitals" in str(refusal.value)
    assert "job_ttl_s" in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        GOLDEN.replace('"v":1', '"v":2'),
        GOLDEN.replace('"resubmit"', '"hope"'),
        GOLDEN.replace('"psp":"ipps",', ""),
        GOLDEN.replace('"psp":"ipps"', '"psp":"ipps","x":1'),
        GOLDEN.replace('"length":15', '"length":1'),
    ],
)
def test_what_was_not_written_by_us_is_no_manifest(text: str) -> None:
    """Nor is what was tampered with."""
    with pytest.raises(BadManifest):
        read_manifest(text)


def test_another_agreement_with_a_psp_has_its_name_and_a_number() -> None:
    """Everything but name and channel is the same; another PSP's name is refused."""
    second = agreement(PAYOUTS, "ipps2")
    assert (second.psp, second.channel, second.operations) == ("ipps2", "IPPS2", PAYOUTS.operations)
    assert agreement(PAYOUTS, "ipps") == PAYOUTS
    for name in ("qp2", "ippsb", "2"):
        with pytest.raises(BadManifest, match="an agreement with ipps is called ipps"):
            agreement(PAYOUTS, name)
