"""Which operations are refused early: the table of routes, manifests, pauses and conditions."""

from dataclasses import replace

import pytest

from gateway.channels import Condition, Registers, Seen, refusal
from shared.psp import FenceKind, Manifest, OperationRules, ReferenceFormat, SubmitFence
from shared.rules.model import Subject
from shared.rules.routes import Route
from shared.streams.control import Control

ONE = Manifest(
    psp="one",
    channel="ONE",
    operations={"PAY": OperationRules("out", "THB", 100, 5_000)},
    reference=ReferenceFormat("0123456789", 20),
    status_by_our_reference=True,
    submit_fence=SubmitFence(FenceKind.NONE),
)
TWO = replace(ONE, psp="two", channel="TWO")
ROUTES = (Route(1, 1, "PAY", "THB", 1, 2_000, "ONE"), Route(2, 1, "PAY", None, 1, 4_000, "TWO"))
ALL = Control(frozenset({"*"}))
OPEN, FULL = Condition(breaker_open=True), Condition(outbox_full=True)


def ask(
    *,
    controls: dict[str, Control] | None = None,
    conditions: dict[str, Condition] | None = None,
    manifests: tuple[Manifest, ...] = (ONE, TWO),
    operation: str = "PAY",
    currency: str = "THB",
    amount_minor: int = 1_000,
) -> str | None:
    """Ask about one operation."""
    registers = Registers({manifest.channel: manifest for manifest in manifests}, controls or {})
    subject = Subject(operation, currency, amount_minor, 0, "user:ann")
    return refusal(ROUTES, subject, Seen(registers, conditions or {}))


def test_with_nothing_wrong_nothing_is_refused() -> None:
    """The usual case."""
    assert ask() is None


@pytest.mark.parametrize(
    ("control", "condition", "reason"),
    [
        (ALL, Condition(), "is paused"),
        (Control(frozenset({"PAY"})), Condition(), "is paused"),
        (Control(frozenset({"OTHER"})), OPEN, "is out of order"),
        (Control(), FULL, "has as much work as it admits"),
        (ALL, Condition(breaker_open=True, outbox_full=True), "is paused"),
    ],
)
def test_one_channel_is_refused_for_its_reason(control: Control, condition: Condition, reason: str) -> None:
    """With the other one out of reach of the amount, and not with it."""
    controls, conditions = {"two": control}, {"two": condition}
    assert ask(controls=controls, conditions=conditions, amount_minor=3_000) == f"TWO {reason}"
    assert ask(controls=controls, conditions=conditions) is None


def test_all_channels_closed_name_all_reasons_in_their_order() -> None:
    """Each once."""
    assert ask(controls={"two": ALL}, conditions={"one": OPEN}) == "ONE is out of order; TWO is paused"


def test_what_no_channel_offers_is_not_refused_here() -> None:
    """Another operation, another currency, amounts beyond route or manifest, PSPs that nobody has registered."""
    closed = {"one": ALL, "two": ALL}
    assert ask(controls=closed) is not None
    assert ask(controls=closed, operation="OTHER") is None
    assert ask(controls=closed, currency="USD") is None
    assert ask(controls=closed, amount_minor=4_001) is None
    assert ask(controls=closed, amount_minor=99) is None
    assert ask(controls=closed, manifests=()) is None


def test_a_channel_that_does_not_offer_the_operation_is_no_way_out() -> None:
    """A route to it does not make it one."""
    other = replace(TWO, operations={"OTHER": OperationRules("out", "THB", 100, 5_000)})
    assert ask(controls={"one": ALL}, manifests=(ONE, other)) == "ONE is paused"


def test_pauses_are_taken_as_they_are_stored() -> None:
    """An operation of one PSP says nothing about the other's."""
    assert ask(controls={"one": Control(frozenset({"PAY"}))}) is None
