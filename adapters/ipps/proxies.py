"""The names by which PromptPay knows an account: mobile, national or tax ID, e-wallet, bank account.

A `Proxy` holds its value as it travels: digits only, a mobile as ``0066…`` in thirteen digits. The constructors take
what people type. Formats are checked; whether anybody answers to the name only a look-up can tell. This module must
never put a proxy into a message or a `repr`.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from adapters.ipps.defects import BadQr, Defect


class ProxyKind(StrEnum):
    """What kind of name a proxy is."""

    MOBILE = "MOBILE"
    NATIONAL_ID = "NATIONAL_ID"
    """A person's national ID, or a company's tax ID: thirteen digits both."""
    EWALLET = "EWALLET"
    BANK_ACCOUNT = "BANK_ACCOUNT"
    """Three digits of bank code, then the account."""


_FORMATS: Final = {
    ProxyKind.MOBILE: re.compile(r"[0-9]{13}"),
    ProxyKind.NATIONAL_ID: re.compile(r"[0-9]{13}"),
    ProxyKind.EWALLET: re.compile(r"[0-9]{15}"),
    ProxyKind.BANK_ACCOUNT: re.compile(r"[0-9]{3}[0-9A-Za-z]{1,40}"),
}
_SEPARATORS: Final = str.maketrans("", "", " -.()")
_DIGITS: Final = re.compile(r"[0-9]+")
_MOBILE: Final = re.compile(r"66[0-9]{9}")
_MOBILE_DIGITS: Final = 13
_NATIONAL_ID: Final = re.compile(r"[0-9]{13}")
_TRUEMONEY: Final = "14"
_BANK_CODE: Final = 3


@dataclass(frozen=True, slots=True)
class Proxy:
    """An account's name, in the form in which it travels.

    Raises:
        BadQr: BAD_PROXY, when the value is not of its kind's form.
    """

    kind: ProxyKind
    value: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a value that no code could carry."""
        if not _FORMATS[self.kind].fullmatch(self.value):
            raise BadQr(Defect.BAD_PROXY, f"not the form of a {self.kind} proxy")


def mobile(text: str) -> Proxy:
    """Return the proxy of a Thai mobile: ``080-123-4567``, ``+66 80 123 4567`` and ``0066801234567`` are one.

    Raises:
        BadQr: BAD_PROXY.
    """
    digits = _digits(text.strip().removeprefix("+"))
    if len(digits) == _MOBILE_DIGITS:
        # Already padded: a number as people write it is shorter.
        digits = digits.lstrip("0")
    elif digits.startswith("0"):
        digits = "66" + digits[1:]
    if not _MOBILE.fullmatch(digits):
        raise BadQr(Defect.BAD_PROXY, "a Thai mobile has nine digits after its 0 or 66")
    return Proxy(ProxyKind.MOBILE, digits.rjust(_MOBILE_DIGITS, "0"))


def national_id(text: str) -> Proxy:
    """Return the proxy of a national or tax ID, ``1-2345-67890-12-1`` with or without its dashes.

    The check digit is left to `check_national_id`: codes that violate it are in use.

    Raises:
        BadQr: BAD_PROXY.
    """
    return Proxy(ProxyKind.NATIONAL_ID, _digits(text))


def ewallet(text: str) -> Proxy:
    """Return the proxy of an e-wallet's fifteen digits.

    Raises:
        BadQr: BAD_PROXY.
    """
    return Proxy(ProxyKind.EWALLET, _digits(text))


def truemoney_wallet(mobile_text: str) -> Proxy:
    """Return the proxy of the TrueMoney wallet that belongs to a mobile.

    Raises:
        BadQr: BAD_PROXY.
    """
    return Proxy(ProxyKind.EWALLET, _TRUEMONEY + mobile(mobile_text).value)


def bank_account(bank_code: str, account: str) -> Proxy:
    """Return the proxy of an account at the bank of a three-digit code.

    Raises:
        BadQr: BAD_PROXY.
    """
    if len(bank_code) != _BANK_CODE:
        raise BadQr(Defect.BAD_PROXY, "a bank code has three digits")
    return Proxy(ProxyKind.BANK_ACCOUNT, bank_code + account.translate(_SEPARATORS))


def check_national_id(value: str) -> None:
    """Refuse thirteen digits that no authority handed out: the last one follows from the twelve before it.

    The weights run from 13 down to 2; the digit is what is missing to the next multiple of eleven, without its tens.

    Raises:
        BadQr: BAD_PROXY or BAD_CHECK_DIGIT.
    """
    if not _NATIONAL_ID.fullmatch(value):
        raise BadQr(Defect.BAD_PROXY, "a national ID has thirteen digits")
    total = sum(int(digit) * weight for digit, weight in zip(value[:12], range(13, 1, -1), strict=True))
    if (11 - total % 11) % 10 != int(value[12]):
        raise BadQr(Defect.BAD_CHECK_DIGIT, "the last digit of the national ID does not follow from the others")


def _digits(text: str) -> str:
    digits = text.strip().translate(_SEPARATORS)
    if not _DIGITS.fullmatch(digits):
        raise BadQr(Defect.BAD_PROXY, "a proxy is digits, with spaces, dashes, points and brackets between them")
    return digits
