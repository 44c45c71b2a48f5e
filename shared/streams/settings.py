"""The limits of a worker; everything it does has one."""

from dataclasses import dataclass
from typing import Final

from shared.errors import require
from shared.streams.client import BLOCK_MS_MAX
from shared.streams.verdicts import ENTRIES_MAX

BEATS_PER_IDLE: Final = 3
"""How many heartbeats an entry gets in the time after which it would count as abandoned."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Limits of one worker.

    Attributes:
        batch_max: entries handed to the handler at once.
        batches_in_flight: handler calls at once, redeliveries included.
        idle_ms: after this long without a beat anybody may take an entry over; beaten three times as often.
        hold_max_ms: how long one handler call may take.
        block_ms: how long one read waits; shutdown may wait as long.
        solo_max: runs alone, ended by crash or error, before an entry is dead-lettered.
        drain_timeout_ms: how long shutdown waits for handlers.
        reclaim_ms: longest pause between looks for abandoned entries (otherwise half of `idle_ms`).
        promote_ms: longest pause between looks for due retries.
        pause_ms_max: longest pause after an outage of a dependency; the first is about a fiftieth of it.
    """

    batch_max: int = ENTRIES_MAX
    batches_in_flight: int = 2
    idle_ms: int = 15_000
    hold_max_ms: int = 600_000
    block_ms: int = 2_000
    solo_max: int = 3
    drain_timeout_ms: int = 10_000
    reclaim_ms: int = 2_000
    promote_ms: int = 1_000
    pause_ms_max: int = 5_000

    def __post_init__(self) -> None:
        require(0 < self.batch_max <= ENTRIES_MAX, f"batch_max outside 1..{ENTRIES_MAX}: {self.batch_max}")
        require(0 < self.block_ms <= BLOCK_MS_MAX, f"block_ms outside 1..{BLOCK_MS_MAX}: {self.block_ms}")
        require(self.batches_in_flight > 0 and self.solo_max > 0, "a worker that may do nothing")
        require(self.idle_ms >= BEATS_PER_IDLE and self.hold_max_ms > 0, "a worker that cannot hold anything")
