"""Amounts for people: in every currency's own digits, and round steps for an axis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.reports.amounts import amount, round_up, short


@pytest.mark.parametrize(
    ("amount_minor", "exponent", "said"),
    [
        (123_456, 2, "1,234.56"),
        (-123_456, 2, "\u22121,234.56"),
        (5, 2, "0.05"),
        (-5, 3, "\u22120.005"),
        (1_234_567, 3, "1,234.567"),
        (1_234_567, 0, "1,234,567"),
        (0, 0, "0"),
        (0, 2, "0.00"),
        (1 << 62, 2, "46,116,860,184,273,879.04"),
    ],
)
def test_an_amount_has_its_currencys_digits(amount_minor: int, exponent: int, said: str) -> None:
    """Yen have none, dinars three; no digit is lost however large it is."""
    assert amount(amount_minor, exponent) == said


@pytest.mark.parametrize(
    ("amount_minor", "exponent", "said"),
    [(0, 2, "0"), (25, 2, "0.25"), (150_000, 2, "1.5k"), (250_000_000, 2, "2.5M"), (3 * 10**9, 0, "3B"), (7, 0, "7")],
)
def test_an_axis_has_little_room(amount_minor: int, exponent: int, said: str) -> None:
    """A thousand, a million, a billion."""
    assert short(amount_minor, exponent) == said


@given(st.integers(1, 1 << 80), st.integers(1, 10))
def test_an_axis_reaches_what_it_shows_and_little_more(top: int, parts: int) -> None:
    """The highest bar is not above it, and not lost at its foot either."""
    step = round_up(top, parts)
    assert top <= step * parts
    assert step == 1 or step * parts <= top * 2 + parts
