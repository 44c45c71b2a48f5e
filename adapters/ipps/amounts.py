"""Baht as text, and back: integer satang inside, never a float.

Two decimals are written; one, two or none are read. This module must never round: a third decimal is somebody's
error, and refused even when it is zero.
"""

import re
from typing import Final

from adapters.ipps.defects import BadQr, Defect

AMOUNT_SATANG_MAX: Final = 999_999_999_999
"""Ten digits of baht and two of satang: the thirteen characters of an amount in a code."""
_SATANG_PER_BAHT: Final = 100
_AMOUNT: Final = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,2}))?")
_MORE_DECIMALS: Final = re.compile(r"[0-9]{1,10}\.[0-9]{3,}")


def parse_satang(text: str) -> int:
    """Read ``123``, ``123.4`` or ``123.45`` baht as satang.

    Raises:
        BadQr: TOO_MANY_DECIMALS, BAD_AMOUNT or ZERO_AMOUNT.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        if _MORE_DECIMALS.fullmatch(text):
            raise BadQr(Defect.TOO_MANY_DECIMALS, "an amount in baht has at most two decimals")
        raise BadQr(Defect.BAD_AMOUNT, "an amount is up to ten digits, and up to two more after a point")
    satang = int(match[1]) * _SATANG_PER_BAHT + int((match[2] or "").ljust(2, "0"))
    if satang == 0:
        raise BadQr(Defect.ZERO_AMOUNT, "an amount is more than nothing")
    return satang


def format_satang(amount_satang: int) -> str:
    """Write satang as baht with two decimals, as in ``123.45``.

    Raises:
        BadQr: AMOUNT_OUT_OF_RANGE, outside 0.01 to 9,999,999,999.99 baht.
    """
    if not 1 <= amount_satang <= AMOUNT_SATANG_MAX:
        raise BadQr(Defect.AMOUNT_OUT_OF_RANGE, "an amount lies between 0.01 and 9,999,999,999.99 baht")
    whole, rest = divmod(amount_satang, _SATANG_PER_BAHT)
    return f"{whole}.{rest:02d}"
