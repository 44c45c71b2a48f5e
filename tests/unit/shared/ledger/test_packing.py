"""The wire form, held against the client's own conversion."""

from typing import Any

import pytest
import tigerbeetle as tb
from hypothesis import given
from hypothesis import strategies as st
from tigerbeetle.bindings import CAccount, CAccountFilter, CQueryFilter, CTransfer
from tigerbeetle.lib import c_uint128

from shared.ledger.packing import PackedAccount, PackedAccountFilter, PackedId, PackedQueryFilter, PackedTransfer


def _uint(bits: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 3), st.integers(0, (1 << bits) - 1), st.just((1 << bits) - 1))


TRANSFERS = st.builds(
    tb.Transfer,
    id=_uint(128), debit_account_id=_uint(128), credit_account_id=_uint(128), amount=_uint(128),
    pending_id=_uint(128), user_data_128=_uint(128), user_data_64=_uint(64), user_data_32=_uint(32),
    timeout=_uint(32), ledger=_uint(32), code=_uint(16), flags=_uint(9).map(tb.TransferFlags), timestamp=_uint(64),
)  # fmt: skip
ACCOUNTS = st.builds(
    tb.Account,
    id=_uint(128), user_data_128=_uint(128), user_data_64=_uint(64), user_data_32=_uint(32),
    ledger=_uint(32), code=_uint(16), flags=_uint(6).map(tb.AccountFlags), timestamp=_uint(64),
)  # fmt: skip


@given(TRANSFERS)
def test_a_packed_transfer_is_what_the_client_would_send(transfer: tb.Transfer) -> None:
    """Our conversion is faster, and not one byte different."""
    packed = PackedTransfer.pack(transfer)
    assert bytes(packed) == bytes(CTransfer.from_param(transfer))
    assert packed.linked == bool(transfer.flags & tb.TransferFlags.LINKED)


@given(ACCOUNTS)
def test_a_packed_account_is_what_the_client_would_send(account: tb.Account) -> None:
    """The bytes are the client's."""
    packed = PackedAccount.pack(account)
    assert bytes(packed) == bytes(CAccount.from_param(account))
    assert packed.linked == bool(account.flags & tb.AccountFlags.LINKED)


@given(_uint(128))
def test_a_packed_id_is_what_the_client_would_send(number: int) -> None:
    """The bytes are the client's."""
    assert bytes(PackedId.pack(number)) == bytes(c_uint128.from_param(number))


def test_packed_filters_are_what_the_client_would_send() -> None:
    """The bytes are the client's."""
    of_account = tb.AccountFilter(1, 2, 3, 4, 5, 6, 7, 8, tb.AccountFilterFlags.DEBITS)
    of_all = tb.QueryFilter(1, 2, 3, 4, 5, 6, 7, 8, tb.QueryFilterFlags.REVERSED)
    assert bytes(PackedAccountFilter.pack(of_account)) == bytes(CAccountFilter.from_param(of_account))
    assert bytes(PackedQueryFilter.pack(of_all)) == bytes(CQueryFilter.from_param(of_all))
    assert not PackedAccountFilter.pack(of_account).linked


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("id", -1, tb.IntegerOverflowError),
        ("amount", 1 << 128, tb.IntegerOverflowError),
        ("amount", -1, tb.IntegerOverflowError),
        ("amount", 1.5, TypeError),
        ("code", 1 << 16, tb.IntegerOverflowError),
        ("ledger", -1, tb.IntegerOverflowError),
        ("user_data_64", 1 << 64, tb.IntegerOverflowError),
        ("timeout", 0.5, TypeError),
    ],
)
def test_what_does_not_fit_gets_the_clients_own_error(field: str, value: Any, error: type[Exception]) -> None:
    """Nothing is wrapped or rounded on its way into the ledger."""
    transfer = tb.Transfer()
    setattr(transfer, field, value)
    with pytest.raises(error):
        PackedTransfer.pack(transfer)


def test_a_packed_transfer_does_not_change_with_its_original() -> None:
    """What waits for its turn is what was handed over."""
    transfer = tb.Transfer(id=1, amount=5)
    packed = PackedTransfer.pack(transfer)
    transfer.amount = 6
    assert packed.amount.to_python() == 5
