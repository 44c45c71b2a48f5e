"""The mesh's mark in the ledger: one account that names the mesh, one that counts its ticks.

======================  ==========================================================================
account                 what it says
======================  ==========================================================================
``mesh:identity``       `user_data_128` is the mesh id; gives one unit per tick
``mesh:ticks``          receives them: its posted credits are the tick
======================  ==========================================================================

Both lie in the mesh ledger, which names no currency; ``mesh`` is no account kind, so nobody can open or pay them.
The transfer of tick n has the UUIDv5 of ``tick:n`` in the mesh's own namespace as its id: a tick is booked once,
whoever books it, and its id never meets an intent's, which is a UUIDv7.

This module must never decide what a lagging ledger means; that is `shared.mesh`.
"""

from typing import Final
from uuid import UUID, uuid5

import tigerbeetle as tb

from shared.errors import violated
from shared.ids import account_id
from shared.ledger.accounts import MESH_LEDGER, AccountCode
from shared.ledger.codes import LegCode
from shared.ledger.port import Ledger
from shared.mesh import LAG_TICKS_MAX, Mark

IDENTITY_ID: Final = account_id("mesh:identity")
TICKS_ID: Final = account_id("mesh:ticks")

_STANDS: Final = (tb.CreateAccountStatus.CREATED, tb.CreateAccountStatus.EXISTS)
_TAKEN: Final = tb.CreateAccountStatus.EXISTS_WITH_DIFFERENT_USER_DATA_128
_BOOKED: Final = (tb.CreateTransferStatus.CREATED, tb.CreateTransferStatus.EXISTS)


class TickingLedger:
    """A ledger as `shared.mesh.LedgerMark` sees it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def read(self) -> Mark:
        """Return whose ledger this is, and how many ticks it has booked."""
        found = {account.id: account for account in await self._ledger.lookup_accounts([IDENTITY_ID, TICKS_ID])}
        identity = found.get(IDENTITY_ID)
        counter = found.get(TICKS_ID)
        mesh = UUID(int=identity.user_data_128) if identity is not None else None
        return Mark("ledger", mesh, None, counter.credits_posted if counter is not None else 0)

    async def booked_at_ns(self, mesh: UUID, tick: int) -> int | None:
        """Return when a tick was booked, by the ledger's clock; None if it never was."""
        found = await self._ledger.lookup_transfers([_tick(mesh, tick).id])
        return found[0].timestamp if found else None

    async def claim(self, mesh: UUID) -> UUID:
        """Open both accounts unless they stand already; return the mesh they name."""
        results = await self._ledger.create_accounts([_account(IDENTITY_ID, mesh), _account(TICKS_ID, mesh)])
        for result in results:
            if result.status not in (*_STANDS, _TAKEN):
                violated(f"the ledger refuses the mesh's own account: {result.status!r}")
        standing = (await self.read()).mesh
        return violated("the mesh's own account was opened and is not there") if standing is None else standing

    async def advance(self, mesh: UUID, *, since: int, until: int) -> None:
        """Book the ticks after `since` up to `until`, each once however often it is asked for."""
        if until <= since:
            return
        if until - since > LAG_TICKS_MAX:
            violated(f"asked to book {until - since} ticks at once: the ledger lags beyond what may be mended")
        results = await self._ledger.create_transfers([_tick(mesh, n) for n in range(since + 1, until + 1)])
        for result in results:
            if result.status not in _BOOKED:
                violated(f"the ledger refuses a tick: {result.status!r}")


def _account(account: int, mesh: UUID) -> tb.Account:
    return tb.Account(id=account, ledger=MESH_LEDGER, code=AccountCode.MESH, user_data_128=mesh.int)


def _tick(mesh: UUID, number: int) -> tb.Transfer:
    return tb.Transfer(
        id=uuid5(mesh, f"tick:{number}").int,
        debit_account_id=IDENTITY_ID,
        credit_account_id=TICKS_ID,
        amount=1,
        user_data_128=mesh.int,
        ledger=MESH_LEDGER,
        code=LegCode.MESH_TICK,
    )
