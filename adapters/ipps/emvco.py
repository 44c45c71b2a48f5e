"""Thai QR codes: what a scanned code asks for, and the code that asks for it.

The code is EMVCo merchant-presented mode with Thai templates (see `adapters.ipps.payees`). Tag 00 comes first and 63,
the checksum, last; between them real encoders agree on no order, so none is asked for. Reading keeps the raw string:
codes are compared, stored and handed on as they were scanned, never as we would have written them. That a code is
dynamic (12) does not mean that it can be paid only once.

::

    00 format 01         53 currency 764        62 additional data, template; 07 is a bill's reference 3
    01 11 | 12           54 amount in baht      63 CRC-16/CCITT-FALSE of everything before it, "6304" included
    29 30 31 payee       58 country TH          59 merchant's name; whatever else there is, is carried along

This module must never let anything but `BadQr` out of `decode`, whatever the text.
"""

from dataclasses import dataclass, field
from typing import Final

from adapters.crc import crc16_hex
from adapters.ipps import tlv
from adapters.ipps.amounts import format_satang, parse_satang
from adapters.ipps.defects import BadQr, Defect
from adapters.ipps.payees import Bill, Payee, read_payee, write_payee

LENGTH_MAX: Final = 512
"""EMVCo's bound on the whole code."""

_FORMAT, _INITIATION, _CURRENCY, _AMOUNT, _TIP = "00", "01", "53", "54", "55"
_COUNTRY, _NAME, _ADDITIONAL, _CRC = "58", "59", "62", "63"
_TERMINAL: Final = "07"
_FORMAT_1: Final = "01"
_STATIC, _DYNAMIC = "11", "12"
_BAHT: Final = "764"
_THAILAND: Final = "TH"
_CRC_HEADER: Final = _CRC + "04"
_CRC_LENGTH: Final = 4
_REQUIRED: Final = (_FORMAT, _CURRENCY, _COUNTRY, _CRC)


@dataclass(frozen=True, slots=True)
class ThaiQr:
    """A code that was read: whom to pay, and how much where the code says so."""

    raw: str = field(repr=False)
    """The code as it was scanned, byte for byte."""
    payee: Payee
    amount_satang: int | None
    """None: the payer names the amount."""
    dynamic: bool
    merchant_name: str | None = field(repr=False)
    additional: tuple[tuple[str, str], ...] = field(repr=False)
    """The sub-tags of tag 62 with their values."""


def decode(raw: str) -> ThaiQr:
    """Read a scanned code.

    Raises:
        BadQr: naming the defect; structure is looked at first, then the checksum, then the meaning.
    """
    elements = _checked_elements(raw)
    _check_terms(elements)
    additional = tlv.read(elements[_ADDITIONAL], template=_ADDITIONAL) if _ADDITIONAL in elements else {}
    return ThaiQr(
        raw=raw,
        payee=read_payee(elements, additional.get(_TERMINAL)),
        amount_satang=parse_satang(elements[_AMOUNT]) if _AMOUNT in elements else None,
        dynamic=elements.get(_INITIATION) == _DYNAMIC,
        merchant_name=elements.get(_NAME),
        additional=tuple(additional.items()),
    )


def encode(payee: Payee, *, amount_satang: int | None = None, dynamic: bool | None = None) -> str:
    """Write a code.

    Args:
        payee: whom it pays.
        amount_satang: how much; None leaves it to the payer.
        dynamic: whether it says so; by default it does when it names an amount, as banks expect.

    Raises:
        BadQr: AMOUNT_OUT_OF_RANGE or BAD_LENGTH.
    """
    says_dynamic = amount_satang is not None if dynamic is None else dynamic
    elements = [
        (_FORMAT, _FORMAT_1),
        (_INITIATION, _DYNAMIC if says_dynamic else _STATIC),
        write_payee(payee),
        (_CURRENCY, _BAHT),
    ]
    if amount_satang is not None:
        elements.append((_AMOUNT, format_satang(amount_satang)))
    elements.append((_COUNTRY, _THAILAND))
    if isinstance(payee, Bill) and payee.ref3 is not None:
        elements.append((_ADDITIONAL, tlv.write([(_TERMINAL, payee.ref3)])))
    body = tlv.write(elements) + _CRC_HEADER
    return body + crc16_hex(body)


def amount_to_pay(code: ThaiQr, requested_satang: int) -> int:
    """Return the amount a payment of this code moves: the one requested, unless the code asks for another.

    Raises:
        BadQr: AMOUNT_MISMATCH.
    """
    if code.amount_satang is not None and code.amount_satang != requested_satang:
        raise BadQr(Defect.AMOUNT_MISMATCH, "the code asks for another amount than the request")
    return requested_satang


def _checked_elements(raw: str) -> tlv.Elements:
    """Return the elements of a code whose form and checksum are right."""
    if not raw:
        raise BadQr(Defect.EMPTY, "there is no code")
    if len(raw) > LENGTH_MAX:
        raise BadQr(Defect.TOO_LONG, f"a code has at most {LENGTH_MAX} characters")
    if not (raw.isascii() and raw.isprintable()):
        raise BadQr(Defect.NON_ASCII, "a code is printable ASCII")
    elements = tlv.read(raw)
    for tag in _REQUIRED:
        if tag not in elements:
            raise BadQr(Defect.MISSING_TAG, f"tag {tag} is not there")
    tags = list(elements)
    if tags[0] != _FORMAT or tags[-1] != _CRC:
        raise BadQr(Defect.MISPLACED_TAG, "tag 00 comes first and tag 63 last")
    if elements[_FORMAT] != _FORMAT_1:
        raise BadQr(Defect.UNSUPPORTED_FORMAT, "tag 00 says another format than 01")
    if len(elements[_CRC]) != _CRC_LENGTH:
        raise BadQr(Defect.BAD_LENGTH, "the checksum has four characters")
    if crc16_hex(raw[:-_CRC_LENGTH]) != elements[_CRC]:
        raise BadQr(Defect.BAD_CRC, "the checksum does not fit the code")
    return elements


def _check_terms(elements: tlv.Elements) -> None:
    """Refuse a code that asks for anything but its amount in baht in Thailand."""
    if elements.get(_INITIATION, _STATIC) not in (_STATIC, _DYNAMIC):
        raise BadQr(Defect.BAD_INITIATION, "tag 01 is neither 11 nor 12")
    if elements[_CURRENCY] != _BAHT:
        raise BadQr(Defect.FOREIGN_CURRENCY, "the currency is not the baht")
    if elements[_COUNTRY] != _THAILAND:
        raise BadQr(Defect.FOREIGN_COUNTRY, "the country is not Thailand")
    if _TIP in elements:
        # Paying the bare amount would leave the payee short, and whoever checks the books with a break.
        raise BadQr(Defect.SURCHARGE, "the code asks for a tip or a fee on top")
