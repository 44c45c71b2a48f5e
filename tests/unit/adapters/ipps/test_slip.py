"""The small code on a transfer slip."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.crc import crc16_hex
from adapters.ipps.defects import BadQr, Defect
from adapters.ipps.slip import Slip, decode_slip, encode_slip

PUBLISHED = "004000060000010103002021900021231231212000115102TH91049C30"


def test_a_published_slip_is_read_and_written() -> None:
    """Bank 002, and its reference."""
    slip = Slip(bank_code="002", reference="0002123123121200011")
    assert decode_slip(PUBLISHED) == slip
    assert encode_slip(slip) == PUBLISHED


def test_checksums_as_careless_banks_write_them_are_read() -> None:
    """Lower case, and leading zeros gone."""
    assert decode_slip(PUBLISHED[:-4] + "9c30") == decode_slip(PUBLISHED)
    short = next(
        raw for number in range(100_000) if (raw := encode_slip(Slip("004", f"R{number:05d}")))[-4:].startswith("00")
    )
    digits = short[-4:].lstrip("0")
    assert decode_slip(f"{short[:-8]}91{len(digits):02d}{digits}") == decode_slip(short)


def framed(body: str) -> str:
    """The body with its checksum."""
    return f"{body}9104" + crc16_hex(f"{body}9104")


@pytest.mark.parametrize(
    ("raw", "defect"),
    [
        ("", Defect.EMPTY),
        ("9" * 513, Defect.TOO_LONG),
        (PUBLISHED.replace("TH", "TĦ"), Defect.NON_ASCII),
        (PUBLISHED[:-1], Defect.TRUNCATED),
        (PUBLISHED[:-8], Defect.MISSING_TAG),
        (PUBLISHED[:-4] + "9C31", Defect.BAD_CRC),
        (PUBLISHED + "5201X", Defect.MISPLACED_TAG),
        (framed("004000060000010103002021900021231231212000115102SG"), Defect.FOREIGN_COUNTRY),
        (framed("0021000600000101030020299" + "5102TH"), Defect.OVERLAPPING_LENGTH),
        (framed("0023000600000201030020202995102TH"), Defect.UNSUPPORTED_FORMAT),
        (framed("001700060000010103002" + "5102TH"), Defect.MISSING_TAG),
    ],
)
def test_a_malformed_slip_is_refused_with_the_name_of_its_defect(raw: str, defect: Defect) -> None:
    """The same error as for payment codes."""
    with pytest.raises(BadQr) as refused:
        decode_slip(raw)
    assert refused.value.defect is defect


@given(st.text(max_size=200) | st.text("0123456789", max_size=100))
def test_arbitrary_text_is_a_slip_or_refused(text: str) -> None:
    """Nothing but `BadQr` comes out."""
    with suppress(BadQr):
        decode_slip(text)


@given(st.text("0123456789", min_size=3, max_size=3), st.text("0123456789ABCabc", min_size=1, max_size=40))
def test_what_is_written_is_read_back(bank_code: str, reference: str) -> None:
    """Decoding inverts encoding."""
    slip = Slip(bank_code, reference)
    assert decode_slip(encode_slip(slip)) == slip
