"""Ledgers that stop at the worst moment, around a real one: paused before or after a move, or deaf to its answer."""

import asyncio
from typing import Any

import tigerbeetle as tb

from shared.errors import OutcomeUnknown
from shared.ledger.port import Ledger


class Wrapped:
    """A real ledger, call for call; what has been submitted is remembered."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.submitted: list[list[tb.Transfer]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)

    async def create_transfers(self, transfers: list[tb.Transfer]) -> list[tb.CreateTransferResult]:
        """Remember what was submitted."""
        self.submitted.append(list(transfers))
        return await self.ledger.create_transfers(transfers)


class Paused(Wrapped):
    """Stops in its first move until `resume` is set, as a process under SIGSTOP would."""

    def __init__(self, ledger: Ledger, *, after_move: bool) -> None:
        super().__init__(ledger)
        self.after_move = after_move
        self.reached = asyncio.Event()
        self.resume = asyncio.Event()

    async def create_transfers(self, transfers: list[tb.Transfer]) -> list[tb.CreateTransferResult]:
        """Move before or after the pause."""
        if not self.after_move:
            await self._pause()
        results = await super().create_transfers(transfers)
        if self.after_move:
            await self._pause()
        return results

    async def _pause(self) -> None:
        self.reached.set()
        await self.resume.wait()


class Deaf(Wrapped):
    """Moves the money, once, and loses the answer."""

    async def create_transfers(self, transfers: list[tb.Transfer]) -> list[tb.CreateTransferResult]:
        """Carry out the first call and lose its answer; later calls are whole."""
        results = await super().create_transfers(transfers)
        if len(self.submitted) == 1:
            raise OutcomeUnknown("the answer was lost")
        return results
