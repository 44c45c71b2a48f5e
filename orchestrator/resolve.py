"""What a PSP's word makes of an intent: a pure function, total over states, directions and outcomes.

::

    state, what is known of its payments, what was said  →  a resolution, a child, a doubt, a question, or nothing

Only definite words about our reference end an intent; a callback asks a question unless the manifest trusts it, and
nothing is concluded from time alone. A terminal state never changes: money that contradicts it opens a child intent,
and somebody is told. This module must never do I/O, and never know a PSP by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from shared.contracts import Action, Outcome, ResultMessage, Source
from shared.plans import ResolutionKind
from shared.states import TERMINAL, IntentState

Direction = Literal["in", "out"]


class Purpose(StrEnum):
    """Why a payment opens an intent of its own; each once a payment."""

    LATE_CREDIT = "late_credit"
    REVERSAL = "reversal"
    SUSPENSE = "suspense"
    SUSPENSE_REVERSAL = "suspense_reversal"


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment that the PSP has named before.

    Attributes:
        amount_minor: what moved at the PSP.
        settles: it is the one that the intent was waiting for.
        children: what it opened besides.
        reversed_minor: how much of it was taken back already.
    """

    amount_minor: int
    settles: bool
    children: frozenset[Purpose] = frozenset()
    reversed_minor: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """An intent, and what is known about it.

    Attributes:
        state: where it stands.
        direction: "out" where its funds are held, "in" where somebody is to pay.
        attempt: the present one.
        amount_minor: what was planned.
        currency: of it.
        payments: those the PSP has named, by its transaction id.
        callback_trusted: the manifest says that a callback counts as an answer.
    """

    state: IntentState
    direction: Direction
    attempt: int
    amount_minor: int
    currency: str
    payments: Mapping[str, Payment] = field(default_factory=dict)
    callback_trusted: bool = False

    @property
    def open(self) -> bool:
        """Whether it can still be decided."""
        return self.state not in TERMINAL

    @property
    def settling(self) -> str | None:
        """The transaction id of the payment that settled it."""
        return next((name for name, payment in self.payments.items() if payment.settles), None)


@dataclass(frozen=True, slots=True)
class Settle:
    """End the intent: post what is held, void it, credit what was paid, or close what nobody paid.

    `code` says why, where it does not end SETTLED; `expired` that it ends EXPIRED.
    """

    kind: ResolutionKind
    psp_transaction_id: str | None = None
    amount_minor: int | None = None
    code: str | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Alert:
    """Somebody has to look: `kind` is a stable word, `subject` makes two of them the same."""

    kind: str
    subject: str
    critical: bool = True


@dataclass(frozen=True, slots=True)
class Open:
    """Open a child for a payment: `amount_minor` between our account at the PSP and a wallet, or suspense."""

    purpose: Purpose
    psp_transaction_id: str
    amount_minor: int
    direction: Direction


@dataclass(frozen=True, slots=True)
class Response:
    """What is to be done about one word of a PSP; an empty one is a word that changes nothing."""

    settle: Settle | None = None
    opens: tuple[Open, ...] = ()
    doubt: bool = False
    """Nobody knows at present."""
    ask: bool = False
    """Put an inquiry into the stream."""
    wait: bool = False
    """Ask later, by the manifest's schedule."""
    next_action: bool = False
    """Keep what the payer has to do."""
    again: bool = False
    """Hear this once more by what the settling leaves."""
    alerts: tuple[Alert, ...] = ()


NOTHING: Final = Response()
_ASK: Final = Response(ask=True)
_WAIT: Final = Response(wait=True)
_CONSISTENT: Final = {
    Outcome.DECLINED: frozenset({IntentState.FAILED, IntentState.EXPIRED, IntentState.REJECTED}),
    Outcome.EXPIRED: frozenset({IntentState.FAILED, IntentState.EXPIRED, IntentState.REJECTED}),
    Outcome.NOT_SUBMITTED: frozenset({IntentState.FAILED, IntentState.EXPIRED, IntentState.REJECTED}),
}
"""In these states the word is no news."""


def resolve(case: Case, said: ResultMessage) -> Response:
    """Decide what a PSP's word makes of an intent."""
    if said.source is Source.CALLBACK and not case.callback_trusted:
        return NOTHING if _known(case, said) else _ASK
    if said.attempt not in (0, case.attempt):
        # The money of an attempt that is over is nobody's; the intent is not concerned.
        return _stray(said, case.direction) if said.outcome is Outcome.PAID else NOTHING
    return _DECISIONS[said.outcome](case, said)


