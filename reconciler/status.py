"""How reconciliation stands: how far every walk has come, how far it lags, and what is open.

This module must never change anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from reconciler.cursor import Position, read_cursor
from reconciler.kinds import KINDS, BreakKind, Severity
from reconciler.walks import Walk
from shared.db.failures import database
from shared.db.pool import Pool

_OPEN = """
SELECT kind, count(*) AS n, min(first_at) AS oldest FROM pm.reconciliation_break WHERE state = 'OPEN' GROUP BY kind
"""


@dataclass(frozen=True, slots=True)
class WalkStatus:
    """How far one walk has come; `lag_s` is how old the oldest thing is that it has not passed yet."""

    name: str
    walked: int
    position: Position
    lag_s: float


@dataclass(frozen=True, slots=True)
class OpenKind:
    """How many breaks of a kind are open, and since when the oldest is."""

    kind: str
    severity: str
    count: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """All of it; the gravest kinds come first."""

    walks: tuple[WalkStatus, ...]
    suspects: int
    open_breaks: tuple[OpenKind, ...]

    @property
    def open_total(self) -> int:
        """How many breaks are open."""
        return sum(one.count for one in self.open_breaks)


async def read_status(pool: Pool, walks: Sequence[Walk]) -> Status:
    """Look how reconciliation stands.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach.
    """
    found = []
    for walk in walks:
        cursor = await read_cursor(pool, walk.name)
        oldest = await walk.oldest(cursor.position)
        found.append(WalkStatus(walk.name, cursor.walked, cursor.position, _age_s(oldest)))
    with database():
        suspects = int(await pool.fetchval("SELECT count(*) FROM pm.reconciliation_suspect"))
        rows = await pool.fetch(_OPEN)
    kinds = [OpenKind(row["kind"], str(severity_of(row["kind"])), row["n"], row["oldest"]) for row in rows]
    order = list(Severity)
    kinds.sort(key=lambda one: (-order.index(Severity(one.severity)), one.kind))
    return Status(tuple(found), suspects, tuple(kinds))


def severity_of(kind: str) -> Severity:
    """Return how grave a kind is; one that a newer release knows is taken seriously."""
    try:
        return KINDS[BreakKind(kind)].severity
    except ValueError:
        return Severity.CRITICAL


def _age_s(oldest: datetime | None) -> float:
    return 0.0 if oldest is None else max(0.0, (datetime.now(UTC) - oldest).total_seconds())
