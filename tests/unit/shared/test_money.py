"""Money: integers of one currency, and a table of currencies that ledgers can be numbered by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadInput, InvariantViolation
from shared.money import AMOUNT_MINOR_MAX, CURRENCIES, Currency, Money, check_amount, currency, currency_of_ledger

AMOUNT = st.integers(-(1 << 70), 1 << 70)
CURRENCY = st.sampled_from(sorted(CURRENCIES.values(), key=lambda entry: entry.number))


@given(AMOUNT, AMOUNT, CURRENCY)
def test_what_is_added_can_be_taken_away_again(one: int, other: int, unit: Currency) -> None:
    """No rounding, no overflow, no loss."""
    assert Money(one, unit) + Money(other, unit) - Money(other, unit) == Money(one, unit)


@given(AMOUNT, CURRENCY, CURRENCY)
def test_two_currencies_never_add_up(amount: int, unit: Currency, other: Currency) -> None:
    """A sum over currencies has no meaning, so it stops the process."""
    if unit == other:
        return
    with pytest.raises(InvariantViolation):
        Money(amount, unit) + Money(amount, other)
    with pytest.raises(InvariantViolation):
        Money(amount, unit) - Money(amount, other)


@given(AMOUNT, CURRENCY)
def test_what_people_read_is_the_exact_amount(amount: int, unit: Currency) -> None:
    """The text, without its point, is the number of minor units."""
    digits, code = str(Money(amount, unit)).split(" ")
    assert code == unit.code
    assert int(digits.replace(".", "")) == amount
    assert len(digits.partition(".")[2]) == unit.exponent


@pytest.mark.parametrize(
    ("amount", "code", "text"),
    [(123450, "THB", "1234.50 THB"), (-5, "THB", "-0.05 THB"), (7, "JPY", "7 JPY"), (1, "KWD", "0.001 KWD")],
)
def test_amounts_read_as_their_currency_is_written(amount: int, code: str, text: str) -> None:
    """Two, none and three digits; a small negative keeps its sign."""
    assert str(Money(amount, currency(code))) == text


@pytest.mark.parametrize("amount", [1.0, True, "1", None])
def test_only_an_integer_is_an_amount(amount: object) -> None:
    """A float or a bool here is somebody's rounding error."""
    with pytest.raises(InvariantViolation):
        Money(amount, currency("THB"))  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", [1, 2, AMOUNT_MINOR_MAX])
def test_amounts_within_bounds_may_be_moved(amount: int) -> None:
    """From one unit up to 2^62."""
    assert check_amount(amount) == amount


@pytest.mark.parametrize("amount", [-1, 0, AMOUNT_MINOR_MAX + 1])
def test_amounts_out_of_bounds_may_not_be_moved(amount: int) -> None:
    """Zero moves nothing, a negative amount moves backwards, more than 2^62 does not fit everywhere."""
    with pytest.raises(BadInput) as refusal:
        check_amount(amount)
    assert refusal.value.code == "amount_out_of_range"


def test_no_two_currencies_share_a_number() -> None:
    """The number is the ledger: two currencies in one would exchange at par."""
    numbers = [entry.number for entry in CURRENCIES.values()]
    assert len(set(numbers)) == len(numbers)


def test_no_currency_takes_the_ledgers_of_mesh_and_limits() -> None:
    """Numbers 1 and 2 are reserved."""
    assert min(entry.number for entry in CURRENCIES.values()) > 2


@given(CURRENCY)
def test_a_currency_is_found_by_code_and_by_ledger(unit: Currency) -> None:
    """Three letters, at most three digits, at most four decimals."""
    assert currency(unit.code) is currency_of_ledger(unit.number) is unit
    assert len(unit.code) == 3
    assert unit.code.isupper()
    assert unit.number < 1000
    assert unit.exponent in {0, 2, 3, 4}


@pytest.mark.parametrize("code", ["", "thb", "XXX", "THB ", "BGN", "ANG"])
def test_an_unknown_code_is_refused(code: str) -> None:
    """Lower case, no currency, and currencies that are no longer in use."""
    with pytest.raises(BadInput) as refusal:
        currency(code)
    assert refusal.value.code == "unknown_currency"


@pytest.mark.parametrize("number", [0, 1, 2, 999])
def test_an_unknown_ledger_is_refused(number: int) -> None:
    """The reserved ledgers hold no money."""
    with pytest.raises(BadInput):
        currency_of_ledger(number)