def _known(case: Case, said: ResultMessage) -> bool:
    """Say whether a hint is no news: then nobody needs to be asked about it."""
    payment = case.payments.get(said.psp_transaction_id or "")
    match said.outcome:
        case Outcome.PAID:
            return payment is not None and (not case.open or not payment.settles)
        case Outcome.REVERSED:
            return payment is not None and bool(payment.children & {Purpose.REVERSAL, Purpose.SUSPENSE_REVERSAL})
        case outcome:
            return case.state in _CONSISTENT.get(outcome, frozenset())


def _paid(case: Case, said: ResultMessage) -> Response:
    name, amount = _payment(said)
    if said.currency != case.currency:
        alert = Alert("paid_in_another_currency", f"{said.psp}:{name}")
        return Response(doubt=case.open, wait=case.open, alerts=(alert,))
    known = case.payments.get(name)
    if known is not None and not (known.settles and case.open):
        # Repeated; whatever it opened is carried on with, should that have been interrupted.
        return Response(opens=_opened_before(case.direction, name, known))
    if case.direction == "in":
        if case.open:
            return Response(settle=Settle("credit", name, amount), alerts=_other_amount(case, said))
        return Response(opens=(Open(Purpose.LATE_CREDIT, name, amount, "in"),))
    if not case.open:
        kind = "paid_twice" if case.state is IntentState.SETTLED else "paid_after_failure"
        return _stray(said, "out", kind)
    excess = amount - case.amount_minor
    return Response(
        settle=Settle("post", name, min(amount, case.amount_minor)),
        opens=(Open(Purpose.SUSPENSE, name, excess, "out"),) if excess > 0 else (),
        alerts=_other_amount(case, said),
    )


def _reversed(case: Case, said: ResultMessage) -> Response:
    name = said.psp_transaction_id or case.settling
    known = case.payments.get(name) if name is not None else None
    if name is None or known is None:
        return _reversed_unseen(case, said, name)
    if known.settles and case.open:
        # The payment's own resolution stands and is carried out first.
        kind: ResolutionKind = "post" if case.direction == "out" else "credit"
        return Response(settle=Settle(kind, name, known.amount_minor), again=True)
    opens = _taken_back(case, said, name, known)
    alerts: tuple[Alert, ...] = ()
    if opens:
        alerts = (Alert("reversed_after_settlement", f"{said.psp}:{name}", critical=False),)
    if 0 < known.reversed_minor < (said.amount_minor or 0):
        # A second part: what was taken back is one child, and people see to the rest.
        alerts += (Alert("reversed_further", f"{said.psp}:{name}:{said.amount_minor}"),)
    return Response(opens=opens, alerts=alerts)


def _reversed_unseen(case: Case, said: ResultMessage, name: str | None) -> Response:
    """Decide about a payment that was taken back before anybody here knew of it: nothing was paid in the end."""
    if case.open and case.direction == "out":
        return Response(settle=Settle("void", name, code="reversed"))
    if case.open and said.final:
        return Response(settle=Settle("close", name, code="reversed"))
    if case.open:
        # Somebody else may still pay into an open code.
        return _WAIT
    if case.direction == "out" and case.state is IntentState.SETTLED:
        return Response(alerts=(Alert("reversed_unknown_payment", f"{said.psp}:{said.intent_id}:{name}"),))
    return NOTHING


def _taken_back(case: Case, said: ResultMessage, name: str, known: Payment) -> tuple[Open, ...]:
    """Return what gives a payment back to whom it came from, or charges whoever had it."""
    back: Direction = "in" if case.direction == "out" else "out"
    kept = Purpose.SUSPENSE in known.children
    if kept and (case.direction == "in" or not known.settles):
        return (Open(Purpose.SUSPENSE_REVERSAL, name, known.amount_minor, back),)
    if known.settles and case.state is not IntentState.SETTLED:
        # It ended the intent without any money of ours: there is nothing to take back.
        return ()
    amount = min(said.amount_minor or known.amount_minor, known.amount_minor)
    if case.direction == "in" or amount <= case.amount_minor:
        return (Open(Purpose.REVERSAL, name, amount, back),)
    # What was paid beyond the plan never came from the payer.
    excess = Open(Purpose.SUSPENSE_REVERSAL, name, amount - case.amount_minor, back)
    return Open(Purpose.REVERSAL, name, case.amount_minor, back), excess


