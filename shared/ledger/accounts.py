"""How a named account stands in the ledger: its number, its flags and its code.

==========  ====  =============================================================================
kind        code  flags
==========  ====  =============================================================================
user        1     debits must not exceed credits, history
merchant    2     debits must not exceed credits, history
transit     3     none: zero after every chain, checked by the reconciler
fee         4     none
psp         5     none: our money at a PSP, may stand on either side
suspense    6     none
liquidity   7     none
equity      8     none: the other side of adjustments, may stand on either side
mesh        100   none; in the mesh ledger only
limit       101   debits must not exceed credits; in the limits ledger only (see `shared.ledger.limits`)
allowance   102   none: the other side of every limit; in the limits ledger only
==========  ====  =============================================================================

A ledger number is the ISO 4217 numeric code of its currency. Numbers 1 and 2 name no currency and belong to the
mesh's own counter and to limits. An account's id is the hash of its name (see `shared.ids.account_id`).

This module must never open an account by itself.
"""

from enum import IntEnum
from typing import Final

import tigerbeetle as tb

from shared.accounts import Account, AccountKind
from shared.ids import account_id

MESH_LEDGER: Final = 1
"""Where the mesh's own account and its ticks live; no currency has this number."""
LIMITS_LEDGER: Final = 2
"""Reserved for limit accounts; no currency has this number."""

NEVER_OPENED_ID: Final = account_id("never:opened")
"""The debit account of a burn. ``never`` is no account kind, so no name can ever open it."""
NEVER_CREDITED_ID: Final = account_id("never:credited")
"""The credit account of a burn, for the same reason."""


class AccountCode(IntEnum):
    """The `code` of every account: its kind, final once used."""

    USER = 1
    MERCHANT = 2
    TRANSIT = 3
    FEE = 4
    PSP = 5
    SUSPENSE = 6
    LIQUIDITY = 7
    EQUITY = 8
    MESH = 100
    LIMIT = 101
    ALLOWANCE = 102


_CODES: Final[dict[AccountKind, AccountCode]] = {kind: AccountCode[kind.name] for kind in AccountKind}
_WALLET_FLAGS: Final = tb.AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS | tb.AccountFlags.HISTORY


def ledger_account(account: Account) -> tb.Account:
    """Return the account as the ledger opens it: always the same bytes for the same name."""
    return tb.Account(
        id=account.id,
        ledger=account.currency.number,
        code=_CODES[account.kind],
        flags=_WALLET_FLAGS if account.is_customer else tb.AccountFlags.NONE,
    )
