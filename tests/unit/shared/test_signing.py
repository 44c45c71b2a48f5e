"""Signatures: they cover every byte that matters, and a rotation never locks a caller out."""

import hmac
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadInput
from shared.signing import SignedRequest, canonical, is_fresh, sign, verify

SECRET = b"first secret, 32 bytes or so ...."
OTHER = b"second secret, also long enough .."
REQUEST = SignedRequest(
    method="POST",
    target="/v1/intents?trace=1",
    timestamp="1700000000",
    idempotency_key="order-1",
    user_id="alice",
    body=b'{"amount_minor":1000}',
)
LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=12)
REQUESTS = st.builds(
    SignedRequest,
    method=LINE,
    target=LINE,
    timestamp=LINE,
    idempotency_key=LINE,
    user_id=LINE,
    body=st.binary(max_size=40),
)


def test_the_signed_string_is_the_documented_one() -> None:
    """Line by line, so that any language can rebuild it."""
    body_hash = sha256(b'{"amount_minor":1000}').hexdigest()
    expected = f"v1\nPOST\n/v1/intents?trace=1\n1700000000\norder-1\nalice\n{body_hash}"
    assert canonical(REQUEST).decode() == expected
    assert sign(SECRET, REQUEST) == "v1=" + hmac.new(SECRET, expected.encode(), "sha256").hexdigest()


def test_a_signature_made_by_another_program_verifies() -> None:
    """Computed with openssl over the documented string of an empty GET."""
    request = SignedRequest("GET", "/v1/intents/x", "1700000000")
    assert (
        verify((b"secret", None), request, "v1=fc40dc8860667fc0840054f6c924d743963b9bcd9749a8fefe585ea391fb15d8") == 0
    )


@given(REQUESTS, REQUESTS)
def test_two_different_requests_never_share_a_signed_string(request: SignedRequest, other: SignedRequest) -> None:
    """No part runs into the next."""
    assert (canonical(request) == canonical(other)) == (request == other)


@pytest.mark.parametrize("part", ["method", "target", "timestamp", "idempotency_key", "user_id"])
def test_a_line_feed_in_a_signed_part_is_refused(part: str) -> None:
    """It would move bytes from one line to the next under the same signature."""
    change: dict[str, Any] = {part: "a\nb"}
    with pytest.raises(BadInput) as refusal:
        canonical(replace(REQUEST, **change))
    assert refusal.value.code == "bad_signature"


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"target": "/v1/intents"},
        {"timestamp": "1700000001"},
        {"idempotency_key": "order-2"},
        {"user_id": "bob"},
        {"body": b'{"amount_minor":9000}'},
    ],
)
def test_any_change_breaks_the_signature(change: dict[str, Any]) -> None:
    """Path, query, time, key, user and body are all covered."""
    assert verify((SECRET, OTHER), replace(REQUEST, **change), sign(SECRET, REQUEST)) is None


@given(REQUESTS)
def test_either_live_secret_verifies_and_says_which(request: SignedRequest) -> None:
    """So that metrics show when the previous one is no longer used."""
    assert verify((SECRET, OTHER), request, sign(SECRET, request)) == 0
    assert verify((OTHER, SECRET), request, sign(SECRET, request)) == 1
    assert verify((OTHER, None), request, sign(SECRET, request)) is None


def test_a_key_without_a_second_secret_has_no_second_secret() -> None:
    """What stands in for it while both are computed must not open anything."""
    assert verify((SECRET, None), REQUEST, sign(b"\0" * 32, REQUEST)) is None


def test_both_secrets_are_computed_even_when_the_first_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time an answer takes must not tell which secret it was."""
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert verify((SECRET, None), REQUEST, sign(SECRET, REQUEST)) == 0
    assert len(set(compared)) == 2


@pytest.mark.parametrize("signature", ["", "v1=", "v2=00", "v1=00", "ä", sign(SECRET, REQUEST)[3:], "v1=" + "0" * 64])
def test_a_malformed_signature_verifies_nothing(signature: str) -> None:
    """And raises nothing."""
    assert verify((SECRET, OTHER), REQUEST, signature) is None


@pytest.mark.parametrize(("timestamp", "fresh"), [("1000", True), ("1300", True), ("700", True), ("1301", False)])
def test_a_timestamp_is_fresh_within_the_tolerance_either_way(timestamp: str, *, fresh: bool) -> None:
    """Five minutes."""
    assert is_fresh(timestamp, now_unix_s=1000.0) == fresh


@pytest.mark.parametrize(
    "timestamp", ["", "-1000", "+1000", "1e3", "1000.0", " 1000", "\u0661\u0660\u0660\u0660", "9" * 400, "1000\n"]
)
def test_what_is_not_unix_seconds_is_not_fresh(timestamp: str) -> None:
    """Other spellings of a number, other alphabets' digits, and numbers as long as a book."""
    assert not is_fresh(timestamp, now_unix_s=1000.0)