def _unpaid(case: Case, said: ResultMessage) -> Response:
    if not case.open:
        if case.state in _CONSISTENT[said.outcome] or (case.direction == "in" and said.outcome is Outcome.EXPIRED):
            return NOTHING
        return Response(alerts=(Alert(f"{said.outcome.lower()}_though_settled", f"{said.psp}:{said.intent_id}"),))
    if said.outcome is Outcome.DECLINED and not said.final:
        # An inquiry has just been made, and the PSP may still change its mind.
        return _WAIT if said.action is Action.INQUIRE else _ASK
    expired = said.outcome is Outcome.EXPIRED and case.direction == "in"
    code = said.code or said.outcome.lower()
    return Response(settle=Settle("close" if case.direction == "in" else "void", code=code, expired=expired))


def _not_found(case: Case, said: ResultMessage) -> Response:
    if said.fenced and case.open:
        return Response(settle=Settle("close" if case.direction == "in" else "void", code="not_found"))
    if said.fenced and case.state is IntentState.SETTLED:
        return Response(alerts=(Alert("not_found_though_settled", f"{said.psp}:{said.intent_id}"),))
    if not case.open:
        return NOTHING
    # Money in is never in doubt, so that nobody would look at a request which its PSP does not know.
    unknown = case.direction == "in" and said.action is Action.INQUIRE
    return _undecided(case, (Alert("not_found", f"{said.psp}:{said.intent_id}", critical=False),) if unknown else ())


def _unknown(case: Case, said: ResultMessage) -> Response:
    if not case.open:
        return NOTHING
    # Given up by whoever had it, or answered with something that cannot be: time alone will not mend it.
    for_people = said.source is Source.VERDICT or _contradicts(said)
    return _undecided(case, _in_doubt(said) if for_people else ())


def _contradicts(said: ResultMessage) -> bool:
    return (said.code or "").startswith("contradictory_")


def _in_doubt(said: ResultMessage) -> tuple[Alert, ...]:
    return (Alert("in_doubt", f"{said.psp}:{said.intent_id}", critical=False),)


def _undecided(case: Case, alerts: tuple[Alert, ...] = ()) -> Response:
    """Wait for better news; only held funds are in doubt, since of money in nothing is ours before it is credited."""
    return Response(doubt=case.direction == "out", wait=True, alerts=alerts)


def _stray(said: ResultMessage, direction: Direction, kind: str = "paid_for_a_past_attempt") -> Response:
    """Book money that no plan accounts for, and tell somebody."""
    name, amount = _payment(said)
    return Response(
        opens=(Open(Purpose.SUSPENSE, name, amount, direction),), alerts=(Alert(kind, f"{said.psp}:{name}"),)
    )


def _opened_before(direction: Direction, name: str, known: Payment) -> tuple[Open, ...]:
    """Repeat what a payment opened on its way in; its reversal is another word."""
    repeated = known.children & {Purpose.LATE_CREDIT, Purpose.SUSPENSE}
    return tuple(Open(purpose, name, known.amount_minor, direction) for purpose in sorted(repeated))


def _other_amount(case: Case, said: ResultMessage) -> tuple[Alert, ...]:
    name, amount = _payment(said)
    if amount == case.amount_minor:
        return ()
    return (Alert("paid_another_amount", f"{said.psp}:{name}", critical=case.direction == "out"),)


def _payment(said: ResultMessage) -> tuple[str, int]:
    """Return the payment's name and amount; the contract has refused a payment without them."""
    return said.psp_transaction_id or "", said.amount_minor or 0


def _pending(case: Case, said: ResultMessage) -> Response:
    if not case.open:
        return NOTHING
    return _undecided(case, _in_doubt(said)) if _contradicts(said) else _WAIT


def _to_act(case: Case, _said: ResultMessage) -> Response:
    return Response(next_action=True, wait=True) if case.open and case.direction == "in" else NOTHING


_DECISIONS: Final[dict[Outcome, Callable[[Case, ResultMessage], Response]]] = {
    Outcome.PAID: _paid,
    Outcome.DECLINED: _unpaid,
    Outcome.PENDING: _pending,
    Outcome.NEXT_ACTION: _to_act,
    Outcome.EXPIRED: _unpaid,
    Outcome.NOT_SUBMITTED: _unpaid,
    Outcome.UNKNOWN: _unknown,
    Outcome.REVERSED: _reversed,
    Outcome.NOT_FOUND: _not_found,
}
