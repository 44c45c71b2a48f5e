"""Every kind of break can be looked up, and is looked at again where the reconciler can."""

import re
from pathlib import Path

import pytest

from reconciler.kinds import KINDS, BreakKind
from reconciler.suspects import WATCHED

DOCUMENT = (Path(__file__).parents[3] / "docs" / "reconciliation.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", DOCUMENT, flags=re.MULTILINE | re.DOTALL))
BY_OTHERS = {
    BreakKind.TRANSIT_NOT_ZERO, BreakKind.JOB_NEVER_LEFT, BreakKind.PSP_MISSING, BreakKind.PSP_UNKNOWN,
    BreakKind.AMOUNT_DIFFERS, BreakKind.FEE_DIFFERS, BreakKind.CURRENCY_DIFFERS, BreakKind.DUPLICATE_LINE,
    BreakKind.CONTRADICTS_TERMINAL, BreakKind.FILE_DIFFERS,
}  # fmt: skip
"""Compared anew in every round, or by what PSPs say."""


@pytest.mark.parametrize("kind", BreakKind)
def test_every_kind_has_its_section(kind: BreakKind) -> None:
    """With how grave it is, in front, and something to do or to know."""
    text = SECTIONS[kind].strip()
    assert text.startswith(f"{KINDS[kind].severity.capitalize()}.")
    assert len(text.split()) > 12


def test_no_section_is_about_what_cannot_be_found() -> None:
    """A kind that was dropped takes its section along."""
    assert set(SECTIONS) == set(BreakKind)


def test_every_kind_is_looked_at_again_by_somebody() -> None:
    """So that it closes by itself once it is gone."""
    assert set(WATCHED) | BY_OTHERS == set(BreakKind)
    assert not set(WATCHED) & BY_OTHERS
