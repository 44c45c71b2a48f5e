"""Totals: no kind of leg is left out, and a wrong figure is found."""

from dataclasses import replace
from datetime import date

import pytest

from reconciler.reports import totals
from reconciler.reports.flows import Course, Flow
from reconciler.reports.totals import AccountDay, DayFlow
from shared.ledger.codes import LegCode
from tests.unit.reconciler.reports.sample import sample_report

DAY = date(2026, 11, 28)
NO_MONEY = {code for code in LegCode if code < 100 or code >= 800}


def test_every_leg_of_money_is_known() -> None:
    """A payment is counted by one leg; whoever adds a code decides here which kind it is."""
    others = {code for code in LegCode if code.name.endswith(("_GIVE", "_SEND"))}
    others |= {LegCode.P2P_RECEIVE, LegCode.FEE_TAKE}
    assert {*totals.PAYERS} | others | NO_MONEY == set(LegCode)
    assert not totals.PAYERS & others


def test_the_checks_hold_where_everything_adds_up() -> None:
    """All of them."""
    assert sample_report().holds


@pytest.mark.parametrize(
    ("number", "broken"),
    [(0, {"closing_minor": 1}), (1, {"opening_minor": 1}), (2, {"debits_minor": 1, "credits_minor": 1})],
)
def test_a_figure_that_is_wrong_is_found(number: int, broken: dict[str, int]) -> None:
    """A closing balance from nowhere, an opening that nothing explains, movements that no operation made."""
    report = sample_report()
    wallets = report.balances[-1]
    changed = replace(wallets, **{name: getattr(wallets, name) + more for name, more in broken.items()})
    flows = [DayFlow(DAY, Course("P2P_TRANSFER", "INTERNAL_P2P", 101, "user:*:THB", "transit:THB"), Flow(1, 5))]
    found = totals.checks([*report.balances[:-1], changed], flows)
    assert not found[number].holds


def test_money_left_in_transit_is_found() -> None:
    """The payer's leg alone: transit holds it, and the operation does not leave transit as it found it."""
    course = Course("P2P_TRANSFER", "INTERNAL_P2P", LegCode.P2P_PAY, "user:*:THB", "transit:THB")
    lines = totals.balances([
        AccountDay(DAY, "user:*:THB", 5, 5, 0, 0, 0, 0, 0), AccountDay(DAY, "transit:THB", 0, 0, 5, 0, 0, 0, 0),
        AccountDay(DAY, "equity:THB", -5, 0, 0, 0, 0, 0, 0),
    ])  # fmt: skip
    assert [check.off_minor for check in totals.checks(lines, [DayFlow(DAY, course, Flow(1, 5))])] == [0, 0, 0, 5, 5]
