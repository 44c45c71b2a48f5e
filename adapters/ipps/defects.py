"""What may be wrong with a Thai QR code, a proxy or an amount, and the one error that says so.

A code is stable: clients see it, tests match it, it never changes its meaning. This module must never quote what it
refuses: a QR code names a person's telephone or identity number.
"""

from enum import StrEnum

from shared.errors import BadInput


class Defect(StrEnum):
    """The code of a `BadQr`."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    NON_ASCII = "non_ascii"
    """A character outside printable ASCII."""
    BAD_TAG = "bad_tag"
    """Two digits were due where a tag begins."""
    BAD_LENGTH = "bad_length"
    """A length that is not 01 to 99, or not the one this tag has."""
    TRUNCATED = "truncated"
    """The code ends inside an element."""
    OVERLAPPING_LENGTH = "overlapping_length"
    """An element of a template reaches beyond its template."""
    DUPLICATE_TAG = "duplicate_tag"
    MISSING_TAG = "missing_tag"
    MISPLACED_TAG = "misplaced_tag"
    """The format is not the first element, or the CRC not the last."""
    UNSUPPORTED_FORMAT = "unsupported_format"
    BAD_CRC = "bad_crc"
    BAD_INITIATION = "bad_initiation"
    """Neither 11 (static) nor 12 (dynamic)."""
    FOREIGN_CURRENCY = "foreign_currency"
    FOREIGN_COUNTRY = "foreign_country"
    BAD_AMOUNT = "bad_amount"
    TOO_MANY_DECIMALS = "too_many_decimals"
    """The third decimal of an amount in baht."""
    ZERO_AMOUNT = "zero_amount"
    AMOUNT_OUT_OF_RANGE = "amount_out_of_range"
    AMOUNT_MISMATCH = "amount_mismatch"
    """The code asks for another amount than the request."""
    SURCHARGE = "surcharge"
    """The code asks for a tip or fee on top of its amount."""
    UNKNOWN_AID = "unknown_aid"
    """An application identifier that is not Thai QR payment."""
    AMBIGUOUS_PAYEE = "ambiguous_payee"
    """More than one payee."""
    BAD_PROXY = "bad_proxy"
    BAD_CHECK_DIGIT = "bad_check_digit"
    """A national identity number whose last digit does not follow from the others."""
    BAD_BILLER = "bad_biller"
    BAD_REFERENCE = "bad_reference"


class BadQr(BadInput):
    """The QR code, proxy or amount breaks a rule; `code` is a `Defect`."""

    code = "bad_qr"

    def __init__(self, defect: Defect, detail: str) -> None:
        super().__init__(detail, code=defect.value)
        self.defect = defect
