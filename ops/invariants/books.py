"""The checks that start from the ledger: its sums, its transit accounts, and whose every transfer is.

They walk the ledger page by page along its clock, in constant memory. Money may move meanwhile: a sum over pages is
no snapshot, so a difference counts only if the ledger stood still while it was taken.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import tigerbeetle as tb

from ops.invariants.findings import Advance, Check
from reconciler.plans import TERMINAL_UNMOVED, Planned, read_planned
from shared.db.pool import Pool
from shared.errors import BadInput
from shared.ids import split_transfer_id
from shared.ledger.accounts import LIMITS_LEDGER, MESH_LEDGER, AccountCode
from shared.ledger.port import Ledger
from shared.money import currency_of_ledger

PAGE: Final = 2000
_TRIES: Final = 5
_PAUSE_S: Final = 0.5
_ALL: Final = tb.QueryFilter(
    user_data_128=0, user_data_64=0, user_data_32=0, ledger=0, code=0, timestamp_min=0, timestamp_max=0, limit=PAGE,
    flags=tb.QueryFilterFlags.NONE,
)  # fmt: skip


@dataclass(slots=True)
class _Sums:
    """Debits and credits of one ledger, over all its accounts."""

    debits_posted: int = 0
    credits_posted: int = 0
    debits_pending: int = 0
    credits_pending: int = 0

    def add(self, account: tb.Account) -> None:
        self.debits_posted += account.debits_posted
        self.credits_posted += account.credits_posted
        self.debits_pending += account.debits_pending
        self.credits_pending += account.credits_pending

    @property
    def balanced(self) -> bool:
        return self.debits_posted == self.credits_posted and self.debits_pending == self.credits_pending

    def __str__(self) -> str:
        return (
            f"debits {self.debits_posted} and credits {self.credits_posted} posted, "
            f"debits {self.debits_pending} and credits {self.credits_pending} pending"
        )


async def check_sums(ledger: Ledger, sums: Check, transit: Check, advance: Advance) -> None:
    """Check that debits equal credits in every ledger, and that every transit account stands at zero."""
    by_ledger, transits = await _add_up_undisturbed(ledger)
    sums.examined, transit.examined = len(by_ledger), len(transits)
    advance(len(by_ledger) + len(transits))
    for number, found in sorted(by_ledger.items()):
        if not found.balanced:
            sums.violated(_ledger_name(number), str(found))
    for account in transits:
        if not _is_zero(account):
            transit.violated(
                f"transit:{_ledger_name(account.ledger)}",
                f"posted {account.credits_posted - account.debits_posted}, "
                f"pending {account.credits_pending - account.debits_pending}",
            )


async def check_transfers(ledger: Ledger, pool: Pool, check: Check, advance: Advance) -> None:
    """Check that every transfer in the ledger is a leg of an intent that may move money, as planned."""
    async for page in _transfer_pages(ledger):
        customers = [transfer for transfer in page if transfer.ledger not in (MESH_LEDGER, LIMITS_LEDGER)]
        check.examined += len(customers)
        planned = await read_planned(pool, sorted({UUID(int=transfer.user_data_128) for transfer in customers}))
        for transfer in customers:
            intent = UUID(int=transfer.user_data_128)
            fault = _transfer_fault(transfer, planned.get(intent))
            if fault is not None:
                check.violated(str(intent), f"transfer {UUID(int=transfer.id)} of {transfer.amount}: {fault}")
        advance(len(page))


def _transfer_fault(transfer: tb.Transfer, planned: Planned | None) -> str | None:
    if planned is None:
        return "the database knows no such intent"
    if planned.state in TERMINAL_UNMOVED:
        return f"money moved although the intent is {planned.state}"
    try:
        _, attempt, _, _ = split_transfer_id(transfer.id)
    except ValueError:
        return "not an id that an intent gives out"
    if transfer.id not in planned.transfer_ids:
        return f"no plan of the intent has it (attempt {attempt})"
    return None


async def _add_up_undisturbed(ledger: Ledger) -> tuple[dict[int, _Sums], list[tb.Account]]:
    """Add up again, a few times, while something differs and money was moving."""
    tries = 1
    while True:
        before = await _newest(ledger)
        by_ledger, transits = await _add_up(ledger)
        balanced = all(found.balanced for found in by_ledger.values()) and all(map(_is_zero, transits))
        if balanced or tries == _TRIES or await _newest(ledger) == before:
            return by_ledger, transits
        tries += 1
        await asyncio.sleep(_PAUSE_S)


async def _add_up(ledger: Ledger) -> tuple[dict[int, _Sums], list[tb.Account]]:
    by_ledger: dict[int, _Sums] = {}
    transits: list[tb.Account] = []
    async for page in _account_pages(ledger):
        for account in page:
            by_ledger.setdefault(account.ledger, _Sums()).add(account)
            if account.code == AccountCode.TRANSIT:
                transits.append(account)
    return by_ledger, transits


async def _account_pages(ledger: Ledger) -> AsyncIterator[Sequence[tb.Account]]:
    part = _ALL
    while page := await ledger.query_accounts(part):
        yield page
        part = _after(page[-1].timestamp)


async def _transfer_pages(ledger: Ledger) -> AsyncIterator[Sequence[tb.Transfer]]:
    part = _ALL
    while page := await ledger.query_transfers(part):
        yield page
        part = _after(page[-1].timestamp)


def _after(timestamp_ns: int) -> tb.QueryFilter:
    return replace(_ALL, timestamp_min=timestamp_ns + 1)


async def _newest(ledger: Ledger) -> int:
    """Return the time of the newest transfer, by the ledger's clock."""
    found = await ledger.query_transfers(replace(_ALL, limit=1, flags=tb.QueryFilterFlags.REVERSED))
    return found[0].timestamp if found else 0


def _is_zero(account: tb.Account) -> bool:
    return account.debits_posted == account.credits_posted and account.debits_pending == account.credits_pending


def _ledger_name(number: int) -> str:
    names = {MESH_LEDGER: "mesh", LIMITS_LEDGER: "limits"}
    if number in names:
        return names[number]
    try:
        return currency_of_ledger(number).code
    except BadInput:
        return f"ledger {number}"
