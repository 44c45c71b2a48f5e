"""Words for ledger tests: accounts and transfers by small numbers, in a range of ids that nobody else has."""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import tigerbeetle as tb

from shared.ledger.port import Ledger

A = tb.AccountFlags
F = tb.TransferFlags
Status = tb.CreateTransferStatus
CREATED = Status.CREATED
FAILED = Status.LINKED_EVENT_FAILED
AMOUNT_MAX = tb.AMOUNT_MAX
ID_MAX = (1 << 128) - 1

_ROOM = 1 << 20


class Books:
    """A ledger seen through numbers below 2²⁰, which stand for ids that no other test has."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.base = secrets.randbits(100) * _ROOM + _ROOM

    def id(self, number: int) -> int:
        """Return the id that a number stands for; 0 and the largest stand for themselves."""
        return number if number in (0, ID_MAX) else self.base + number

    def account(self, number: int, **fields: Any) -> tb.Account:
        """Describe an account; ledger 1, code 1 unless told otherwise."""
        return tb.Account(id=self.id(number), **({"ledger": 1, "code": 1} | fields))

    def transfer(self, number: int, debit: int = 1, credit: int = 2, amount: int = 10, **fields: Any) -> tb.Transfer:
        """Describe a transfer between accounts 1 and 2; ledger 1, code 1 unless told otherwise."""
        fields = {"ledger": 1, "code": 1, **fields}
        fields["pending_id"] = self.id(fields.get("pending_id", 0))
        return tb.Transfer(
            id=self.id(number),
            debit_account_id=self.id(debit),
            credit_account_id=self.id(credit),
            amount=amount,
            **fields,
        )

    def hold(self, number: int, debit: int = 1, credit: int = 2, amount: int = 10, **fields: Any) -> tb.Transfer:
        """Describe a pending transfer."""
        return self.transfer(number, debit, credit, amount, **_with(fields, F.PENDING))

    def post(self, number: int, pending: int, amount: int = AMOUNT_MAX, **fields: Any) -> tb.Transfer:
        """Describe a post that leaves everything else to the hold."""
        return self._resolution(number, pending, amount, _with(fields, F.POST_PENDING_TRANSFER))

    def void(self, number: int, pending: int, amount: int = 0, **fields: Any) -> tb.Transfer:
        """Describe a void that leaves everything else to the hold."""
        return self._resolution(number, pending, amount, _with(fields, F.VOID_PENDING_TRANSFER))

    def _resolution(self, number: int, pending: int, amount: int, fields: dict[str, Any]) -> tb.Transfer:
        return self.transfer(number, 0, 0, amount, **{"ledger": 0, "code": 0, "pending_id": pending, **fields})

    async def open(self, *accounts: tb.Account) -> None:
        """Open accounts for certain."""
        results = await self.ledger.create_accounts(list(accounts))
        assert {result.status for result in results} == {tb.CreateAccountStatus.CREATED}

    async def send(self, *transfers: tb.Transfer) -> list[Status]:
        """Submit transfers; return their statuses."""
        return [result.status for result in await self.ledger.create_transfers(list(transfers))]

    async def sure(self, *transfers: tb.Transfer) -> None:
        """Submit transfers for certain."""
        assert set(await self.send(*transfers)) == {CREATED}

    async def balance(self, number: int) -> tuple[int, int, int, int]:
        """Return debits pending and posted, credits pending and posted."""
        (account,) = await self.ledger.lookup_accounts([self.id(number)])
        return account.debits_pending, account.debits_posted, account.credits_pending, account.credits_posted

    async def flags(self, number: int) -> tb.AccountFlags:
        """Return an account's flags."""
        (account,) = await self.ledger.lookup_accounts([self.id(number)])
        return account.flags

    async def found(self, *numbers: int) -> list[int]:
        """Return which of the transfers are in the books."""
        transfers = await self.ledger.lookup_transfers([self.id(number) for number in numbers])
        return [transfer.id - self.base for transfer in transfers]


def linked(transfers: Sequence[tb.Transfer]) -> list[tb.Transfer]:
    """Link transfers into one chain."""
    for transfer in transfers[:-1]:
        transfer.flags |= F.LINKED
    return list(transfers)


def values(results: Iterable[tb.CreateTransferResult]) -> list[Status]:
    """Return the statuses of results."""
    return [result.status for result in results]


def _with(fields: dict[str, Any], flag: F) -> dict[str, Any]:
    return {**fields, "flags": fields.get("flags", F.NONE) | flag}
