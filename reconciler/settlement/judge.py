"""What a line of a settlement file is worth beside what is known of its payment: a pure function, total over both.

::

    line, intent, payments, other lines  →  agrees │ part │ waits │ says (a word to the orchestrator) │ breaks

The order of the questions is the law: whose payment it is, in which currency, then what the line says of an intent that
is open, settled or over. Only a line that names our reference and agrees with the plan speaks, and only about an intent
that is open; whatever contradicts an intent that has ended changes nothing and is shouted. Nothing is concluded from a
line that is not there. This module must never do I/O.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID

from reconciler.kinds import BreakKind
from shared.settlement.layout import Means, Tolerances
from shared.states import TERMINAL, IntentState


class Verdict(StrEnum):
    """What becomes of a line."""

    AGREES = "agrees"
    """Both sides say the same, or the line says nothing that concerns us."""
    PART = "part"
    """It is one of several that together agree."""
    WAITS = "waits"
    """It is looked at again: something that it depends on is still under way."""
    SAYS = "says"
    """Its word goes to the orchestrator."""
    BREAKS = "breaks"
    """The sides differ."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A line, and what is known of its payment.

    Attributes:
        means: what the line says.
        amount_minor: of how much.
        currency: of that.
        fee_minor: what the PSP kept, where it says so.
        transaction: the PSP's name for the payment.
        matched_by: how the intent was found; None where it was not.
        is_whole: the line is about a batch and names no payment of its own.
        complete: its file has been read to the end.
        whole: that is what the file says of itself, or somebody has explained why it is not.
        state: of the intent; None without one, or before its plan stands.
        direction: "out" where it pays, "in" where it is paid.
        current: the line's reference is that of the present attempt.
        planned_minor: what the PSP was asked for.
        planned_currency: of that.
        owner: the intent that the payment is known to belong to.
        intent: the line's own.
        known_minor: what the PSP said before that the payment moved.
        known_currency: of that.
        settled_by: the payment that settled the intent.
        reversed: the payment was taken back here, too.
        reversed_minor: how much of it; None where that is not booked yet.
        lines_before: how many earlier lines say that the intent was paid, and are not simply agreed with.
        lines_paid: how many do so in all.
        lines_minor: what they add up to.
        members: how many lines belong to the batch that this one is about.
        members_minor: what they add up to.
        members_open: how many of them do not agree yet.
    """

    means: Means
    amount_minor: int
    currency: str
    fee_minor: int | None = None
    transaction: str | None = None
    matched_by: str | None = None
    is_whole: bool = False
    complete: bool = True
    whole: bool = True
    state: IntentState | None = None
    direction: Literal["in", "out"] | None = None
    current: bool = True
    planned_minor: int | None = None
    planned_currency: str | None = None
    owner: UUID | None = None
    intent: UUID | None = None
    known_minor: int | None = None
    known_currency: str | None = None
    settled_by: str | None = None
    reversed: bool = False
    reversed_minor: int | None = None
    lines_before: int = 0
    lines_paid: int = 1
    lines_minor: int = 0
    members: int = 0
    members_minor: int = 0
    members_open: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict; with BREAKS the kind, what each side says and by how much they differ."""

    verdict: Verdict
    kind: BreakKind | None = None
    sides: dict[str, Any] | None = None
    delta_minor: int | None = None


AGREES: Final = Judged(Verdict.AGREES)
WAITS: Final = Judged(Verdict.WAITS)
_SAYS: Final = Judged(Verdict.SAYS)
_UNPAID: Final = frozenset({IntentState.FAILED, IntentState.EXPIRED, IntentState.REJECTED})


def judge(seen: Seen, tolerances: Tolerances) -> Judged:
    """Say what becomes of a line."""
    if seen.means is Means.NOTHING:
        return AGREES
    if seen.is_whole:
        return _whole(seen, tolerances)
    if seen.intent is None or seen.matched_by == "amount_time":
        return _of_nobody(seen)
    return _of_an_intent(seen, tolerances)


