"""Names of keys: fixed for ever, since a store outlives every release."""

from hashlib import sha256

import pytest

from shared.errors import InvariantViolation
from shared.streams import keys


def test_keys_are_spelled_as_they_always_were() -> None:
    """Renaming a key loses what stands under it."""
    stream = keys.intents(3)
    assert stream == "intents.{i3}"
    assert keys.slot(3) == "i3"
    assert keys.acc(3, "abc") == "acc.{i3}:abc"
    assert keys.mesh("i3") == "mesh.{i3}"
    assert keys.solo(stream) == "solo.intents.{i3}"
    assert keys.delay(stream) == "delay.intents.{i3}"
    assert keys.dlq(stream) == "dlq.intents.{i3}"
    assert keys.dlq_counts(stream) == "dlq-counts.intents.{i3}"
    assert keys.dlq_hours(stream) == "dlq-hours.intents.{i3}"
    assert keys.dlq_index(stream) == "dlq-index.intents.{i3}"
    assert keys.intent_channel("abc") == "intent.abc"
    assert keys.gateway_channel("g1") == "gateway.g1"
    assert keys.rate("shop", 10) == "rate.{shop}:10"
    assert keys.rate("shop", 10, "alice") == "rate.{shop}:10:alice"


def test_idempotency_key_is_hashed_within_its_service_key() -> None:
    """The caller's words never become part of a key, and equal words of two callers stay apart."""
    words = "ключ {x}\n"
    assert keys.idem(0, "shop", words) == f"idem.{{i0}}:shop:{sha256(words.encode()).hexdigest()[:32]}"
    assert keys.idem(0, "shop", "k") != keys.idem(0, "bank", "k")
    assert keys.idem(0, "shop", "k") != keys.idem(1, "shop", "k")


def test_everything_about_a_stream_shares_its_slot() -> None:
    """One script may touch all of it, on a cluster too."""
    stream = keys.intents(7)
    names = [
        keys.idem(7, "shop", "k"),
        keys.acc(7, "abc"),
        keys.mesh(keys.slot(7)),
        keys.solo(stream),
        keys.delay(stream),
        keys.dlq(stream),
        keys.dlq_counts(stream),
        keys.dlq_hours(stream),
        keys.dlq_index(stream),
    ]
    assert {keys.hash_tag(name) for name in names} == {"{i7}"}


@pytest.mark.parametrize("key", ["plain", "half{open", "{}empty"])
def test_key_without_a_tag_is_refused(key: str) -> None:
    """Such a key would land in any slot."""
    with pytest.raises(InvariantViolation):
        keys.hash_tag(key)
