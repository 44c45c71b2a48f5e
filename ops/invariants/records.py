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

import asyncpg
import tigerbeetle as tb

from ops.invariants.findings import Advance, Check
from ops.statements import statement
from shared.accounts import Account, parse_account
from shared.db.pool import Pool
from shared.errors import BadInput
from shared.ledger.accounts import ledger_account
from shared.ledger.port import Ledger

PAGE: Final = 500
_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Figures:
    """What a wallet holds, and how much of it is held."""

    posted: int
    held: int


@dataclass(frozen=True, slots=True)
class _Wallet:
    """A customer's account: what the database says of it, what the ledger says."""

    name: str
    id: UUID
    recorded: _Figures
    booked: _Figures

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
    while rows := await pool.fetch(statement("invariants/next_accounts"), after, PAGE):
        after = rows[-1]["name"]
        found = {account.id: account for account in await ledger.lookup_accounts([row["id"].int for row in rows])}
        wallets: list[_Wallet] = []
        for row in rows:
            booked = found.get(row["id"].int)
            account = _parsed(row["name"])
            fault = _account_fault(account, row["id"], row["ledger"], booked)
            if fault is not None:
                checks.accounts.violated(row["name"], fault)
            elif booked is not None and account is not None and account.is_customer:
                wallets.append(_Wallet(account.name, row["id"], _recorded(row), _booked(booked)))
        checks.accounts.examined += len(rows)
        checks.balances.examined += len(wallets)
        checks.held.examined += len(wallets)
        await _check_balances(ledger, pool, checks, [wallet for wallet in wallets if not wallet.agrees])
        advance(len(rows))


def _account_fault(account: Account | None, recorded_id: UUID, number: int, booked: tb.Account | None) -> str | None:
    if account is None:
        return "not an account name"
    if account.id != recorded_id.int:
        return "recorded under an id that is not its name's"
    if account.currency.number != number:
        return f"recorded in ledger {number}, while its currency's is {account.currency.number}"
    if booked is None:
        return "recorded as open, and the ledger does not know it"
    expected = ledger_account(account)
    if (booked.ledger, booked.code, booked.flags) != (expected.ledger, expected.code, expected.flags):
        return f"stands in the ledger with ledger {booked.ledger}, code {booked.code}, flags {booked.flags!r}"
    return None


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
    recorded, booked = wallet.recorded, wallet.booked
    if recorded.posted != booked.posted:
        checks.balances.violated(
            wallet.name, f"the database says {recorded.posted}, the ledger {booked.posted}{moving}"
        )
    if recorded.held != booked.held:
        checks.held.violated(
            wallet.name, f"the database says that {recorded.held} is held, the ledger {booked.held}{moving}"
        )


async def _look_again(ledger: Ledger, pool: Pool, wallets: Sequence[_Wallet]) -> list[_Wallet]:
    rows = await pool.fetch(statement("invariants/read_balances"), [wallet.id for wallet in wallets])
    recorded = {row["account_id"]: _recorded(row) for row in rows}
    found = {account.id: account for account in await ledger.lookup_accounts([wallet.id.int for wallet in wallets])}
    return [
        _Wallet(wallet.name, wallet.id, recorded.get(wallet.id, _Figures(0, 0)), _booked(found[wallet.id.int]))
        for wallet in wallets
    ]


def _recorded(row: asyncpg.Record) -> _Figures:
    return _Figures(int(row["posted"] or 0), int(row["held"] or 0))


def _booked(account: tb.Account) -> _Figures:
    return _Figures(account.credits_posted - account.debits_posted, account.debits_pending)


def _parsed(name: str) -> Account | None:
    try:
        return parse_account(name)
    except BadInput:
        return None
