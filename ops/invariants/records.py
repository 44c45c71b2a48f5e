"""The checks that start from the database: its wallets, and the intents it calls decided.

They walk the tables by primary key, page by page, and look each page up in the ledger in one request. The database
is always a little behind the ledger: a balance that differs is looked at again until both stand still.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import tigerbeetle as tb

from ops.invariants.findings import Advance, Check
from ops.invariants.plans import Planned, next_decided
from ops.statements import statement
from shared.accounts import Account, parse_account
from shared.db.pool import Pool
from shared.errors import BadInput
from shared.ledger.accounts import ledger_account
from shared.ledger.port import Ledger
from shared.states import IntentState

PAGE: Final = 500
_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.2
_FIRST: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class _Wallet:
    """A customer's account: what the database says it holds, what the ledger says."""

    name: str
    id: UUID
    recorded: int
    booked: int

    @property
    def agrees(self) -> bool:
        return self.recorded == self.booked


async def check_accounts(ledger: Ledger, pool: Pool, accounts: Check, balances: Check, advance: Advance) -> None:
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
                accounts.violated(row["name"], fault)
            elif booked is not None and account is not None and account.is_customer:
                wallets.append(_Wallet(account.name, row["id"], int(row["posted"] or 0), _balance(booked)))
        accounts.examined += len(rows)
        balances.examined += len(wallets)
        await _check_balances(ledger, pool, balances, [wallet for wallet in wallets if not wallet.agrees])
        advance(len(rows))


async def check_intents(
    ledger: Ledger, pool: Pool, settled: Check, unmoved: Check, *, until: UUID, advance: Advance
) -> None:
    """Check every intent up to `until`: SETTLED ones against the ledger leg by leg, refused ones for its silence."""
    after = _FIRST
    while page := await next_decided(pool, after=after, until=until, limit=PAGE):
        after = page[-1].id
        wanted = [transfer.id for intent in page for chain in intent.attempts.values() for transfer in chain]
        booked = {transfer.id: transfer for transfer in await ledger.lookup_transfers(wanted)}
        for intent in page:
            check = settled if intent.state is IntentState.SETTLED else unmoved
            check.examined += 1
            for fault in _intent_faults(intent, booked):
                check.violated(str(intent.id), fault)
        advance(len(page))


def _intent_faults(intent: Planned, booked: dict[int, tb.Transfer]) -> list[str]:
    if intent.fault is not None:
        return [intent.fault]
    carried_out = intent.attempt if intent.state is IntentState.SETTLED else None
    faults: list[str] = []
    if carried_out is not None and carried_out not in intent.attempts:
        faults.append(f"settled by attempt {carried_out}, of which there is no plan")
    for number, chain in intent.attempts.items():
        for leg, planned in enumerate(chain):
            transfer = booked.get(planned.id)
            if number == carried_out:
                fault = _leg_fault(planned, transfer)
            else:
                fault = None if transfer is None else f"moved {transfer.amount} although it is not what settled it"
            if fault is not None:
                faults.append(f"attempt {number}, leg {leg}: {fault}")
    return faults


def _leg_fault(planned: tb.Transfer, booked: tb.Transfer | None) -> str | None:
    if booked is None:
        return f"the ledger has no transfer of {planned.amount}"
    for name in ("amount", "debit_account_id", "credit_account_id", "ledger", "code", "user_data_128"):
        wanted, found = getattr(planned, name), getattr(booked, name)
        if wanted != found:
            return f"{name} is {found} in the ledger and {wanted} in the plan"
    return None


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


async def _check_balances(ledger: Ledger, pool: Pool, check: Check, suspects: Sequence[_Wallet]) -> None:
    """Look at differing wallets again until they agree, or until they have differed, unmoved, for long enough."""
    deadline = time.monotonic() + _PATIENCE_S
    while suspects:
        await asyncio.sleep(_PAUSE_S)
        again = await _look_again(ledger, pool, suspects)
        if time.monotonic() > deadline:
            before = {wallet.id: wallet for wallet in suspects}
            for wallet in again:
                if not wallet.agrees:
                    moving = "; it kept moving, look again at a quieter time" if wallet != before[wallet.id] else ""
                    check.violated(
                        wallet.name, f"the database says {wallet.recorded}, the ledger {wallet.booked}{moving}"
                    )
            return
        suspects = [wallet for wallet in again if not wallet.agrees]


async def _look_again(ledger: Ledger, pool: Pool, wallets: Sequence[_Wallet]) -> list[_Wallet]:
    rows = await pool.fetch(statement("invariants/read_balances"), [wallet.id for wallet in wallets])
    recorded = {row["account_id"]: int(row["posted"]) for row in rows}
    found = {account.id: account for account in await ledger.lookup_accounts([wallet.id.int for wallet in wallets])}
    return [
        _Wallet(wallet.name, wallet.id, recorded.get(wallet.id, 0), _balance(found[wallet.id.int]))
        for wallet in wallets
    ]


def _balance(account: tb.Account) -> int:
    return account.credits_posted - account.debits_posted


def _parsed(name: str) -> Account | None:
    try:
        return parse_account(name)
    except BadInput:
        return None
