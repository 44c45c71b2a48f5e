"""SBP payment links, the content of SBP's QR codes.

::

    https://qr.nspk.ru/<qrcId>?type=02&bank=100000000007&sum=30510&cur=RUB&crc=B754

``qrcId`` has 32 characters; ``type`` is 01 for a static code (many payments, amount optional) and 02 for a dynamic one
(one payment, amount required); ``bank`` is the participant's twelve digits; ``sum`` is kopecks. ``crc`` is
CRC-16/CCITT-FALSE of the link from ``https://`` up to, and without, ``&crc=``. On static links some sites append
``sum`` after ``crc``, where nothing covers it. A bank's app is opened by the same link under the scheme
``bank<participant>``, with the checksum of the ``https`` form.

Reading keeps the raw string; parameters are never reordered. This module must never key anything on a static link:
each of its payments has an id of its own.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn

from adapters.crc import crc16_hex
from shared.errors import BadInput

LENGTH_MAX: Final = 512
_PREFIX: Final = "https://qr.nspk.ru/"
_HOST: Final = "qr.nspk.ru"
_SUBSCRIPTIONS: Final = "sub.nspk.ru"
_CURRENCY: Final = "RUB"
_CRC: Final = "&crc="
_LINK: Final = re.compile(r"(https|bank[0-9]{12})://([a-z0-9.-]+)/([^/?]*)\?(.*)")
_QRC_ID: Final = re.compile(r"[0-9A-Za-z]{32}")
_BANK: Final = re.compile(r"[0-9]{12}")
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,11}")
_CRC_DIGITS: Final = re.compile(r"[0-9A-F]{4}")


class LinkDefect(StrEnum):
    """The code of a `BadLink`: stable, matched by clients and tests."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    NON_ASCII = "non_ascii"
    NOT_A_LINK = "not_a_link"
    FOREIGN_HOST = "foreign_host"
    UNSUPPORTED_TYPE = "unsupported_type"
    BAD_QRC_ID = "bad_qrc_id"
    BAD_BANK = "bad_bank"
    BAD_PARAMETER = "bad_parameter"
    MISSING_PARAMETER = "missing_parameter"
    DUPLICATE_PARAMETER = "duplicate_parameter"
    UNCOVERED_PARAMETER = "uncovered_parameter"
    """A parameter after the checksum that does not belong there."""
    BAD_CRC = "bad_crc"
    BAD_AMOUNT = "bad_amount"
    FOREIGN_CURRENCY = "foreign_currency"


class BadLink(BadInput):
    """The link breaks a rule of SBP; `code` is a `LinkDefect`."""

    code = "bad_link"

    def __init__(self, defect: LinkDefect, detail: str) -> None:
        super().__init__(detail, code=defect.value)
        self.defect = defect


class LinkType(StrEnum):
    """How often a link may be paid."""

    STATIC = "01"
    DYNAMIC = "02"


@dataclass(frozen=True, slots=True)
class SbpLink:
    """A link that was read or built."""

    raw: str
    qrc_id: str
    type: LinkType
    bank: str
    amount_kopecks: int | None
    """None: a static link whose payer names the amount."""


def build(*, qrc_id: str, bank: str, amount_kopecks: int | None, dynamic: bool) -> SbpLink:
    """Build a link; a static one may name an amount, a dynamic one must.

    Raises:
        BadLink: BAD_QRC_ID, BAD_BANK, BAD_AMOUNT, or MISSING_PARAMETER for a dynamic link without an amount.
    """
    if not _QRC_ID.fullmatch(qrc_id):
        _refuse(LinkDefect.BAD_QRC_ID, "a qrcId has 32 letters and digits")
    if not _BANK.fullmatch(bank):
        _refuse(LinkDefect.BAD_BANK, "a participant has twelve digits")
    kind = LinkType.DYNAMIC if dynamic else LinkType.STATIC
    covered = f"{_PREFIX}{qrc_id}?type={kind.value}&bank={bank}"
    if amount_kopecks is not None:
        covered += f"&sum={amount_kopecks}&cur={_CURRENCY}"
    return parse(f"{covered}{_CRC}{crc16_hex(covered)}")


def deep_link(link: SbpLink, *, payer_bank: str) -> str:
    """Return the link that opens the app of the payer's bank.

    Raises:
        BadLink: BAD_BANK.
    """
    if not _BANK.fullmatch(payer_bank):
        _refuse(LinkDefect.BAD_BANK, "a participant has twelve digits")
    return f"bank{payer_bank}://{link.raw.partition('://')[2]}"


