"""Whom a Thai QR code pays: the merchant account templates 29, 30 and 31.

====  =====================  ===============================================================================
tag   application            what it holds
====  =====================  ===============================================================================
29    A000000677010111       a PromptPay proxy: 01 mobile, 02 national or tax ID, 03 e-wallet, 04 bank account
29    A000000677010114       the same with a one-time code in 05
30    A000000677010112       a bill: 01 biller, 02 reference 1, 03 reference 2
30    A000000677012006       the same across a border
31    A000000677010113       "payment innovation"; sources differ about the rest, so it is carried as it is
31    A000000677012004       the same
====  =====================  ===============================================================================

Real codes carry 30 and 31 side by side for one merchant: the bill is then the payee. A code that names a proxy and a
bill names nobody. This module must never guess between two payees.
"""

import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from adapters.ipps import tlv
from adapters.ipps.defects import BadQr, Defect
from adapters.ipps.proxies import Proxy, ProxyKind

TRANSFER: Final = "29"
BILL: Final = "30"
INNOVATION: Final = "31"

_AID: Final = "00"
_TRANSFER_AID: Final = "A000000677010111"
_TRANSFER_AID_ONE_TIME: Final = "A000000677010114"
_BILL_AID: Final = "A000000677010112"
_BILL_AID_CROSS_BORDER: Final = "A000000677012006"
_AIDS: Final = {
    TRANSFER: (_TRANSFER_AID, _TRANSFER_AID_ONE_TIME),
    BILL: (_BILL_AID, _BILL_AID_CROSS_BORDER),
    INNOVATION: ("A000000677010113", "A000000677012004"),
}
_PROXY_KINDS: Final = {
    "01": ProxyKind.MOBILE,
    "02": ProxyKind.NATIONAL_ID,
    "03": ProxyKind.EWALLET,
    "04": ProxyKind.BANK_ACCOUNT,
}
_PROXY_TAGS: Final = {kind: tag for tag, kind in _PROXY_KINDS.items()}
_ONE_TIME_CODE: Final = "05"
_BILLER, _REF1, _REF2 = "01", "02", "03"
_BILLER_ID: Final = re.compile(r"[0-9]{13}(?:[0-9]{2})?")
_REFERENCE: Final = re.compile(r"[ -~]{1,20}")
_TERMINAL_LABEL: Final = re.compile(r"[ -~]{1,25}")
_ONE_TIME: Final = re.compile(r"[0-9A-Za-z]{10}")


