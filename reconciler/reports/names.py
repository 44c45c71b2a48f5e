"""What accounts are called in a report: house accounts by their names, wallets in total by kind and currency.

This module must never let a customer's account through by its name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import tigerbeetle as tb

from reconciler.reports.statements import statement
from shared.accounts import AccountKind
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput, require
from shared.ledger.accounts import AccountCode
from shared.ledger.port import Ledger
from shared.money import currency_of_ledger

EVERYBODY: Final = "*"
"""Stands for the owner of wallets that are added up."""
NAMES_MAX: Final = 65_536
_WALLETS: Final = {AccountCode.USER: AccountKind.USER, AccountCode.MERCHANT: AccountKind.MERCHANT}


class Names:
    """Names by account id, remembered: what an account is never changes."""

    def __init__(self, *, pool: Pool, ledger: Ledger) -> None:
        self._pool = pool
        self._ledger = ledger
        self._known: dict[int, str] = {}

    async def of(self, transfers: Iterable[tb.Transfer]) -> Mapping[int, str]:
        """Return the names of all accounts that take part.

        Raises:
            InvariantViolation: the ledger does not know an account of its own transfers.
        """
        wanted = {id_ for each in transfers for id_ in (each.debit_account_id, each.credit_account_id)}
        missing = sorted(wanted - self._known.keys())
        if missing:
            if len(self._known) + len(missing) > NAMES_MAX:
                self._known.clear()
                missing = sorted(wanted)
            self._known.update(await self._ask(missing))
        require(wanted <= self._known.keys(), "the ledger has transfers of accounts that it does not know")
        return self._known

    async def _ask(self, ids: Sequence[int]) -> dict[int, str]:
        accounts = await self._ledger.lookup_accounts(list(ids))
        house = [UUID(int=account.id) for account in accounts if account.code not in _WALLETS]
        with database():
            rows = await self._pool.fetch(statement("house_names"), house)
        named = {row["id"].int: row["name"] for row in rows}
        return {account.id: named.get(account.id) or _name(account) for account in accounts}


def _name(account: tb.Account) -> str:
    """Return the name of wallets in total, or of a house account that nobody has written down."""
    try:
        currency = currency_of_ledger(account.ledger).code
    except BadInput:
        currency = str(account.ledger)
    if account.code in _WALLETS:
        return f"{_WALLETS[AccountCode(account.code)]}:{EVERYBODY}:{currency}"
    return f"unnamed:{UUID(int=account.id)}:{currency}"