def _of_an_intent(seen: Seen, tolerances: Tolerances) -> Judged:
    if seen.state is None or seen.state is IntentState.VALIDATED:
        return WAITS
    if seen.owner is not None and seen.owner != seen.intent:
        return _breaks(seen, BreakKind.CONTRADICTS_TERMINAL, database=f"the payment belongs to intent {seen.owner}")
    if seen.currency != (seen.planned_currency or seen.known_currency or seen.currency):
        return _breaks(seen, BreakKind.CURRENCY_DIFFERS, database=seen.planned_currency)
    return _DECISIONS[seen.means](seen, tolerances)


def _of_nobody(seen: Seen) -> Judged:
    """Judge a payment that names nothing of ours; one that failed is nobody's loss."""
    if seen.means is Means.FAILED:
        return AGREES
    return _breaks(seen, BreakKind.PSP_UNKNOWN, database=None if seen.intent is None else f"perhaps {seen.intent}")


def _whole(seen: Seen, tolerances: Tolerances) -> Judged:
    """Judge a line about a batch: N payments of ours, one of the PSP's."""
    if not seen.complete:
        return WAITS
    if seen.means is not Means.PAID:
        # Its lines say paid, one by one: of a batch that failed and has none there is nothing to say.
        agrees = seen.means is Means.FAILED and not seen.members
        return AGREES if agrees else _breaks(seen, BreakKind.CONTRADICTS_TERMINAL, lines=seen.members_minor)
    off = seen.amount_minor - seen.members_minor
    if not seen.members or abs(off) > tolerances.amount_off(seen.members_minor):
        return _breaks(seen, BreakKind.AMOUNT_DIFFERS, delta_minor=off, members=seen.members, lines=seen.members_minor)
    return WAITS if seen.members_open else AGREES


def _paid(seen: Seen, tolerances: Tolerances) -> Judged:
    if seen.state in _UNPAID or seen.state is IntentState.DUPLICATE:
        if _booked_late(seen):
            return _as_known(seen, tolerances)
        return AGREES if seen.owner is not None else _breaks(seen, BreakKind.CONTRADICTS_TERMINAL, database=seen.state)
    if not seen.current:
        return _breaks(seen, BreakKind.CONTRADICTS_TERMINAL, database="its attempt has been given up")
    if seen.state is IntentState.SETTLED:
        return _paid_and_settled(seen, tolerances)
    return _paid_in_doubt(seen, tolerances)


def _booked_late(seen: Seen) -> bool:
    """Say whether the payment came after its intent had ended unpaid: a child, opened when it was named, booked it.

    A payment that ended the intent without money, since it was taken back before anybody knew of it, is none.
    """
    return seen.owner is not None and seen.settled_by != seen.transaction


def _paid_and_settled(seen: Seen, tolerances: Tolerances) -> Judged:
    if seen.owner is not None:
        return _as_known(seen, tolerances)
    together = _together(seen, tolerances) if seen.direction != "in" else None
    if together is not None:
        return together
    if seen.transaction is None:
        # It has no name by which it could be another payment than the one that settled.
        return _as_much(seen, seen.planned_minor or 0, tolerances)
    if seen.direction == "in":
        # A code that is paid once more: the payment is credited as any that we had not heard of.
        return _SAYS if seen.matched_by == "reference" else _breaks(seen, BreakKind.PSP_UNKNOWN, database=seen.state)
    return _breaks(seen, BreakKind.CONTRADICTS_TERMINAL, database=f"settled by {seen.settled_by}")


def _as_known(seen: Seen, tolerances: Tolerances) -> Judged:
    """Hold a line against what the PSP has said before of the same payment."""
    return _as_much(seen, seen.known_minor or 0, tolerances)


def _as_much(seen: Seen, expected_minor: int, tolerances: Tolerances) -> Judged:
    off = seen.amount_minor - expected_minor
    if abs(off) > tolerances.amount_off(expected_minor):
        return _breaks(seen, BreakKind.AMOUNT_DIFFERS, delta_minor=off, database=expected_minor)
    return _fee(seen, tolerances)


