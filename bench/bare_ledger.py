"""The bare pipeline's way into the ledger: the same two linked transfers, answers thrown away.

TigerBeetle gets them packed as the mesh packs them, since a ceiling that converts more slowly would be none.
"""

from collections.abc import Sequence
from typing import Protocol

import tigerbeetle as tb
from tigerbeetle.bindings import CCreateTransferResult

from shared.db.pool import Pool
from shared.ledger.packing import PackedTransfer
from shared.ledger.postgres import PostgresLedger
from shared.money import currency

Move = tuple[int, int, int, int, int, int]
"""Intent, transfer, debit account, credit account, amount, code."""

_NUMBER = currency("THB").number


class BareLedger(Protocol):
    """Where transfers go."""

    async def move(self, moves: Sequence[Move]) -> None:
        """Submit transfers, every first one of two linked to its second."""
        ...

    async def close(self) -> None:
        """Let go of the ledger."""
        ...


class BareTigerBeetle(tb.ClientAsync):
    """TigerBeetle, without any of what makes it safe to be cancelled or evicted."""

    async def move(self, moves: Sequence[Move]) -> None:
        """Submit transfers."""
        packed = [PackedTransfer.pack(transfer) for transfer in _transfers(moves)]
        await self._submit(tb.Operation.CREATE_TRANSFERS, packed, PackedTransfer, CCreateTransferResult)


class BarePostgres:
    """The ledger in PostgreSQL; its one SQL function is as bare as it gets."""

    def __init__(self, pool: Pool) -> None:
        self._ledger = PostgresLedger(pool)

    async def move(self, moves: Sequence[Move]) -> None:
        """Submit transfers."""
        await self._ledger.create_transfers(_transfers(moves))

    async def close(self) -> None:
        """Let go of the ledger."""
        await self._ledger.close()


def open_bare_ledger(addresses: str | None, pool: Pool) -> BareLedger:
    """Open the ledger that the mesh uses too."""
    return BarePostgres(pool) if addresses is None else BareTigerBeetle(0, addresses)


def _transfers(moves: Sequence[Move]) -> list[tb.Transfer]:
    flags = (tb.TransferFlags.LINKED, tb.TransferFlags.NONE)
    return [
        tb.Transfer(
            id=transfer,
            debit_account_id=debit,
            credit_account_id=credit,
            amount=amount,
            user_data_128=intent,
            ledger=_NUMBER,
            code=code,
            flags=flags[number % 2],
        )
        for number, (intent, transfer, debit, credit, amount, code) in enumerate(moves)
    ]
