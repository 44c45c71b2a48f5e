"""Permission documents: what is not granted is refused, and what is not understood grants nothing."""

import json
from ipaddress import ip_address
from typing import Any

import pytest

from gateway.permissions import parse_permissions
from shared.errors import BadInput
from shared.streams.rate import RateLimit


def test_an_empty_document_grants_nothing() -> None:
    """Except to come from anywhere, which grants nothing by itself."""
    nothing = parse_permissions("{}")
    assert not nothing.operations
    assert not nothing.open_accounts
    assert nothing.adjustment is None
    assert not nothing.allows_account("user:alice:THB")
    assert nothing.allows_address(ip_address("203.0.113.9"))


def test_accounts_are_named_in_full_or_by_their_beginning() -> None:
    """A star stands at the end only, and a name without one is that name alone."""
    permissions = parse_permissions('{"accounts": ["user:*", "merchant:shop1:THB"]}')
    allowed = ["user:alice:THB", "merchant:shop1:THB"]
    refused = ["merchant:shop1:THBX", "merchant:shop1:TH", "merchant:shop10:THB", "users:alice:THB", ""]
    assert [permissions.allows_account(name) for name in allowed] == [True, True]
    assert [permissions.allows_account(name) for name in refused] == [False] * len(refused)


def test_addresses_are_networks_and_an_unknown_address_is_in_none() -> None:
    """No list means anywhere, an empty list nowhere."""
    office = parse_permissions('{"addresses": ["10.0.0.0/8", "2001:db8::/32"]}')
    assert office.allows_address(ip_address("10.255.0.1"))
    assert office.allows_address(ip_address("2001:db8::7"))
    assert not office.allows_address(ip_address("11.0.0.1"))
    assert not office.allows_address(None)
    assert parse_permissions('{"addresses": null}').allows_address(None)
    assert not parse_permissions('{"addresses": []}').allows_address(ip_address("10.0.0.1"))


def test_a_rate_is_read_with_or_without_one_for_each_user() -> None:
    """None at all leaves the key to the gateway's own."""
    assert parse_permissions("{}").rate is None
    assert parse_permissions('{"rate": null}').rate is None
    assert parse_permissions('{"rate": {"requests": 100, "per_s": 10}}').rate == RateLimit(100, 10)
    both = '{"rate": {"requests": 100, "per_s": 10, "per_user_requests": 20}}'
    assert parse_permissions(both).rate == RateLimit(100, 10, 20)


@pytest.mark.parametrize(
    "document",
    [
        {"operation": ["P2P_TRANSFER"]},
        {"operations": "P2P_TRANSFER"},
        {"operations": None},
        {"accounts": ["us*er:"]},
        {"accounts": [""]},
        {"accounts": ["**"]},
        {"addresses": ["10.0.0.0/33"]},
        {"addresses": ["10.0.0.1/8"]},
        {"addresses": ["localhost"]},
        {"open_accounts": "yes"},
        {"adjustment": {}},
        {"adjustment": {"max_minor": 0, "alone_max_minor": 0}},
        {"adjustment": {"max_minor": 5, "alone_max_minor": 6}},
        {"adjustment": {"max_minor": 2**63, "alone_max_minor": 0}},
        {"adjustment": {"max_minor": 1.5, "alone_max_minor": 0}},
        {"rate": {}},
        {"rate": {"requests": 10}},
        {"rate": {"requests": 0, "per_s": 1}},
        {"rate": {"requests": 10_000_001, "per_s": 1}},
        {"rate": {"requests": 10, "per_s": 0}},
        {"rate": {"requests": 10, "per_s": 3601}},
        {"rate": {"requests": 10, "per_s": 0.5}},
        {"rate": {"requests": 10, "per_s": 1, "per_user_requests": 0}},
        {"rate": {"requests": 10, "per_s": 1, "per_user_requests": 11}},
        {"rate": {"requests": 10, "per_s": 1, "burst": 5}},
        [],
    ],
)
def test_a_document_that_is_not_understood_is_refused(document: Any) -> None:
    """Whole, so that a misspelt limit is not a missing one."""
    with pytest.raises(BadInput) as raised:
        parse_permissions(json.dumps(document))
    assert raised.value.code == "bad_permissions"
