"""What a check found: how much it looked at, and each violation with the thing it concerns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

EXAMPLES_MAX: Final = 20
"""Violations kept per check; beyond it they are only counted."""

Advance = Callable[[int], None]
"""Told how many more things have been looked at."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong: an intent, an account, a ledger or a transfer, and what is wrong with it."""

    subject: str
    detail: str


@dataclass(slots=True)
class Check:
    """One invariant while it is looked at and after."""

    name: str
    promise: str
    examined: int = 0
    violations: list[Violation] = field(default_factory=list)
    violations_total: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing was found that breaks it."""
        return self.violations_total == 0

    def violated(self, subject: str, detail: str) -> None:
        """Note a violation."""
        self.violations_total += 1
        if len(self.violations) < EXAMPLES_MAX:
            self.violations.append(Violation(subject, detail))


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """Something that the mesh has asked people to look at, and that nobody has closed."""

    severity: str
    kind: str
    subject: str
    intent_id: UUID | None
    seen: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """Every check, and what was still open at the time."""

    checks: tuple[Check, ...]
    states: dict[str, int]
    """Intents by state."""
    open_intents: int
    """Intents in the database whose state is not final."""
    unsent_jobs: int
    """Jobs for PSPs that have not left the outbox."""
    stream_entries: int
    """Entries of intent, job and result streams that nobody has finished, delayed ones included."""
    dead_letters: int
    stale_jobs: int = 0
    """Jobs that wait in the outbox for long although their intent is decided; no violation, they can do no harm."""
    alerts: tuple[OpenAlert, ...] = ()
    """Those that are open, the critical first; no more than `EXAMPLES_MAX`."""
    alerts_total: int = 0

    @property
    def ok(self) -> bool:
        """Whether every invariant holds."""
        return all(check.holds for check in self.checks)
