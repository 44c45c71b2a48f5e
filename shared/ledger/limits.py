"""Limits as ledger accounts: whatever races, retries or crashes, no cap is ever exceeded by one unit.

An allowance is one account of the limits ledger, one for each holder, rule, measure and period. It is opened and
funded once, outside any chain, with the constant 2⁶², by a transfer that follows wholly from its name. An intent that
uses it carries three legs in its own chain:

1. debit what is used: a plain transfer, or a pending one where the money is held as well;
2. debit ``2⁶² - cap``, pending;
3. void that.

An account whose debits must not exceed its credits refuses the second leg exactly when more than the cap has been
used. The cap stands in the plan: a change of the rule needs no new funding, and takes effect with the next plan.
Whatever does not come about (a refused chain, a voided hold) has used nothing. Accounts in the ledger are never
deleted: each period costs 128 bytes there for each holder that was active in it.

This module must never decide which limits apply; that is `shared.rules.limits`.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import tigerbeetle as tb

from shared.errors import violated
from shared.ids import account_id
from shared.ledger.accounts import LIMITS_LEDGER, AccountCode
from shared.ledger.codes import LegCode
from shared.ledger.port import Ledger
from shared.plans import LimitUse

FUNDED: Final = 1 << 62
"""What every allowance is funded with; a cap lies below it."""
CAP_MAX: Final = FUNDED - 1
LIMITS_PER_PLAN_MAX: Final = 12
LEGS_A_LIMIT: Final = 3
ALLOWANCE_ID: Final = account_id("allowance:all")
"""The other side of every limit. ``allowance`` is no account kind, so no name of a person can ever open it."""

_REMEMBERED_MAX: Final = 1 << 17
_OPENED: Final = frozenset({tb.CreateAccountStatus.CREATED, tb.CreateAccountStatus.EXISTS})
_FUNDED: Final = frozenset({tb.CreateTransferStatus.CREATED, tb.CreateTransferStatus.EXISTS})
_ALLOWANCE: Final = tb.Account(id=ALLOWANCE_ID, ledger=LIMITS_LEDGER, code=AccountCode.ALLOWANCE)
_LINKED: Final = tb.TransferFlags.LINKED
_PENDING: Final = tb.TransferFlags.PENDING
_VOID: Final = tb.TransferFlags.VOID_PENDING_TRANSFER

id_of_limit: Final = lru_cache(maxsize=_REMEMBERED_MAX)(account_id)
"""Return the ledger's id of an allowance, from memory where it was needed before."""


def limit_account(name: str) -> tb.Account:
    """Return the allowance as the ledger opens it: always the same bytes for the same name."""
    return tb.Account(
        id=id_of_limit(name),
        ledger=LIMITS_LEDGER,
        code=AccountCode.LIMIT,
        flags=tb.AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS,
    )


def funding(name: str) -> tb.Transfer:
    """Return the transfer that funds an allowance; its id is the account's, which is a name's hash and no intent's."""
    account = id_of_limit(name)
    return tb.Transfer(
        id=account,
        debit_account_id=ALLOWANCE_ID,
        credit_account_id=account,
        amount=FUNDED,
        user_data_128=account,
        ledger=LIMITS_LEDGER,
        code=LegCode.LIMIT_FUND,
    )


def limit_legs(first_id: int, intent: int, uses: Sequence[LimitUse], *, pending: bool) -> list[tb.Transfer]:
    """Return the linked legs that use allowances, the last one unlinked.

    Args:
        first_id: the id of the first leg; the others count on from it.
        intent: whose they are.
        uses: what is used of which account, under which cap.
        pending: hold what is used instead of using it up.
    """
    legs: list[tb.Transfer] = []
    use_flags = _LINKED | _PENDING if pending else _LINKED
    for use in uses:
        if not 0 < use.units <= use.cap <= CAP_MAX:
            violated(f"limit {use.rule}: {use.units} of {use.cap} cannot be used")
        account, number = id_of_limit(use.account), first_id + len(legs)
        check = tb.Transfer(
            id=number + 1,
            debit_account_id=account,
            credit_account_id=ALLOWANCE_ID,
            amount=FUNDED - use.cap,
            user_data_128=intent,
            ledger=LIMITS_LEDGER,
            code=LegCode.LIMIT_CHECK,
            flags=_LINKED | _PENDING,
        )
        legs += (
            tb.Transfer(
                id=number,
                debit_account_id=account,
                credit_account_id=ALLOWANCE_ID,
                amount=use.units,
                user_data_128=intent,
                ledger=LIMITS_LEDGER,
                code=LegCode.LIMIT_USE,
                flags=use_flags,
            ),
            check,
            tb.Transfer(id=number + 2, pending_id=check.id, user_data_128=intent, flags=_LINKED | _VOID),
        )
    if legs:
        legs[-1].flags = _VOID
    return legs


def used_of(account: tb.Account) -> int:
    """Return how many units of an allowance are used or held."""
    return account.debits_posted + account.debits_pending


class LimitAccounts:
    """Opens and funds allowances before a chain needs them; remembers those that stand.

    An account that is missing would burn the chain's ids, so none is ever assumed to stand.
    """

    def __init__(self, *, ledger: Ledger, remembered_max: int = _REMEMBERED_MAX) -> None:
        self._ledger = ledger
        self._remembered_max = remembered_max
        self._standing: set[str] = set()

    async def ensure(self, names: Iterable[str]) -> None:
        """Make sure that the allowances of these names stand and are funded.

        Raises:
            OutcomeUnknown: no answer from the ledger; ensure again.
            InvariantViolation: the ledger has an account or a funding of that id with other contents.
        """
        missing = sorted(set(names) - self._standing)
        if not missing:
            return
        accounts = [_ALLOWANCE, *map(limit_account, missing)]
        for account, opened in zip(accounts, await self._ledger.create_accounts(accounts), strict=True):
            if opened.status not in _OPENED:
                violated(f"limit account {account.id:#034x} cannot be opened: {opened.status.name}")
        answers = await self._ledger.create_transfers([funding(name) for name in missing])
        for name, funded in zip(missing, answers, strict=True):
            if funded.status not in _FUNDED:
                violated(f"limit account {name} cannot be funded: {funded.status.name}")
        if len(self._standing) > self._remembered_max:
            self._standing.clear()
        self._standing.update(missing)
