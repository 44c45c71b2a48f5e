"""What a line is worth: the law as a table, and that only agreement about an open intent ever speaks."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.kinds import BreakKind
from reconciler.settlement.judge import Seen, Verdict, judge
from shared.settlement.layout import Means, Tolerances
from shared.states import IntentState

OURS, OTHERS = UUID(int=1), UUID(int=2)
TIGHT = Tolerances(fee_fixed_minor=5)
DOUBT = Seen(
    means=Means.PAID, amount_minor=300, currency="THB", fee_minor=5, transaction="T1", matched_by="reference",
    state=IntentState.IN_DOUBT, direction="out", planned_minor=300, planned_currency="THB", intent=OURS,
    lines_minor=300,
)  # fmt: skip
SETTLED = replace(DOUBT, state=IntentState.SETTLED, owner=OURS, known_minor=300, known_currency="THB", settled_by="T1")
LATE = replace(
    DOUBT, state=IntentState.EXPIRED, direction="in", owner=OURS, known_minor=300, known_currency="THB", settled_by=None
)
"""Money that came after the end: it is booked by a child of the intent, under the payment's name."""
FAILED = replace(DOUBT, means=Means.FAILED, lines_paid=0, lines_minor=0)
_A, _W, _S, _P = Verdict.AGREES, Verdict.WAITS, Verdict.SAYS, Verdict.PART
_B = BreakKind


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        # Paid, and open.
        (DOUBT, _S),
        (replace(DOUBT, state=IntentState.AUTHORIZED), _S),
        (replace(DOUBT, direction="in", state=IntentState.AUTHORIZED), _S),
        (replace(DOUBT, state=IntentState.VALIDATED), _W),
        (replace(DOUBT, owner=OURS), _W),
        (replace(DOUBT, owner=OTHERS), _B.CONTRADICTS_TERMINAL),
        (replace(DOUBT, lines_before=1, lines_paid=2), _W),
        (replace(DOUBT, current=False), _B.CONTRADICTS_TERMINAL),
        (replace(DOUBT, amount_minor=301), _B.AMOUNT_DIFFERS),
        (replace(DOUBT, amount_minor=299), _B.AMOUNT_DIFFERS),
        (replace(DOUBT, amount_minor=299, complete=False), _W),
        (replace(DOUBT, currency="RUB"), _B.CURRENCY_DIFFERS),
        (replace(DOUBT, transaction=None), _B.PSP_UNKNOWN),
        (replace(DOUBT, matched_by="psp_id"), _B.PSP_UNKNOWN),
        (replace(DOUBT, matched_by="amount_time"), _B.PSP_UNKNOWN),
        (replace(DOUBT, intent=None, matched_by=None, state=None), _B.PSP_UNKNOWN),
        # Paid, and settled.
        (SETTLED, _A),
        (replace(SETTLED, amount_minor=310), _B.AMOUNT_DIFFERS),
        (replace(SETTLED, fee_minor=6), _B.FEE_DIFFERS),
        (replace(SETTLED, fee_minor=None), _A),
        (replace(SETTLED, owner=None, transaction="T2", known_minor=None), _B.CONTRADICTS_TERMINAL),
        (replace(SETTLED, owner=None, transaction="T2", known_minor=None, direction="in"), _S),
        (replace(SETTLED, owner=None, amount_minor=100, complete=False), _W),
        (replace(SETTLED, owner=None, amount_minor=100, lines_paid=3, lines_minor=300), _P),
        (replace(SETTLED, owner=None, amount_minor=100, lines_paid=2, lines_minor=250), _B.CONTRADICTS_TERMINAL),
        # Paid, and settled, by a line that has no name of the PSP's: it is the payment that settled, or another amount.
        (replace(SETTLED, owner=None, transaction=None, known_minor=None), _A),
        (replace(SETTLED, owner=None, transaction=None, known_minor=None, direction="in"), _A),
        (replace(SETTLED, owner=None, transaction=None, known_minor=None, amount_minor=310), _B.AMOUNT_DIFFERS),
        (
            replace(SETTLED, owner=None, transaction=None, known_minor=None, amount_minor=290, direction="in"),
            _B.AMOUNT_DIFFERS,
        ),
        (
            replace(SETTLED, owner=None, transaction=None, known_minor=None, amount_minor=310, direction="in"),
            _B.AMOUNT_DIFFERS,
        ),
        # Paid, and over.
        (replace(DOUBT, state=IntentState.FAILED), _B.CONTRADICTS_TERMINAL),
        (replace(DOUBT, state=IntentState.EXPIRED, direction="in"), _B.CONTRADICTS_TERMINAL),
        (LATE, _A),
        (replace(LATE, amount_minor=310), _B.AMOUNT_DIFFERS),
        (replace(LATE, fee_minor=6), _B.FEE_DIFFERS),
        (replace(LATE, amount_minor=310, settled_by="T1"), _A),
        (replace(LATE, means=Means.FAILED, direction="out"), _B.CONTRADICTS_TERMINAL),
        (replace(LATE, means=Means.FAILED, direction="out", settled_by="T1"), _A),
        (replace(LATE, means=Means.REVERSED), _B.CONTRADICTS_TERMINAL),
        (replace(LATE, means=Means.REVERSED, reversed=True), _A),
        (replace(LATE, means=Means.REVERSED, settled_by="T1"), _A),
        # Failed.
        (FAILED, _S),
        (replace(FAILED, complete=False), _W),
        (replace(FAILED, whole=False), _W),
        (replace(FAILED, amount_minor=100), _B.AMOUNT_DIFFERS),
        (replace(FAILED, amount_minor=100, complete=False), _W),
        (replace(FAILED, amount_minor=100, lines_paid=1), _W),
        (replace(FAILED, lines_paid=1), _W),
        (replace(FAILED, matched_by="psp_id"), _W),
        (replace(FAILED, current=False), _A),
        (replace(FAILED, direction="in"), _A),
        (replace(FAILED, state=IntentState.FAILED), _A),
        (replace(FAILED, state=IntentState.SETTLED, settled_by="T1"), _B.CONTRADICTS_TERMINAL),
        (replace(FAILED, state=IntentState.SETTLED, settled_by="T2"), _A),
        (replace(FAILED, state=IntentState.SETTLED, settled_by="T2", transaction=None), _B.CONTRADICTS_TERMINAL),
        (replace(FAILED, intent=None, matched_by=None, state=None), _A),
        # Taken back.
        (replace(SETTLED, means=Means.REVERSED), _B.CONTRADICTS_TERMINAL),
        (replace(SETTLED, means=Means.REVERSED, reversed=True), _A),
        (replace(SETTLED, means=Means.REVERSED, reversed=True, reversed_minor=300), _A),
        (replace(SETTLED, means=Means.REVERSED, reversed=True, reversed_minor=100), _B.AMOUNT_DIFFERS),
        (replace(DOUBT, means=Means.REVERSED), _W),
        (replace(DOUBT, means=Means.REVERSED, state=IntentState.FAILED), _A),
        (replace(DOUBT, means=Means.REVERSED, intent=None, matched_by=None), _B.PSP_UNKNOWN),
        # Nothing yet.
        (replace(DOUBT, means=Means.NOTHING), _A),
        # A batch.
        (replace(DOUBT, is_whole=True, members=2, members_minor=300), _A),
        (replace(DOUBT, is_whole=True, members=2, members_minor=300, members_open=1), _W),
        (replace(DOUBT, is_whole=True, members=2, members_minor=300, complete=False), _W),
        (replace(DOUBT, is_whole=True, members=2, members_minor=299), _B.AMOUNT_DIFFERS),
        (replace(DOUBT, is_whole=True), _B.AMOUNT_DIFFERS),
        (replace(DOUBT, is_whole=True, means=Means.REVERSED, members=2, members_minor=300), _B.CONTRADICTS_TERMINAL),
        (replace(DOUBT, is_whole=True, means=Means.FAILED, members=2, members_minor=300), _B.CONTRADICTS_TERMINAL),
        (replace(DOUBT, is_whole=True, means=Means.FAILED), _A),
    ],
)
def test_the_law(seen: Seen, expected: Verdict | BreakKind) -> None:
    """In the order of the questions."""
    found = judge(seen, TIGHT)
    assert (found.kind or found.verdict) == expected
    assert (found.kind is not None) == (found.verdict is Verdict.BREAKS)