def parse(raw: str) -> SbpLink:
    """Read a link, in its ``https`` form or a bank's.

    Raises:
        BadLink: naming the defect.
    """
    if not raw:
        _refuse(LinkDefect.EMPTY, "there is no link")
    if len(raw) > LENGTH_MAX:
        _refuse(LinkDefect.TOO_LONG, f"a link has at most {LENGTH_MAX} characters")
    if not (raw.isascii() and raw.isprintable()):
        _refuse(LinkDefect.NON_ASCII, "a link is printable ASCII")
    match = _LINK.fullmatch(raw)
    if match is None:
        _refuse(LinkDefect.NOT_A_LINK, "not of the form https://qr.nspk.ru/<qrcId>?…")
    _scheme, host, qrc_id, query = match.groups()
    if host == _SUBSCRIPTIONS:
        _refuse(LinkDefect.UNSUPPORTED_TYPE, "subscriptions are not payments")
    if host != _HOST:
        _refuse(LinkDefect.FOREIGN_HOST, "not a link of SBP")
    if not _QRC_ID.fullmatch(qrc_id):
        _refuse(LinkDefect.BAD_QRC_ID, "a qrcId has 32 letters and digits")
    return _link(raw, qrc_id, query)


def _link(raw: str, qrc_id: str, query: str) -> SbpLink:
    covered, mark, rest = raw.partition(_CRC)
    if not mark:
        _refuse(LinkDefect.MISSING_PARAMETER, "crc is not there")
    given, more, after = rest.partition("&")
    _check_crc(covered, given)
    before = _parameters(query.partition(_CRC)[0])
    kind = _type(_needed(before, "type"))
    bank = _needed(before, "bank")
    if not _BANK.fullmatch(bank):
        _refuse(LinkDefect.BAD_BANK, "a participant has twelve digits")
    uncovered = _parameters(after) if more else {}
    if not uncovered.keys() <= ({"sum", "cur"} if kind is LinkType.STATIC else set()):
        _refuse(LinkDefect.UNCOVERED_PARAMETER, "after crc only a static link says anything, and only its amount")
    if before.keys() & uncovered.keys():
        _refuse(LinkDefect.DUPLICATE_PARAMETER, "a parameter stands before and after crc")
    return SbpLink(raw, qrc_id, kind, bank, _amount(before | uncovered, kind))


def _check_crc(covered: str, given: str) -> None:
    plain = f"https://{covered.partition('://')[2]}"
    if not _CRC_DIGITS.fullmatch(given) or given != crc16_hex(plain):
        _refuse(LinkDefect.BAD_CRC, "crc does not fit the link")


def _parameters(text: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for part in text.split("&"):
        name, mark, value = part.partition("=")
        if not (name and mark and value):
            _refuse(LinkDefect.BAD_PARAMETER, "a parameter is name=value")
        if name in parameters:
            _refuse(LinkDefect.DUPLICATE_PARAMETER, "a parameter occurs twice")
        parameters[name] = value
    return parameters


def _type(value: str) -> LinkType:
    try:
        return LinkType(value)
    except ValueError:
        _refuse(LinkDefect.UNSUPPORTED_TYPE, "type is neither 01 nor 02")


def _amount(parameters: dict[str, str], kind: LinkType) -> int | None:
    if "sum" not in parameters and kind is LinkType.STATIC:
        return None
    value = _needed(parameters, "sum")
    if not _AMOUNT.fullmatch(value):
        _refuse(LinkDefect.BAD_AMOUNT, "sum is kopecks, up to twelve digits")
    # `cur` may be left out where `sum` was appended to a static link; the scheme knows one currency.
    if parameters.get("cur", _CURRENCY if kind is LinkType.STATIC else "") != _CURRENCY:
        _refuse(LinkDefect.FOREIGN_CURRENCY, "cur is not RUB")
    return int(value)


def _needed(parameters: dict[str, str], name: str) -> str:
    if name not in parameters:
        _refuse(LinkDefect.MISSING_PARAMETER, f"{name} is not there")
    return parameters[name]


def _refuse(defect: LinkDefect, detail: str) -> NoReturn:
    raise BadLink(defect, detail)
