"""Events in the client's wire form, packed once, when the caller hands them over.

Packing at the door keeps three promises: an event that does not fit (a negative amount, a float) fails its own
caller and not those it would have shared a request with; nobody can change an event while it waits; and what is
resubmitted to a new client is byte for byte what was submitted to the old one.

It is also where the client spends most of its time. `tigerbeetle` converts a transfer field by field in about 5 µs;
`PackedTransfer` fills the same structure from one `struct.pack` in about 1 µs. Layout and sizes stay the client's
own (the classes derive from its structures), and a test holds the bytes against the client's conversion.

This module must never decide anything about an event.
"""

import struct
from typing import Any, Final, Self

import tigerbeetle as tb
from tigerbeetle.bindings import CAccount, CAccountFilter, CQueryFilter, CTransfer
from tigerbeetle.lib import c_uint128

_U128_BYTES: Final = 16
_LINKED: Final = 1
_pack_transfer: Final = struct.Struct("<16s16s16s16s16s16sQIIIHHQ").pack


def _u128(number: int) -> bytes:
    return number.to_bytes(_U128_BYTES, "little")


class Packed:
    """What all events have in common once they are packed."""

    @property
    def linked(self) -> bool:
        """Whether the next event belongs to the same chain; ids and filters never do."""
        return False

    @classmethod
    def from_param(cls, obj: Any) -> Any:
        """Hand a packed event to the client as it is."""
        return obj


class PackedTransfer(Packed, CTransfer):
    """A transfer as it travels."""

    @classmethod
    def pack(cls, transfer: tb.Transfer) -> Self:
        """Convert a transfer.

        Raises:
            tigerbeetle.IntegerOverflowError: a field does not fit.
            TypeError: a field is not an integer.
        """
        try:
            return cls.from_buffer_copy(
                _pack_transfer(
                    _u128(transfer.id),
                    _u128(transfer.debit_account_id),
                    _u128(transfer.credit_account_id),
                    _u128(transfer.amount),
                    _u128(transfer.pending_id),
                    _u128(transfer.user_data_128),
                    transfer.user_data_64,
                    transfer.user_data_32,
                    transfer.timeout,
                    transfer.ledger,
                    transfer.code,
                    transfer.flags,
                    transfer.timestamp,
                )
            )
        except (OverflowError, AttributeError, struct.error):
            # What does not fit gets the client's own, more telling error.
            return super(Packed, cls).from_param(transfer)

    @property
    def linked(self) -> bool:
        """Whether the next event belongs to the same chain."""
        return bool(self.flags & _LINKED)


class PackedAccount(Packed, CAccount):
    """An account as it travels."""

    @classmethod
    def pack(cls, account: tb.Account) -> Self:
        """Convert an account; raises as `PackedTransfer.pack`."""
        return super(Packed, cls).from_param(account)

    @property
    def linked(self) -> bool:
        """Whether the next event belongs to the same chain."""
        return bool(self.flags & _LINKED)


class PackedId(Packed, c_uint128):
    """An id as it travels."""

    @classmethod
    def pack(cls, number: int) -> Self:
        """Convert an id."""
        return super(Packed, cls).from_param(number)


class PackedAccountFilter(Packed, CAccountFilter):
    """A filter over one account's transfers as it travels."""

    @classmethod
    def pack(cls, account_filter: tb.AccountFilter) -> Self:
        """Convert a filter; raises as `PackedTransfer.pack`."""
        return super(Packed, cls).from_param(account_filter)


class PackedQueryFilter(Packed, CQueryFilter):
    """A filter over all accounts or transfers as it travels."""

    @classmethod
    def pack(cls, query_filter: tb.QueryFilter) -> Self:
        """Convert a filter; raises as `PackedTransfer.pack`."""
        return super(Packed, cls).from_param(query_filter)
