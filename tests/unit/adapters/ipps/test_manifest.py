"""What IPPS promises, under the ordinary terms and under any other."""

import pytest

from adapters.ipps.manifest import MANIFEST, QR_PAY, WITHDRAWAL, Terms, manifest_of, read_terms
from adapters.sandbox.ipps.api import PROFILE
from adapters.sandbox.terms import SubmitFence as Agreed
from adapters.sandbox.terms import Terms as Dealt
from shared.psp import BadManifest, FenceKind, SubmitFence, read_manifest, write_manifest


def test_the_ordinary_manifest_is_what_the_sandbox_deals_on() -> None:
    """Fence, periods and limit are those that a sandbox starts with."""
    dealt = Dealt()
    fence = MANIFEST.submit_fence
    assert fence == SubmitFence(FenceKind(dealt.submit_fence), dealt.idempotency_ms // 1000, 60)
    assert Terms().lookup_ttl_s * 1000 == dealt.lookup_ttl_ms
    assert {rules.max_minor for rules in MANIFEST.operations.values()} == {PROFILE.amount_max_minor}
    assert set(MANIFEST.operations) == {WITHDRAWAL, QR_PAY}
    assert (MANIFEST.psp, MANIFEST.channel, MANIFEST.status_by_our_reference) == ("ipps", "IPPS", True)
    assert {(rules.direction, rules.currency) for rules in MANIFEST.operations.values()} == {("out", "THB")}
    assert not MANIFEST.callback_trusted


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (FenceKind.RESUBMIT, SubmitFence(FenceKind.RESUBMIT, 900, 5)),
        (FenceKind.REFERENCE_TTL, SubmitFence(FenceKind.REFERENCE_TTL, 90, 5)),
        (FenceKind.CANCEL, SubmitFence(FenceKind.CANCEL)),
        (FenceKind.NONE, SubmitFence(FenceKind.NONE)),
    ],
)
def test_each_fence_that_the_sandbox_knows_has_a_manifest(kind: FenceKind, wanted: SubmitFence) -> None:
    """It survives the register, and differs in nothing else."""
    terms = Terms(submit_fence=kind, idempotency_s=900, lookup_ttl_s=90, fence_margin_s=5)
    manifest = manifest_of(terms)
    assert Agreed(kind)
    assert manifest.submit_fence == wanted
    assert read_manifest(write_manifest(manifest)) == manifest
    assert manifest.operations == MANIFEST.operations


def test_terms_are_read_as_people_write_them() -> None:
    """By name; what is not named is ordinary."""
    words = {"submit_fence": "reference_ttl", "lookup_ttl_s": "2", "fence_margin_s": "1"}
    assert read_terms(words) == Terms(submit_fence=FenceKind.REFERENCE_TTL, lookup_ttl_s=2, fence_margin_s=1)
    assert manifest_of(read_terms({})) == MANIFEST


@pytest.mark.parametrize("words", [{"fence": "cancel"}, {"submit_fence": "barbed_wire"}, {"job_ttl_s": "an hour"}])
def test_words_that_are_no_terms_are_refused(words: dict[str, str]) -> None:
    """Rather than ignored."""
    with pytest.raises(BadManifest):
        read_terms(words)


@pytest.mark.parametrize(
    "terms",
    [
        Terms(submit_fence=FenceKind.REFERENCE_TTL, lookup_ttl_s=60, fence_margin_s=60),
        Terms(job_ttl_s=12 * 3600),
        Terms(poll_first_s=0),
    ],
)
def test_terms_that_contradict_themselves_make_no_manifest(terms: Terms) -> None:
    """A margin as long as the period, a job that outlives its permit, a poll without a pause."""
    with pytest.raises(BadManifest):
        manifest_of(terms)
