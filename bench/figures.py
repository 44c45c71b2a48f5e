"""Figures out of measurements: medians, spreads and percentiles. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

from shared.errors import require


@dataclass(frozen=True, slots=True)
class Spread:
    """What several rounds gave: the middle one and the extremes."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and greatest of at least one value."""
    require(values, "a spread of nothing")
    return Spread(median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the least value that `share` of all values do not exceed.

    Nearest rank, since a value between two measurements was never measured.
    """
    require(values and 0 < share <= 1, f"the {share} percentile of {len(values)} values")
    return sorted(values)[ceil(share * len(values)) - 1]


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """Return the ratio within each round: what disturbs a round disturbs both of its halves."""
    return [first / second for first, second in zip(of, to, strict=True)]