@pytest.mark.parametrize("off", [-3, 3])
def test_an_amount_within_the_tolerance_agrees(off: int) -> None:
    """What was exchanged is rounded by somebody."""
    tolerances = Tolerances(amount_off_bps=100)
    assert judge(replace(DOUBT, amount_minor=300 + off), tolerances).verdict is Verdict.SAYS
    assert judge(replace(SETTLED, amount_minor=300 + off), tolerances).verdict is Verdict.AGREES
    assert judge(replace(DOUBT, amount_minor=300 + 2 * off), tolerances).kind is BreakKind.AMOUNT_DIFFERS


SEEN = st.builds(
    Seen,
    means=st.sampled_from(Means),
    amount_minor=st.integers(1, 400),
    currency=st.sampled_from(["THB", "RUB"]),
    transaction=st.sampled_from([None, "T1", "T2"]),
    matched_by=st.sampled_from([None, "reference", "transaction", "psp_id", "amount_time"]),
    is_whole=st.booleans(),
    complete=st.booleans(),
    whole=st.booleans(),
    state=st.sampled_from([None, *IntentState]),
    direction=st.sampled_from([None, "in", "out"]),
    current=st.booleans(),
    planned_minor=st.sampled_from([None, 300]),
    planned_currency=st.sampled_from([None, "THB"]),
    owner=st.sampled_from([None, OURS, OTHERS]),
    intent=st.sampled_from([None, OURS]),
    known_minor=st.sampled_from([None, 300]),
    settled_by=st.sampled_from([None, "T1"]),
    reversed=st.booleans(),
    lines_before=st.integers(0, 1),
    lines_paid=st.integers(0, 2),
    lines_minor=st.integers(0, 600),
)


@given(SEEN)
def test_only_our_reference_speaks_and_never_against_an_end(seen: Seen) -> None:
    """Whatever else is true: what speaks names our reference, agrees with the plan, and changes no end."""
    if judge(seen, Tolerances()).verdict is not Verdict.SAYS:
        return
    assert seen.matched_by == "reference"
    assert seen.means in (Means.PAID, Means.FAILED)
    # A payment without a name of the PSP's can be said to nobody.
    assert seen.means is Means.FAILED or seen.transaction is not None
    assert seen.owner is None or (seen.owner == seen.intent and seen.means is Means.FAILED)
    if seen.state is IntentState.SETTLED:
        assert (seen.means, seen.direction) == (Means.PAID, "in")
        return
    assert seen.state in (IntentState.AUTHORIZED, IntentState.IN_DOUBT, IntentState.CREATED)
    assert seen.amount_minor == (seen.planned_minor or 0)
    if seen.means is Means.FAILED:
        assert seen.direction != "in"
        assert seen.complete
        assert seen.whole
        assert not seen.lines_paid
