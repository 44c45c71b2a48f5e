"""A worker's limits refuse what could not work."""

from typing import Any

import pytest

from shared.errors import InvariantViolation
from shared.streams.worker import WorkerSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_max": 0},
        {"batch_max": 257},
        {"batches_in_flight": 0},
        {"block_ms": 0},
        {"block_ms": 10_001},
        {"solo_max": 0},
        {"idle_ms": 2},
        {"hold_max_ms": 0},
    ],
)
def test_limits_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    """At the start, not at three in the morning."""
    with pytest.raises(InvariantViolation):
        WorkerSettings(**wrong)


def test_defaults_are_the_orchestrators() -> None:
    """Fifteen seconds without a beat, ten minutes of handler time."""
    settings = WorkerSettings()
    assert (settings.batch_max, settings.batches_in_flight) == (256, 2)
    assert (settings.idle_ms, settings.hold_max_ms, settings.solo_max) == (15_000, 600_000, 3)
