"""The small QR code on a Thai transfer slip: which bank sent the money, and under which reference.

::

    00 template: 00 "000001", 01 bank (3 digits), 02 the bank's reference
    51 "TH"
    91 CRC-16/CCITT-FALSE of everything before it, "9104" included

Some banks write the checksum without its leading zeros, some in lower case: both are read. A slip is something a
payer shows; this module must never be taken for evidence of a payment.
"""

from dataclasses import dataclass
from typing import Final

from adapters.crc import crc16_hex
from adapters.ipps import tlv
from adapters.ipps.defects import BadQr, Defect
from adapters.ipps.emvco import LENGTH_MAX

_SLIP, _COUNTRY, _CRC = "00", "51", "91"
_API, _BANK, _REFERENCE = "00", "01", "02"
_API_SLIP: Final = "000001"
_THAILAND: Final = "TH"
_CRC_LENGTH: Final = 4


@dataclass(frozen=True, slots=True)
class Slip:
    """What a slip claims: `bank_code` sent it, and calls it `reference`."""

    bank_code: str
    reference: str


def decode_slip(raw: str) -> Slip:
    """Read a slip's code.

    Raises:
        BadQr: naming the defect.
    """
    if not raw:
        raise BadQr(Defect.EMPTY, "there is no code")
    if len(raw) > LENGTH_MAX:
        raise BadQr(Defect.TOO_LONG, f"a code has at most {LENGTH_MAX} characters")
    if not (raw.isascii() and raw.isprintable()):
        raise BadQr(Defect.NON_ASCII, "a code is printable ASCII")
    elements = tlv.read(raw)
    for tag in (_SLIP, _COUNTRY, _CRC):
        if tag not in elements:
            raise BadQr(Defect.MISSING_TAG, f"tag {tag} is not there")
    if list(elements)[-1] != _CRC:
        raise BadQr(Defect.MISPLACED_TAG, "tag 91 comes last")
    _check_crc(raw, elements[_CRC])
    if elements[_COUNTRY] != _THAILAND:
        raise BadQr(Defect.FOREIGN_COUNTRY, "the country is not Thailand")
    return _slip(tlv.read(elements[_SLIP], template=_SLIP))


def encode_slip(slip: Slip) -> str:
    """Write a slip's code, as a bank would print it.

    Raises:
        BadQr: BAD_LENGTH.
    """
    inner = tlv.write([(_API, _API_SLIP), (_BANK, slip.bank_code), (_REFERENCE, slip.reference)])
    body = f"{tlv.write([(_SLIP, inner), (_COUNTRY, _THAILAND)])}{_CRC}{_CRC_LENGTH:02d}"
    return body + crc16_hex(body)


def _check_crc(raw: str, given: str) -> None:
    # The checksum was computed before its zeros were dropped, so over a length of four in any case.
    covered = f"{raw[: -len(given) - tlv.HEADER]}{_CRC}{_CRC_LENGTH:02d}"
    if given.upper().rjust(_CRC_LENGTH, "0") != crc16_hex(covered):
        raise BadQr(Defect.BAD_CRC, "the checksum does not fit the code")


def _slip(inner: tlv.Elements) -> Slip:
    for tag in (_API, _BANK, _REFERENCE):
        if tag not in inner:
            raise BadQr(Defect.MISSING_TAG, f"template 00 has no tag {tag}")
    if inner[_API] != _API_SLIP:
        raise BadQr(Defect.UNSUPPORTED_FORMAT, "not the code of a transfer slip")
    return Slip(bank_code=inner[_BANK], reference=inner[_REFERENCE])
