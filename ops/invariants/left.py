"""What is left over: intents, jobs and entries that nobody has finished, and alerts that nobody has closed."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from redis.asyncio import Redis

from ops.invariants.findings import EXAMPLES_MAX, Check, OpenAlert
from ops.statements import statement
from shared.db.pool import Pool
from shared.states import TERMINAL
from shared.streams import keys

STALE_AFTER: Final = timedelta(hours=1)
"""After this an unsent job of a decided intent is worth a line."""
_PAUSE_S: Final = 0.05
_COUNT_STATES: Final = "SELECT state, count(*) AS n FROM pm.intent GROUP BY state ORDER BY state"
_CRITICAL: Final = "critical"


@dataclass(frozen=True, slots=True)
class Left:
    """What is not finished at the moment."""

    states: dict[str, int]
    counts: dict[str, int]
    stale_jobs: int


@dataclass(frozen=True, slots=True)
class Alerts:
    """The open alerts, the critical first, and how many there are in all."""

    kept: tuple[OpenAlert, ...]
    critical: int
    total: int

    def count_by(self, check: Check) -> None:
        """Count every critical one as a violation."""
        check.examined = self.total
        for alert in self.kept:
            if alert.severity == _CRITICAL:
                intent = f" about intent {alert.intent_id}" if alert.intent_id is not None else ""
                check.violated(
                    alert.subject, f"{alert.kind}{intent}, seen {alert.seen} times, last {alert.last_at:%F %T}"
                )
        check.violations_total = self.critical


async def count_left(pool: Pool, redis: Redis, *, patience_s: float) -> Left:
    """Count what is left, again until there is nothing or patience ends: an entry outlives its intent for a moment."""
    deadline = time.monotonic() + patience_s
    while True:
        states = {row["state"]: row["n"] for row in await pool.fetch(_COUNT_STATES)}
        undecided = sum(count for state, count in states.items() if state not in TERMINAL)
        jobs = await pool.fetchrow(statement("invariants/count_jobs"), STALE_AFTER)
        unsent, stale = (jobs["unsent"], jobs["stale"]) if jobs is not None else (0, 0)
        entries, dead = await _streams(pool, redis)
        counts = {"open intents": undecided, "unsent jobs": unsent, "stream entries": entries, "dead letters": dead}
        if not any(counts.values()) or time.monotonic() >= deadline:
            return Left(states, counts, stale)
        await asyncio.sleep(_PAUSE_S)


async def open_alerts(pool: Pool) -> Alerts:
    """Return the alerts that nobody has closed."""
    rows = await pool.fetch(statement("invariants/open_alerts"), EXAMPLES_MAX)
    by_severity = await pool.fetch(
        "SELECT severity, count(*) AS n FROM pm.reconciliation_alert WHERE closed_at IS NULL GROUP BY severity"
    )
    counts = {row["severity"]: row["n"] for row in by_severity}
    return Alerts(tuple(OpenAlert(**dict(row)) for row in rows), counts.get(_CRITICAL, 0), sum(counts.values()))


async def _streams(pool: Pool, redis: Redis) -> tuple[int, int]:
    """Return how many entries stand in the work streams (delayed ones included), and how many are dead letters."""
    partitions = await pool.fetchval("SELECT partitions FROM pm.mesh") or 0
    psps = [row["psp"] for row in await pool.fetch("SELECT psp FROM pm.psp ORDER BY psp")]
    entries = dead = 0
    for stream in _work_streams(partitions, psps):
        entries += await redis.xlen(stream) + await redis.zcard(keys.delay(stream))
        dead += await redis.xlen(keys.dlq(stream))
    return entries, dead


def _work_streams(partitions: int, psps: list[str]) -> Iterator[str]:
    yield from map(keys.intents, range(partitions))
    for psp in psps:
        yield keys.jobs(psp)
        yield keys.results(psp)
