"""TigerBeetle's types as rows of the `ledger` schema, and back.

Ids are UUIDs of the same 128 bits, 64-bit fields are two's complement (PostgreSQL has no unsigned integers), amounts
are numeric. This module must never judge an event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import tigerbeetle as tb

_U64: Final = (1 << 64) - 1
_I64_MAX: Final = (1 << 63) - 1
_LINKED: Final = 1

Columns = list[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """An event as the SQL function takes it: the values of one place in each of its arrays."""

    values: tuple[Any, ...]
    linked: bool


def columns(rows: Sequence[Row]) -> Columns:
    """Turn rows into the function's arrays."""
    return list(zip(*(row.values for row in rows), strict=True))


def transfer_row(transfer: tb.Transfer) -> Row:
    """Write a transfer."""
    flags = int(transfer.flags)
    return Row(
        (
            UUID(int=transfer.id),
            UUID(int=transfer.debit_account_id),
            UUID(int=transfer.credit_account_id),
            transfer.amount,
            UUID(int=transfer.pending_id),
            UUID(int=transfer.user_data_128),
            signed(transfer.user_data_64),
            transfer.user_data_32,
            transfer.ledger,
            transfer.code,
            flags,
            signed(transfer.timestamp),
        ),
        linked=bool(flags & _LINKED),
    )


def account_row(account: tb.Account) -> Row:
    """Write an account."""
    flags = int(account.flags)
    return Row(
        (
            UUID(int=account.id),
            account.debits_pending,
            account.debits_posted,
            account.credits_pending,
            account.credits_posted,
            UUID(int=account.user_data_128),
            signed(account.user_data_64),
            account.user_data_32,
            account.ledger,
            account.code,
            flags,
            signed(account.timestamp),
        ),
        linked=bool(flags & _LINKED),
    )


def read_transfer(row: Mapping[str, Any]) -> tb.Transfer:
    """Read a transfer."""
    return tb.Transfer(
        id=row["id"].int,
        debit_account_id=row["debit_account_id"].int,
        credit_account_id=row["credit_account_id"].int,
        amount=int(row["amount"]),
        pending_id=row["pending_id"].int,
        user_data_128=row["user_data_128"].int,
        user_data_64=row["user_data_64"] & _U64,
        user_data_32=row["user_data_32"],
        ledger=row["ledger"],
        code=row["code"],
        flags=tb.TransferFlags(row["flags"]),
        timestamp=row["timestamp"],
    )


def read_account(row: Mapping[str, Any]) -> tb.Account:
    """Read an account."""
    return tb.Account(
        id=row["id"].int,
        debits_pending=int(row["debits_pending"]),
        debits_posted=int(row["debits_posted"]),
        credits_pending=int(row["credits_pending"]),
        credits_posted=int(row["credits_posted"]),
        user_data_128=row["user_data_128"].int,
        user_data_64=row["user_data_64"] & _U64,
        user_data_32=row["user_data_32"],
        ledger=row["ledger"],
        code=row["code"],
        flags=tb.AccountFlags(row["flags"]),
        timestamp=row["timestamp"],
    )


def signed(number: int) -> int:
    """Return the 64 bits of an unsigned number as a signed one."""
    return number if number <= _I64_MAX else number - (_U64 + 1)