@dataclass(frozen=True, slots=True)
class Transfer:
    """Tag 29: a credit transfer to a proxy; `one_time_code` makes it another application.

    Raises:
        BadQr: BAD_REFERENCE, for a one-time code that is not ten letters or digits.
    """

    proxy: Proxy
    one_time_code: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse a one-time code of another form."""
        if self.one_time_code is not None and not _ONE_TIME.fullmatch(self.one_time_code):
            raise BadQr(Defect.BAD_REFERENCE, "a one-time code has ten letters or digits")


@dataclass(frozen=True, slots=True)
class Bill:
    """Tag 30: a bill of a biller (13-digit tax ID, usually with a 2-digit suffix).

    `ref3` travels in tag 62, as the terminal's label, and may have its 25 characters.

    Raises:
        BadQr: BAD_BILLER or BAD_REFERENCE.
    """

    biller_id: str
    ref1: str = field(repr=False)
    ref2: str | None = field(default=None, repr=False)
    ref3: str | None = field(default=None, repr=False)
    cross_border: bool = False

    def __post_init__(self) -> None:
        """Refuse what no code could carry."""
        if not _BILLER_ID.fullmatch(self.biller_id):
            raise BadQr(Defect.BAD_BILLER, "a biller ID has 13 or 15 digits")
        for number, reference in ((1, self.ref1), (2, self.ref2)):
            if reference is not None and not _REFERENCE.fullmatch(reference):
                raise BadQr(Defect.BAD_REFERENCE, f"reference {number} has 1 to 20 printable characters")
        if self.ref3 is not None and not _TERMINAL_LABEL.fullmatch(self.ref3):
            raise BadQr(Defect.BAD_REFERENCE, "reference 3 has 1 to 25 printable characters")


@dataclass(frozen=True, slots=True)
class Innovation:
    """Tag 31, opaque: `elements` are its sub-tags with their values, the application in front."""

    elements: tuple[tuple[str, str], ...] = field(repr=False)


Payee: TypeAlias = Transfer | Bill | Innovation


def read_payee(elements: tlv.Elements, ref3: str | None) -> Payee:
    """Return whom the code's elements pay.

    Raises:
        BadQr: MISSING_TAG, AMBIGUOUS_PAYEE, UNKNOWN_AID, or what is wrong inside the template.
    """
    templates = {tag: _template(tag, elements[tag]) for tag in _AIDS if tag in elements}
    if TRANSFER in templates and BILL in templates:
        raise BadQr(Defect.AMBIGUOUS_PAYEE, "the code names both a proxy and a bill")
    if TRANSFER in templates:
        return _transfer(templates[TRANSFER])
    if BILL in templates:
        return _bill(templates[BILL], ref3)
    if INNOVATION in templates:
        return Innovation(tuple(templates[INNOVATION].items()))
    raise BadQr(Defect.MISSING_TAG, "none of the tags 29, 30 and 31 is there")


def write_payee(payee: Payee) -> tuple[str, str]:
    """Return the tag and the value of the payee's template.

    Raises:
        BadQr: BAD_LENGTH or UNKNOWN_AID, which only an `Innovation` of one's own making can cause.
    """
    match payee:
        case Transfer(proxy=proxy, one_time_code=code):
            inner = [(_AID, _TRANSFER_AID if code is None else _TRANSFER_AID_ONE_TIME)]
            inner.append((_PROXY_TAGS[proxy.kind], proxy.value))
            return TRANSFER, tlv.write(inner + ([] if code is None else [(_ONE_TIME_CODE, code)]))
        case Bill():
            aid = _BILL_AID_CROSS_BORDER if payee.cross_border else _BILL_AID
            inner = [(_AID, aid), (_BILLER, payee.biller_id), (_REF1, payee.ref1)]
            return BILL, tlv.write(inner + ([] if payee.ref2 is None else [(_REF2, payee.ref2)]))
        case Innovation():
            value = tlv.write(payee.elements)
            _template(INNOVATION, value)
            return INNOVATION, value


def _template(tag: str, value: str) -> tlv.Elements:
    inner = tlv.read(value, template=tag)
    if _AID not in inner:
        raise BadQr(Defect.MISSING_TAG, f"template {tag} names no application")
    if inner[_AID] not in _AIDS[tag]:
        raise BadQr(Defect.UNKNOWN_AID, f"template {tag} is of an unknown application")
    return inner


def _transfer(inner: tlv.Elements) -> Transfer:
    tags = [tag for tag in _PROXY_KINDS if tag in inner]
    if not tags:
        raise BadQr(Defect.MISSING_TAG, "template 29 names no proxy")
    if len(tags) > 1:
        raise BadQr(Defect.AMBIGUOUS_PAYEE, "template 29 names more than one proxy")
    one_time = inner[_AID] == _TRANSFER_AID_ONE_TIME
    if one_time and _ONE_TIME_CODE not in inner:
        raise BadQr(Defect.MISSING_TAG, "template 29 names no one-time code, though its application needs one")
    if not one_time and _ONE_TIME_CODE in inner:
        raise BadQr(Defect.UNKNOWN_AID, "template 29 names a one-time code, though its application has none")
    return Transfer(Proxy(_PROXY_KINDS[tags[0]], inner[tags[0]]), inner.get(_ONE_TIME_CODE))


def _bill(inner: tlv.Elements, ref3: str | None) -> Bill:
    for tag, name in ((_BILLER, "biller"), (_REF1, "reference 1")):
        if tag not in inner:
            raise BadQr(Defect.MISSING_TAG, f"template 30 names no {name}")
    return Bill(
        biller_id=inner[_BILLER],
        ref1=inner[_REF1],
        ref2=inner.get(_REF2),
        ref3=ref3,
        cross_border=inner[_AID] == _BILL_AID_CROSS_BORDER,
    )
