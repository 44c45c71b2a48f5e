"""Layouts are data: they survive being stored, and one that contradicts itself is refused with every fault named."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.ipps.settlement_file import SETTLEMENT as IPPS
from adapters.qp.settlement_file import SETTLEMENT as QP
from shared.settlement.layout import (
    BadLayout,
    Column,
    Deadlines,
    Layout,
    Shape,
    Tolerances,
    Value,
    check_layout,
    read_layout,
    write_layout,
)


@pytest.mark.parametrize("layout", [IPPS, QP], ids=["ipps", "qp"])
def test_a_layout_is_read_as_it_was_written(layout: Layout) -> None:
    """What an adapter declares is what a reconciler reads by."""
    assert read_layout(write_layout(layout)) == layout == check_layout(layout)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"psp": "IPPS"}, "no id"),
        ({"columns": {Value.REFERENCE: Column("order")}}, "lacks status"),
        ({"columns": {value: QP.columns[value] for value in (Value.STATUS, Value.AMOUNT, Value.CURRENCY)}}, "name no"),
        ({"statuses": {}}, "means paid"),
        ({"encoding": "rot13"}, "encoding"),
        ({"separator": '"'}, "separator"),
        ({"shape": Shape.FIXED}, "no width"),
        ({"columns": {**QP.columns, Value.FEE: Column(start=3)}}, "no name"),
        ({"trailer": "#QP-SETTLEMENT"}, "marks are the same"),
        ({"trailer": ""}, "does not have"),
        ({"tolerances": Tolerances(fee_bps=10_001)}, "tolerance"),
        ({"tolerances": Tolerances(amount_off_minor=-1)}, "tolerance"),
        ({"deadlines": Deadlines(answer_s=0)}, "deadline"),
    ],
)
def test_a_layout_that_contradicts_itself_is_refused(changes: dict[str, Any], fault: str) -> None:
    """Before a line is read by it."""
    with pytest.raises(BadLayout, match=fault):
        check_layout(replace(QP, **changes))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"v": 2}', write_layout(QP).replace('"csv"', '"xml"')])
def test_what_was_not_written_by_us_is_no_layout(text: str) -> None:
    """Somebody has edited the register by hand."""
    with pytest.raises(BadLayout):
        read_layout(text)


def test_what_still_agrees_is_rounded_half_up() -> None:
    """A fee of 0.7 % of 30,510 kopecks is 213.57: 214."""
    tolerances = Tolerances(fee_bps=70, amount_off_minor=2, amount_off_bps=50)
    assert tolerances.fee(30_510) == 214
    assert Tolerances().fee(30_510) is None
    assert (tolerances.amount_off(100), tolerances.amount_off(1_000)) == (2, 5)
