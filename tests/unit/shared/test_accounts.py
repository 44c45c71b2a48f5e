"""Account names: two different accounts never become one."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.accounts import CUSTOMER_KINDS, Account, AccountKind, equity, parse_account, transit
from shared.errors import BadInput
from shared.ids import account_id

PART = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
CODE = st.sampled_from(["THB", "RUB", "JPY"])
OWNED = sorted({AccountKind.USER, AccountKind.MERCHANT, AccountKind.FEE, AccountKind.PSP, AccountKind.SUSPENSE})
OWNERLESS = sorted({AccountKind.TRANSIT, AccountKind.LIQUIDITY, AccountKind.EQUITY})


@given(st.sampled_from(OWNED), PART, CODE)
def test_a_name_with_an_owner_gives_back_its_parts(kind: AccountKind, owner: str, code: str) -> None:
    """Kind, owner and currency."""
    account = parse_account(f"{kind}:{owner}:{code}")
    assert (account.kind, account.owner, account.currency.code) == (kind, owner, code)
    assert account.is_customer == (kind in CUSTOMER_KINDS)


@given(st.sampled_from(OWNERLESS), CODE)
def test_a_name_without_an_owner_gives_back_its_parts(kind: AccountKind, code: str) -> None:
    """One per currency."""
    account = parse_account(f"{kind}:{code}")
    assert (account.kind, account.owner, account.currency.code) == (kind, None, code)
    assert not account.is_customer


def test_every_kind_is_one_of_the_two_shapes() -> None:
    """A new kind has to say which."""
    assert {*OWNED, *OWNERLESS} == set(AccountKind)


@given(st.lists(PART, min_size=1, max_size=4), st.lists(PART, min_size=1, max_size=4))
def test_lists_of_allowed_parts_never_join_to_one_name(parts: list[str], other: list[str]) -> None:
    """The ledger's id is a hash of the name: one name for two accounts would be one pot for two people."""
    assert (":".join(parts) == ":".join(other)) == (parts == other)


@given(st.sampled_from(OWNED), st.text(max_size=8), st.text(max_size=8), CODE)
def test_a_colon_in_an_owner_never_makes_another_account(kind: AccountKind, left: str, right: str, code: str) -> None:
    """`user:a:b:THB` must not be readable as the user `a:b`, nor as the user `a`."""
    with pytest.raises(BadInput):
        parse_account(f"{kind}:{left}:{right}:{code}")


@given(st.text(max_size=80))
def test_whatever_is_read_joins_to_the_same_name_again(name: str) -> None:
    """A name has one spelling, and everything else is refused."""
    try:
        account = parse_account(name)
    except BadInput:
        return
    parts = [account.kind, account.owner, account.currency.code]
    assert ":".join(part for part in parts if part is not None) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "user",
        "user:THB",
        "user::THB",
        "user:alice",
        "user:alice:THB:x",
        "user:al ice:THB",
        "user:alice\n:THB",
        "user:ålice:THB",
        "user:" + "a" * 65 + ":THB",
        "USER:alice:THB",
        "transit:a:THB",
        "transit",
        "mesh:identity",
        "never:opened",
        " user:alice:THB",
        "user:alice:THB\n",
    ],
)
def test_a_malformed_name_is_refused(name: str) -> None:
    """Wrong shape, wrong letters, wrong length, and names that only the house uses."""
    with pytest.raises(BadInput) as refusal:
        parse_account(name)
    assert refusal.value.code in {"bad_account_name", "unknown_currency"}


def test_an_unknown_currency_is_called_that() -> None:
    """The caller learns which half is wrong."""
    with pytest.raises(BadInput) as refusal:
        parse_account("user:alice:XXX")
    assert refusal.value.code == "unknown_currency"


def test_neighbouring_names_have_different_ids() -> None:
    """Currency, owner and kind all count."""
    names = ["user:alice:THB", "user:alice:RUB", "user:alicE:THB", "merchant:alice:THB", transit("THB"), equity("THB")]
    ids = [parse_account(name).id for name in names]
    assert len(set(ids)) == len(names)
    assert all(one != other for one, other in pairwise(ids))
    assert ids == [account_id(name) for name in names]


def test_an_account_is_a_value() -> None:
    """Two parses of one name are one account."""
    account = parse_account("user:alice:THB")
    assert account == parse_account("user:alice:THB")
    assert account == Account("user:alice:THB", AccountKind.USER, "alice", account.currency)
