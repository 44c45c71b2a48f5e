"""Baht as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ipps.amounts import AMOUNT_SATANG_MAX, format_satang, parse_satang
from adapters.ipps.defects import BadQr


@given(st.integers(1, AMOUNT_SATANG_MAX))
def test_an_amount_survives_its_text(satang: int) -> None:
    """Two decimals always, and back without a loss."""
    text = format_satang(satang)
    assert text[-3] == "."
    assert len(text) <= 13
    assert parse_satang(text) == satang


@given(st.text(max_size=20) | st.text("0123456789.", max_size=16))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    """Nothing but `BadQr` comes out, and what is read lies within bounds."""
    try:
        satang = parse_satang(text)
    except BadQr:
        return
    assert 1 <= satang <= AMOUNT_SATANG_MAX


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1.005", "too_many_decimals"),
        ("0", "zero_amount"),
        ("", "bad_amount"),
        ("1\n", "bad_amount"),
        ("\uff11", "bad_amount"),
    ],
)
def test_refusals_name_the_defect(text: str, code: str) -> None:
    """A trailing line feed and the digits of other scripts are no amounts."""
    with pytest.raises(BadQr) as refused:
        parse_satang(text)
    assert refused.value.code == code
