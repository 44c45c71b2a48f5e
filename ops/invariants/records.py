"""The checks that start from the accounts on the map: what each is in the ledger, and what wallets hold.

They walk the map by name, page by page, and look each page up in the ledger in one request. The database is always a
little behind the ledger: a balance that differs is looked at again until both stand still.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ops.invariants.findings import Advance, Check
from ops.statements import statement
from reconciler.account_map import account_fault, next_page, parsed
from reconciler.wallets import Figures, recorded
from reconciler.wallets import booked as ledger_figures
from shared.db.pool import Pool
from shared.ledger.port import Ledger

PAGE: Final = 500
_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Wallet:
    """A customer's account: what the database says of it, what the ledger says."""

    name: str
    id: UUID
    recorded: Figures
    booked: Figures

    @property
    def agrees(self) -> bool:
        return self.recorded == self.booked


@dataclass(frozen=True, slots=True)
class AccountChecks:
    """The checks of accounts: as they stand in the ledger, and what wallets hold and have held of it."""

    accounts: Check
    balances: Check
    held: Check


async def check_accounts(ledger: Ledger, pool: Pool, checks: AccountChecks, advance: Advance) -> None:
    """Check that every account on the map stands in the ledger as it should, and that wallets hold the same in both."""
    after = ""
    while rows := await next_page(pool, after, limit=PAGE):
        after = rows[-1]["name"]
        found = {account.id: account for account in await ledger.lookup_accounts([row["id"].int for row in rows])}
        wallets: list[_Wallet] = []
        for row in rows:
            booked = found.get(row["id"].int)
            account = parsed(row["name"])
            fault = account_fault(row["name"], row["id"], row["ledger"], booked)
            if fault is not None:
                checks.accounts.violated(row["name"], fault.detail)
            elif booked is not None and account is not None and account.is_customer:
                wallets.append(_Wallet(account.name, row["id"], recorded(row), ledger_figures(booked)))
        checks.accounts.examined += len(rows)
        checks.balances.examined += len(wallets)
        checks.held.examined += len(wallets)
        await _check_balances(ledger, pool, checks, [wallet for wallet in wallets if not wallet.agrees])
        advance(len(rows))


async def _check_balances(ledger: Ledger, pool: Pool, checks: AccountChecks, suspects: Sequence[_Wallet]) -> None:
    """Look at differing wallets again until they agree, or until they have differed, unmoved, for long enough."""
    deadline = time.monotonic() + _PATIENCE_S
    while suspects:
        await asyncio.sleep(_PAUSE_S)
        again = await _look_again(ledger, pool, suspects)
        if time.monotonic() > deadline:
            before = {wallet.id: wallet for wallet in suspects}
            for wallet in again:
                moving = "; it kept moving, look again at a quieter time" if wallet != before[wallet.id] else ""
                _report(checks, wallet, moving)
            return
        suspects = [wallet for wallet in again if not wallet.agrees]


def _report(checks: AccountChecks, wallet: _Wallet, moving: str) -> None:
    said, booked = wallet.recorded, wallet.booked
    if said.posted != booked.posted:
        checks.balances.violated(wallet.name, f"the database says {said.posted}, the ledger {booked.posted}{moving}")
    if said.held != booked.held:
        checks.held.violated(
            wallet.name, f"the database says that {said.held} is held, the ledger {booked.held}{moving}"
        )


async def _look_again(ledger: Ledger, pool: Pool, wallets: Sequence[_Wallet]) -> list[_Wallet]:
    rows = await pool.fetch(statement("invariants/read_balances"), [wallet.id for wallet in wallets])
    said = {row["account_id"]: recorded(row) for row in rows}
    found = {account.id: account for account in await ledger.lookup_accounts([wallet.id.int for wallet in wallets])}
    return [
        _Wallet(wallet.name, wallet.id, said.get(wallet.id, Figures(0, 0)), ledger_figures(found[wallet.id.int]))
        for wallet in wallets
    ]
