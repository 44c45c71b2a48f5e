"""Figures: nearest-rank percentiles, spreads, ratios within a round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import percentile, ratios, spread
from shared.errors import InvariantViolation


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (0.001, 1.0), (1.0, 100.0)], ids=["p50", "p99", "least", "most"]
)
def test_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    """The nearest rank of one hundred values is the value of that rank, in whatever order they came."""
    values = [float(value) for value in range(100, 0, -1)]

    assert percentile(values, share) == expected


@given(values=st.lists(st.floats(0, 1e6), min_size=1), share=st.floats(0.001, 1))
def test_percentile_leaves_its_share_at_or_below(values: list[float], share: float) -> None:
    """No smaller measured value has that many values at or below it."""
    found = percentile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values) + 1e-6


def test_spread_names_the_middle_and_the_extremes() -> None:
    """Median, least, greatest."""
    found = spread([3.0, 1.0, 2.0])

    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)


def test_ratios_compare_within_a_round_only() -> None:
    """A slow round is slow for both; comparing medians of different rounds would hide that."""
    assert ratios([1000.0, 4000.0], [2000.0, 8000.0]) == [0.5, 0.5]


def test_rounds_of_different_number_cannot_be_compared() -> None:
    """A missing half is a fault, not a shorter list."""
    with pytest.raises(ValueError, match="argument 2"):
        ratios([1.0, 2.0], [1.0])


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_percentile_that_cannot_be_is_refused(share: float) -> None:
    """Shares lie above nothing and at most at all."""
    with pytest.raises(InvariantViolation):
        percentile([1.0], share)
