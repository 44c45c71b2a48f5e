"""Who stands behind a proxy: every well-formed one has an invented account, always the same.

Unknown proxies and closed accounts are a matter of scenarios. This module must never invent a name that could be a
real customer's.
"""

import zlib
from typing import Final

from adapters.ipps.defects import BadQr
from adapters.ipps.emvco import decode
from adapters.ipps.payees import Bill, Transfer
from adapters.ipps.proxies import Proxy, ProxyKind
from adapters.sandbox.ipps.records import Payable

_BANKS: Final = ("002", "004", "006", "011", "014", "025")
_NAMES: Final = ("SOMCHAI T***", "SUDA P***", "ANAN K***", "MALEE S***", "PREECHA W***", "KANYA R***")
_BANK_CODE: Final = 3


class NotPayable(Exception):
    """Nobody can be paid so; `code` is the PSP's."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def payable(
    proxy_type: str, proxy_value: str, *, refs: tuple[str | None, str | None, str | None], amount_satang: int | None
) -> Payable:
    """Return who would be paid, and the only amount that will do, if there is one.

    Raises:
        NotPayable: INVALID_PROXY, INVALID_QR or AMOUNT_MISMATCH.
    """
    if proxy_type == "QR":
        return _of_code(proxy_value, amount_satang)
    try:
        if proxy_type == "BILLER":
            Bill(proxy_value, refs[0] or "", *refs[1:])
        else:
            Proxy(ProxyKind(proxy_type), proxy_value)
    except BadQr as error:
        raise NotPayable("INVALID_PROXY", error.code) from None
    return _account(proxy_type, proxy_value, amount_satang)


def _of_code(raw: str, amount_satang: int | None) -> Payable:
    try:
        code = decode(raw)
    except BadQr as error:
        raise NotPayable("INVALID_QR", error.code) from None
    if None not in (code.amount_satang, amount_satang) and code.amount_satang != amount_satang:
        raise NotPayable("AMOUNT_MISMATCH", "the code asks for another amount")
    only_amount = amount_satang if code.amount_satang is None else code.amount_satang
    match code.payee:
        case Transfer(proxy=proxy):
            return _account(proxy.kind, proxy.value, only_amount)
        case Bill(biller_id=biller):
            return _account("BILLER", biller, only_amount)
        case _:
            return _account("QR", raw, only_amount)


def _account(proxy_type: str, proxy_value: str, amount_satang: int | None) -> Payable:
    number = zlib.crc32(proxy_value.encode())
    own_bank = proxy_type == ProxyKind.BANK_ACCOUNT
    return Payable(
        proxy_type=proxy_type,
        proxy_value=proxy_value,
        bank_code=proxy_value[:_BANK_CODE] if own_bank else _BANKS[number % len(_BANKS)],
        account_name_masked=_NAMES[number // 7 % len(_NAMES)],
        amount_satang=amount_satang,
    )
