"""What is wrong with a file of rules: where, in which rule, and for an expression under which of its characters.

Everything that is wrong is told at once. This module must never quote a value of the file but an expression, which
is a program and nobody's data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import BadInput


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        text: what is wrong, as a sentence without a full stop.
        rule: the kind and name of the entry, such as ``fee p2p-percent``; empty for the file as a whole.
        field: the field of the entry, such as ``amount.bps``; empty for the entry as a whole.
        line: the line of the file, from 1; None where there is no file.
        source: the expression at fault.
        column: the character in it, from 1, as far as that is known.
        warning: it does not stand in the way of the change.
    """

    text: str
    rule: str = ""
    field: str = ""
    line: int | None = None
    source: str | None = None
    column: int | None = None
    warning: bool = False


class RulesRefused(BadInput):
    """The rules cannot come into force."""

    code = "rules_refused"

    def __init__(self, findings: Sequence[Finding], file: str | None = None) -> None:
        super().__init__("\n".join(told(finding, file) for finding in findings))
        self.findings = tuple(findings)
        self.file = file


def told(finding: Finding, file: str | None = None) -> str:
    """Return a finding for people: one line, and for an expression two more, the second pointing at the column."""
    place = file or ""
    if finding.line is not None:
        place = f"{place or 'line '}{':' if place else ''}{finding.line}"
    parts = [part for part in (place, finding.rule, finding.field) if part]
    sentence = ": ".join([*parts, f"warning: {finding.text}" if finding.warning else finding.text])
    if finding.source is None:
        return sentence
    return "\n".join([sentence, *_pointed(finding.source, finding.column)])


def _pointed(source: str, column: int | None) -> list[str]:
    """Return the line of an expression that a column lies in, and a caret under it; all of it where none is known."""
    if column is None:
        return [f"    {line}" for line in source.splitlines()]
    before = source[: column - 1]
    start = before.rfind("\n") + 1
    line = source[start:].split("\n", 1)[0]
    return [f"    {line}", f"    {' ' * (column - 1 - start)}^"]


def refuse_faults(findings: Sequence[Finding], file: str | None = None) -> list[Finding]:
    """Return the warnings among findings.

    Raises:
        RulesRefused: there is more than warnings.
    """
    faults = [finding for finding in findings if not finding.warning]
    if faults:
        raise RulesRefused(faults, file)
    return list(findings)
