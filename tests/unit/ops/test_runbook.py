"""The runbook: whoever is woken by a kind of alert, or finds a reason for a dead letter, finds a section on it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from orchestrator.resolve import Purpose
from shared.streams.dead_letters import Reason

ROOT = Path(__file__).parents[3]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
SECTIONS: Final = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", RUNBOOK, flags=re.MULTILINE | re.DOTALL))

BUILT: Final = {
    "f'{said.outcome.lower()}_though_settled'": (
        "declined_though_settled",
        "expired_though_settled",
        "not_submitted_though_settled",
    ),
    "f'{resolution.kind}_refused'": ("post_refused", "void_refused"),
    "f'{wanted.purpose}_refused'": (f"{Purpose.LATE_CREDIT}_refused", f"{Purpose.REVERSAL}_refused"),
    "'paid_twice' if case.state is IntentState.SETTLED else 'paid_after_failure'": ("paid_twice", "paid_after_failure"),
    "CREDIT_REFUSED": ("credit_refused",),
    # Handed on by functions, whose callers and defaults are looked at.
    "kind": (),
}
"""Kinds that are put together, as the code has it, and what they come to."""


def kinds() -> Iterator[str]:
    """Return every kind of alert that the services raise."""
    for path in sorted((*ROOT.glob("orchestrator/*.py"), *ROOT.glob("reconciler/*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            yield from _kinds_in(node)
    for path in sorted(ROOT.glob("*/sql/*.sql")):
        yield from re.findall(r"'(?:critical|warning)', '(\w+)'", path.read_text())


def _kinds_in(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id="Alert"), args=[kind, *_]):
            yield from _read(kind)
        case ast.Call(func=ast.Name(id="_alert" | "_stray"), args=[*_, ast.Constant() | ast.Name() | ast.JoinedStr()]):
            if len(node.args) > 1:
                yield from _read(node.args[-1])
        case ast.Assign(targets=[ast.Name(id="kind")], value=ast.IfExp(body=ast.Constant()) as value):
            yield from _read(value)
        case ast.FunctionDef(name="_stray", args=arguments):
            for default in arguments.defaults:
                yield from _read(default)


def _read(node: ast.expr) -> tuple[str, ...]:
    if isinstance(node, ast.Constant):
        return () if node.value in ("in", "out") else (str(node.value),)
    return BUILT[ast.unparse(node)]


KINDS = sorted(set(kinds()))


def test_the_kinds_of_alerts_are_found() -> None:
    """Those that are written down in one word, put together, defaults, and raised by a statement."""
    some = {"in_doubt", "paid_twice", "void_refused", "paid_for_a_past_attempt", "transfer_without_intent"}
    assert some <= set(KINDS)
    assert len(KINDS) >= 21


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_alert_has_its_section(kind: str) -> None:
    """What it means, whether money is at risk, whom to wake; or where the same is said."""
    assert _says_enough(SECTIONS[kind])


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_a_dead_letter_has_its_section(reason: Reason) -> None:
    """As well."""
    assert _says_enough(SECTIONS[reason])


def test_no_section_is_about_what_cannot_happen() -> None:
    """A kind or a reason that was dropped takes its section along."""
    assert not SECTIONS.keys() - {*KINDS, *Reason} - {"Deploy", "Drain"}


def test_links_within_the_runbook_lead_somewhere() -> None:
    """At three in the morning nobody looks for a section."""
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
    }
    assert not set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK)) - anchors


def _says_enough(section: str) -> bool:
    whole = all(word in section for word in ("**Means**", "**Money at risk:**", "**Wake**"))
    return whole or re.search(r"As\s+\[\w+\]\(#\w+\)", section) is not None
