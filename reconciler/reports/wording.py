"""How a report names days, accounts and ages for people. Pure; English whatever the process's locale says."""

from datetime import date
from typing import Final

from reconciler.reports.standing import AGES_DAYS
from shared.accounts import AccountKind

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_WITHIN: Final = {
    AccountKind.TRANSIT: "In transit",
    AccountKind.FEE: "Fees",
    AccountKind.PSP: "Our money at",
    AccountKind.SUSPENSE: "Suspense at",
    AccountKind.LIQUIDITY: "Exchange book",
    AccountKind.EQUITY: "Equity",
}


def weekday(day: date) -> str:
    """Return three letters."""
    return WEEKDAYS[day.weekday()][:3]


def long_day(day: date) -> str:
    """Return it as in ``Saturday, 28 November 2026``."""
    return f"{WEEKDAYS[day.weekday()]}, {_plain(day)}"


def days_between(first: date, last: date) -> str:
    """Return two days of one week as in ``23 to 29 November 2026``."""
    if first.year != last.year:
        return f"{_plain(first)} to {_plain(last)}"
    if first.month != last.month:
        return f"{first.day} {_MONTHS[first.month - 1]} to {_plain(last)}"
    return f"{first.day} to {_plain(last)}"


def age(days_min: int) -> str:
    """Return a step of age as in ``3 to 7 days``."""
    place = AGES_DAYS.index(days_min)
    if place == len(AGES_DAYS) - 1:
        return f"over {days_min} days"
    return f"{days_min} to {AGES_DAYS[place + 1]} days" if days_min else "under a day"


def account_words(name: str) -> str:
    """Return what an account is, without its currency: ``All user wallets``, ``Our money at ipps``."""
    kind, *rest = name.split(":")
    if kind in (AccountKind.USER, AccountKind.MERCHANT):
        return f"All {kind} wallets"
    if kind not in _WITHIN:
        return name
    said = _WITHIN[AccountKind(kind)]
    if len(rest) == 1:
        return said
    return f"{said}: {rest[0]}" if kind == AccountKind.FEE else f"{said} {rest[0]}"


def operation_words(operation_type: str) -> str:
    """Return ``P2P transfer`` for ``P2P_TRANSFER``: capitals stay where they are a name's."""
    words = operation_type.split("_")
    said = [word if word in _NAMES else word.lower() for word in words]
    return " ".join([said[0] if said[0] in _NAMES else said[0].capitalize(), *said[1:]])


_NAMES: Final = frozenset({"P2P", "IPPS", "QP", "QR"})


def _plain(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"