def _paid_in_doubt(seen: Seen, tolerances: Tolerances) -> Judged:
    planned = seen.planned_minor or 0
    if seen.owner is not None or seen.lines_before:
        # Its resolution stands and is being carried out; or the line before this one speaks first.
        return WAITS
    off = seen.amount_minor - planned
    if abs(off) > tolerances.amount_off(planned):
        if not seen.complete and off < 0:
            return WAITS
        return _breaks(seen, BreakKind.AMOUNT_DIFFERS, delta_minor=off, database=planned, lines=seen.lines_minor)
    if seen.transaction is None or seen.matched_by != "reference":
        return _breaks(seen, BreakKind.PSP_UNKNOWN, database=f"{seen.state}, found by its {seen.matched_by}")
    return _SAYS


def _together(seen: Seen, tolerances: Tolerances) -> Judged | None:
    """Judge the lines of one intent as a whole: one payment of ours, N of the PSP's."""
    planned = seen.planned_minor or 0
    if seen.amount_minor >= planned:
        return None
    if not seen.complete:
        return WAITS
    if seen.lines_paid > 1 and abs(seen.lines_minor - planned) <= tolerances.amount_off(planned):
        return Judged(Verdict.PART)
    return None


def _failed(seen: Seen, tolerances: Tolerances) -> Judged:
    if seen.direction == "in":
        # A try that failed: the code may be paid all the same, and ends by its own rules.
        return AGREES
    if seen.state in _UNPAID and _booked_late(seen):
        return _breaks(seen, BreakKind.CONTRADICTS_TERMINAL, database="the payment is booked")
    if seen.state in _UNPAID or not seen.current:
        return AGREES
    if seen.state is IntentState.SETTLED:
        another = seen.transaction is not None and seen.settled_by not in (None, seen.transaction)
        return AGREES if another else _breaks(seen, BreakKind.CONTRADICTS_TERMINAL, database=seen.state)
    # A line further on, or one that could not be read, may say that the same reference was paid in another try.
    if seen.matched_by != "reference" or not (seen.complete and seen.whole) or seen.lines_paid:
        return WAITS
    # A part that failed says nothing of the others.
    planned = seen.planned_minor or 0
    off = seen.amount_minor - planned
    differs = abs(off) > tolerances.amount_off(planned)
    return _breaks(seen, BreakKind.AMOUNT_DIFFERS, delta_minor=off, database=planned) if differs else _SAYS


def _reversed(seen: Seen, tolerances: Tolerances) -> Judged:
    if seen.reversed_minor is not None:
        off = seen.amount_minor - seen.reversed_minor
        if abs(off) > tolerances.amount_off(seen.reversed_minor):
            return _breaks(seen, BreakKind.AMOUNT_DIFFERS, delta_minor=off, database=seen.reversed_minor)
    if seen.reversed or (seen.state in _UNPAID and not _booked_late(seen)):
        return AGREES
    if seen.state in TERMINAL:
        return _breaks(seen, BreakKind.CONTRADICTS_TERMINAL, database=seen.state, delta_minor=-seen.amount_minor)
    # It is open: the PSP is still asked, and answers what came of it.
    return WAITS


def _fee(seen: Seen, tolerances: Tolerances) -> Judged:
    expected = tolerances.fee(seen.amount_minor)
    if expected is None or seen.fee_minor is None or abs(seen.fee_minor - expected) <= tolerances.fee_off_minor:
        return AGREES
    return _breaks(seen, BreakKind.FEE_DIFFERS, delta_minor=seen.fee_minor - expected, agreed=expected)


def _breaks(seen: Seen, kind: BreakKind, *, delta_minor: int | None = None, **sides: object) -> Judged:
    psp = {"means": str(seen.means), "amount_minor": seen.amount_minor, "currency": seen.currency}
    if kind is BreakKind.FEE_DIFFERS:
        psp["fee_minor"] = seen.fee_minor or 0
    said = {name: str(side) if isinstance(side, IntentState) else side for name, side in sides.items()}
    return Judged(Verdict.BREAKS, kind, {"psp": psp} | said, delta_minor)


_DECISIONS: Final = {Means.PAID: _paid, Means.FAILED: _failed, Means.REVERSED: _reversed}
