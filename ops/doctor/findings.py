"""What the doctor finds: how bad it is, where, what it means, and the command that mends it."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is; a note alone is no fault."""

    CRITICAL = "critical"
    """Payments stand still, or may be lost."""
    WARNING = "warning"
    """It will go wrong, or somebody waits for people."""
    NOTE = "note"
    """Good to know; nothing has to be done."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: how bad it is.
        check: what was looked at, such as ``redis.appendfsync``; stable, for programs.
        subject: which one: a server, a stream, a PSP, a setting.
        detail: what is wrong, in a sentence.
        mend: the command that mends it; empty where there is nothing to do.
    """

    severity: Severity
    check: str
    subject: str
    detail: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was found, the worst first."""

    findings: tuple[Finding, ...]
    looked_at: tuple[str, ...]
    """Which parts could be looked at."""
    left_out: tuple[str, ...]
    """Which parts could not, since a store was out of reach."""
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, and nothing had to be left out."""
        return not self.left_out and all(found.severity is Severity.NOTE for found in self.findings)


def critical(check: str, subject: str, detail: str, mend: str) -> Finding:
    """Return a critical finding."""
    return Finding(Severity.CRITICAL, check, subject, detail, mend)


def warning(check: str, subject: str, detail: str, mend: str) -> Finding:
    """Return a warning."""
    return Finding(Severity.WARNING, check, subject, detail, mend)


def note(check: str, subject: str, detail: str, mend: str = "") -> Finding:
    """Return a note."""
    return Finding(Severity.NOTE, check, subject, detail, mend)
