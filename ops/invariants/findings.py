"""What a check found: how much it looked at, and each violation with the thing it concerns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

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
class Report:
    """Every check, and what was still open at the time."""

    checks: tuple[Check, ...]
    states: dict[str, int]
    """Intents by state."""
    open_intents: int
    """Intents in the database whose state is not final."""
    stream_entries: int
    """Entries of the intent streams that nobody has finished."""
    dead_letters: int

    @property
    def ok(self) -> bool:
        """Whether every invariant holds."""
        return all(check.holds for check in self.checks)
