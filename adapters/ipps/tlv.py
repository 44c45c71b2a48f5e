"""The elements of an EMVCo code: two digits of tag, two of length, then so many characters.

Lengths count characters and lie between 01 and 99. A template is an element whose value is elements again. This
module must never know what a tag means.

Source of the format: EMVCo, QR Code Specification for Payment Systems, Merchant-Presented Mode.
"""

from collections.abc import Iterable
from typing import Final

from adapters.ipps.defects import BadQr, Defect

Elements = dict[str, str]
"""Values by tag, in the order of the code."""

HEADER: Final = 4
VALUE_LENGTH_MAX: Final = 99
_TAG: Final = 2


def read(text: str, *, template: str | None = None) -> Elements:
    """Split a code, or the value of a template, into its elements.

    Args:
        text: what to split.
        template: the tag whose value it is; None for the code itself. Decides which defect an overrun is.

    Raises:
        BadQr: BAD_TAG, BAD_LENGTH, DUPLICATE_TAG, and TRUNCATED or OVERLAPPING_LENGTH.
    """
    elements: Elements = {}
    position = 0
    while position < len(text):
        tag, length = _header(text, position, template)
        start = position + HEADER
        position = start + length
        if position > len(text):
            raise _overrun(f"the value of tag {tag}", template)
        if tag in elements:
            raise BadQr(Defect.DUPLICATE_TAG, f"tag {tag} occurs twice{_inside(template)}")
        elements[tag] = text[start:position]
    return elements


def write(elements: Iterable[tuple[str, str]]) -> str:
    """Join elements into text.

    Raises:
        BadQr: BAD_LENGTH, for a value that is empty or longer than 99 characters; NON_ASCII; BAD_TAG.
    """
    return "".join(_element(tag, value) for tag, value in elements)


def _element(tag: str, value: str) -> str:
    if len(tag) != _TAG or not _is_number(tag):
        raise BadQr(Defect.BAD_TAG, "a tag has two digits")
    if not (value.isascii() and value.isprintable()):
        raise BadQr(Defect.NON_ASCII, f"the value of tag {tag} is not printable ASCII")
    if not 1 <= len(value) <= VALUE_LENGTH_MAX:
        raise BadQr(Defect.BAD_LENGTH, f"the value of tag {tag} has {len(value)} characters; 1 to 99 fit")
    return f"{tag}{len(value):02d}{value}"


def _header(text: str, position: int, template: str | None) -> tuple[str, int]:
    header = text[position : position + HEADER]
    if len(header) < HEADER:
        raise _overrun("the header of an element", template)
    tag, length = header[:_TAG], header[_TAG:]
    if not _is_number(tag):
        raise BadQr(Defect.BAD_TAG, f"no tag at character {position}{_inside(template)}")
    if not _is_number(length) or length == "00":
        raise BadQr(Defect.BAD_LENGTH, f"tag {tag} has no length between 01 and 99{_inside(template)}")
    return tag, int(length)


def _is_number(text: str) -> bool:
    # `isdigit` alone takes the digits of every script, and superscripts.
    return text.isascii() and text.isdigit()


def _overrun(what: str, template: str | None) -> BadQr:
    if template is None:
        return BadQr(Defect.TRUNCATED, f"the code ends inside {what}")
    return BadQr(Defect.OVERLAPPING_LENGTH, f"{what} reaches beyond template {template}")


def _inside(template: str | None) -> str:
    return "" if template is None else f" in template {template}"
