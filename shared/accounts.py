"""Account names: who may stand in the ledger, and what each kind of account promises.

A name is its kind, its parts and its currency, joined by colons, each part of ``[A-Za-z0-9_-]{1,64}`` so that no
two lists of parts can ever join to the same name (and so to the same hashed id)::

    user:<id>:<CCY>      a customer's wallet          debits must not exceed credits, history kept
    merchant:<id>:<CCY>  a merchant's wallet          the same
    transit:<CCY>        every movement passes it     zero after every chain
    fee:<name>:<CCY>     a fee's beneficiary
    psp:<psp>:<CCY>      our money at a PSP
    suspense:<psp>:<CCY> money no plan expected
    liquidity:<CCY>      the exchange book
    equity:<CCY>         the other side of adjustments
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import BadInput
from shared.ids import account_id
from shared.money import Currency, currency

_PART = re.compile(r"[A-Za-z0-9_-]{1,64}")


class AccountKind(StrEnum):
    """What an account is for; decides its parts, its flags and who may open it."""

    USER = "user"
    MERCHANT = "merchant"
    TRANSIT = "transit"
    FEE = "fee"
    PSP = "psp"
    SUSPENSE = "suspense"
    LIQUIDITY = "liquidity"
    EQUITY = "equity"


_WITHOUT_OWNER = frozenset({AccountKind.TRANSIT, AccountKind.LIQUIDITY, AccountKind.EQUITY})
CUSTOMER_KINDS = frozenset({AccountKind.USER, AccountKind.MERCHANT})


@dataclass(frozen=True, slots=True)
class Account:
    """A parsed account name."""

    name: str
    kind: AccountKind
    owner: str | None
    currency: Currency

    @property
    def id(self) -> int:
        """The ledger's 128-bit account id."""
        return account_id(self.name)

    @property
    def is_customer(self) -> bool:
        """Whether it is a wallet: limited to what it holds, and projected into the read model."""
        return self.kind in CUSTOMER_KINDS


def parse_account(name: str) -> Account:
    """Take an account name apart.

    Raises:
        BadInput: with code ``bad_account_name`` or ``unknown_currency``.
    """
    parts = name.split(":")
    try:
        kind = AccountKind(parts[0])
    except ValueError:
        kinds = ", ".join(AccountKind)
        raise BadInput(f"an account name starts with one of {kinds}", code="bad_account_name") from None
    expected = 2 if kind in _WITHOUT_OWNER else 3
    if len(parts) != expected or not all(_PART.fullmatch(part) for part in parts):
        shape = f"{kind}:<CCY>" if expected == 2 else f"{kind}:<id>:<CCY>"  # noqa: PLR2004
        raise BadInput(
            f"this account name must read {shape}, each part of A-Z a-z 0-9 _ - and 1 to 64 long",
            code="bad_account_name",
        )
    owner = parts[1] if expected == 3 else None  # noqa: PLR2004
    return Account(name, kind, owner, currency(parts[-1]))


def transit(ccy: str) -> str:
    """Name the account every movement in `ccy` passes."""
    return f"transit:{ccy}"


def equity(ccy: str) -> str:
    """Name the other side of adjustments in `ccy`."""
    return f"equity:{ccy}"


def at_psp(psp: str, ccy: str) -> str:
    """Name our money at a PSP."""
    return f"psp:{psp}:{ccy}"


def suspense(psp: str, ccy: str) -> str:
    """Name the account of money at a PSP that no plan accounts for."""
    return f"suspense:{psp}:{ccy}"
