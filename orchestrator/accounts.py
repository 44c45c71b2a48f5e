"""Accounts: opened in the ledger first, then recorded; and the memory of which ones are open.

Only what the ledger has confirmed enters `pm.tb_account_map`, so that a name found there can be paid. Accounts are
never deleted, hence a name once seen open may be remembered; a name not seen is asked for again every time.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import structlog
import tigerbeetle as tb

from orchestrator.records import statement
from shared.accounts import Account, AccountKind, equity, parse_account, transit
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput, violated
from shared.ledger.accounts import ledger_account
from shared.ledger.port import Ledger
from shared.rules.book import RuleBook

_OPENED: Final = frozenset({tb.CreateAccountStatus.CREATED, tb.CreateAccountStatus.EXISTS})
_REMEMBERED_MAX: Final = 200_000

_log = structlog.get_logger(__name__)


class OpenAccounts:
    """Which account names are known to be open; positive answers only."""

    def __init__(self, *, pool: Pool, remembered_max: int = _REMEMBERED_MAX) -> None:
        self._pool = pool
        self._remembered_max = remembered_max
        self._names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, names: Iterable[str]) -> None:
        """Remember names the ledger has confirmed; when the memory is full it starts afresh."""
        if len(self._names) > self._remembered_max:
            self._names.clear()
        self._names.update(names)

    async def look_up(self, names: Iterable[str]) -> frozenset[str]:
        """Return which of the names are open, asking the database for those that are not remembered.

        The answer is complete in itself: what is remembered may be forgotten while the database is asked, and a name
        that is merely forgotten must never look like one that is not open.
        """
        wanted = frozenset(names)
        remembered = wanted & self._names
        missing = wanted - remembered
        if not missing:
            return remembered
        with database():
            rows = await self._pool.fetch("SELECT name FROM pm.tb_account_map WHERE name = ANY ($1)", list(missing))
        found = frozenset(row["name"] for row in rows)
        self.add(found)
        return remembered | found


async def open_beneficiaries(pool: Pool, ledger: Ledger, known: OpenAccounts, book: RuleBook) -> None:
    """Open the fee accounts that rules name, before they are in force: a missing account would refuse every intent.

    A name that is no account's refuses the intents of its rule, and keeps no orchestrator from starting.
    """
    fees: list[tuple[Account, str]] = []
    for name in sorted(book.beneficiaries):
        try:
            account = parse_account(name)
        except BadInput as error:
            _log.error("beneficiary_unusable", reason=error.code)
            continue
        if account.kind is AccountKind.FEE:
            fees.append((account, "paymesh"))
    await open_accounts(ledger, pool, known, fees)


def with_fixed(accounts: Iterable[Account]) -> list[Account]:
    """Return the accounts and, for each currency among them, the fixed accounts that every movement needs."""
    named = {account.name: account for account in accounts}
    for code in {account.currency.code for account in named.values()}:
        for name in (transit(code), equity(code)):
            named.setdefault(name, parse_account(name))
    return [named[name] for name in sorted(named)]


async def open_accounts(ledger: Ledger, pool: Pool, known: OpenAccounts, wanted: Sequence[tuple[Account, str]]) -> None:
    """Open accounts, each for the service key that asked; opening one again is harmless.

    Raises:
        InvariantViolation: the ledger has an account of that id with other contents.
        Transient, OutcomeUnknown: a store was out of reach; call again.
    """
    if not wanted:
        return
    asked_by = {account.name: service_key for account, service_key in wanted}
    accounts = [account for account in with_fixed(account for account, _ in wanted) if account.name not in known]
    if not accounts:
        return
    results = await ledger.create_accounts([ledger_account(account) for account in accounts])
    for account, result in zip(accounts, results, strict=True):
        if result.status not in _OPENED:
            violated(f"account {account.name} cannot be opened: {result.status.name}")
    with database():
        await pool.execute(
            statement("insert_accounts"),
            [account.name for account in accounts],
            [UUID(int=account.id) for account in accounts],
            [account.currency.number for account in accounts],
            [asked_by.get(account.name, "paymesh") for account in accounts],
        )
    known.add(account.name for account in accounts)
