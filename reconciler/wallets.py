"""Wallets: what the read model says that a customer's account holds, against the ledger.

The database is always a little behind the ledger, so that a difference counts only once both have stood still for two
looks; a wallet that never does is looked at again later. This module must never look at an internal account: those
have no balance in the read model.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
import tigerbeetle as tb

from reconciler.breaks import Break
from reconciler.kinds import BreakKind
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ledger.port import Ledger

LOOKS_MAX: Final = 8
PAUSE_S: Final = 0.15


@dataclass(frozen=True, slots=True)
class Figures:
    """What a wallet holds, and how much of that is held; in minor units."""

    posted: int
    held: int


@dataclass(frozen=True, slots=True)
class Wallet:
    """A customer's account: what the database says of it, what the ledger says (None: it knows no such account)."""

    name: str
    id: UUID
    recorded: Figures
    booked: Figures | None

    @property
    def differs(self) -> bool:
        """Whether both know it, and say different things."""
        return self.booked is not None and self.recorded != self.booked


@dataclass(frozen=True, slots=True)
class Looked:
    """What is wrong with wallets, and which of them would not stand still."""

    breaks: tuple[Break, ...]
    moving: frozenset[str] = frozenset()


def recorded(row: asyncpg.Record) -> Figures:
    """Read the columns `posted` and `held` of a balance; what has no row holds nothing."""
    return Figures(int(row["posted"] or 0), int(row["held"] or 0))


def booked(account: tb.Account) -> Figures:
    """Return what the ledger says of a wallet."""
    return Figures(account.credits_posted - account.debits_posted, account.debits_pending)


async def wallets_of(ledger: Ledger, pool: Pool, accounts: Iterable[int]) -> list[Wallet]:
    """Look at those of the accounts, by their ids, that are customers'.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach.
    """
    return await _look(ledger, pool, "wallets_by_id", [UUID(int=one) for one in sorted(set(accounts))])


def differing(wallets: Iterable[Wallet]) -> list[Break]:
    """Return what differs, one break a figure."""
    found = []
    for wallet in wallets:
        if wallet.booked is None:
            continue
        for kind, said, stands in (
            (BreakKind.BALANCE_DIFFERS, wallet.recorded.posted, wallet.booked.posted),
            (BreakKind.HELD_DIFFERS, wallet.recorded.held, wallet.booked.held),
        ):
            if said != stands:
                sides = {"read model": said, "ledger": stands}
                found.append(
                    Break(kind, wallet.name, sides, delta_minor=said - stands, currency=wallet.name.rpartition(":")[2])
                )
    return found


async def look_closely(ledger: Ledger, pool: Pool, names: Sequence[str]) -> Looked:
    """Look at wallets until each agrees or has differed in the same way twice in a row.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach; look again.
    """
    before = {wallet.name: wallet for wallet in await _look(ledger, pool, "wallets_by_name", sorted(names))}
    still: list[Wallet] = []
    suspects = [name for name, wallet in before.items() if wallet.differs]
    for _ in range(LOOKS_MAX - 1):
        if not suspects:
            break
        await asyncio.sleep(PAUSE_S)
        again = await _look(ledger, pool, "wallets_by_name", suspects)
        still += [wallet for wallet in again if wallet.differs and wallet == before[wallet.name]]
        suspects = [wallet.name for wallet in again if wallet.differs and wallet != before[wallet.name]]
        before = {wallet.name: wallet for wallet in again}
    return Looked(tuple(differing(still)), frozenset(suspects))


async def _look(ledger: Ledger, pool: Pool, by: str, keys: Sequence[object]) -> list[Wallet]:
    if not keys:
        return []
    with database():
        rows = await pool.fetch(statement(by), keys)
    found = {account.id: account for account in await ledger.lookup_accounts([row["id"].int for row in rows])}
    return [
        Wallet(
            row["name"],
            row["id"],
            recorded(row),
            booked(found[row["id"].int]) if row["id"].int in found else None,
        )
        for row in rows
    ]
