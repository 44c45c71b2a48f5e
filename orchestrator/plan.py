"""Planning: from an accepted operation to what will be carried out, or to a refusal. Pure.

::

    terms (route → channel → fees → limits) → legs

The plan is written down before it is carried out, and carried out byte for byte: whatever the configuration says
by then, a redelivered intent submits the plan that was stored. This module must never touch a store or a clock.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.legs import child_legs, destination, holder_of, internal_legs, topup_legs, withdrawal_legs
from orchestrator.references import reference_for
from shared.contracts import IntentMessage
from shared.errors import BadInput, violated
from shared.ids import LEGS_PER_PLAN_MAX, IntentId, unix_ms_of
from shared.ledger.limits import LEGS_A_LIMIT
from shared.operations import Adjustment, ChildOperation, Operation, P2PTransfer
from shared.plans import Dispatch, Plan, PlanKind
from shared.rules.book import RuleBook
from shared.rules.choice import Channels
from shared.rules.model import Subject
from shared.rules.refusals import Refusal, not_open
from shared.rules.terms import MONEY_IN, NoTerms, Terms, terms_of


def subject_of(operation: Operation, intent: IntentId, message: IntentMessage) -> Subject:
    """Return what rules may know of an intent; its channel is not known before it is chosen."""
    metadata = operation.metadata
    return Subject(
        operation_type=operation.operation_type,
        currency=operation.currency,
        amount_minor=operation.amount_minor,
        at_ms=unix_ms_of(intent),
        holder=holder_of(operation),
        user_id=message.user_id or "",
        tags=metadata.tags,
        labels=metadata.labels or {},
        destination=operation.to_account if isinstance(operation, P2PTransfer) else message.destination,
    )


def plan_operation(
    message: IntentMessage,
    *,
    intent: IntentId,
    book: RuleBook,
    is_open: Callable[[str], bool],
    channels: Channels,
) -> Plan | Refusal:
    """Plan the first attempt at an operation, or say why not.

    Args:
        message: as accepted by the gateway; validated here once more, since each hop trusts nobody.
        intent: whose operation it is; our reference at a PSP follows from it.
        book: the rules in force.
        is_open: whether an account of that name has been opened.
        channels: the PSPs, and whether they take anything on.
    """
    operation = message.operation
    terms = terms_of(subject_of(operation, intent, message), intent=intent, book=book, channels=channels)
    if isinstance(terms, NoTerms):
        return terms.refusal
    try:
        plan = (
            _internal(operation, terms)
            if isinstance(operation, P2PTransfer | Adjustment)
            else _through_psp(operation, intent, terms)
        )
    except BadInput as error:
        return Refusal(error.code, str(error))
    return _checked(replace(plan, limits=terms.limits, passed_over=terms.choice.passed_over), is_open)


def plan_child(operation: ChildOperation) -> Plan:
    """Plan an intent that a PSP's payment opened: no route decides about money that has moved already."""
    return Plan(operation.psp.upper(), 0, 0, child_legs(operation))


def _checked(plan: Plan, is_open: Callable[[str], bool]) -> Plan | Refusal:
    legs = len(plan.legs) + LEGS_A_LIMIT * len(plan.limits)
    if legs > LEGS_PER_PLAN_MAX:
        return Refusal("plan_too_long", f"the plan would need {legs} legs; {LEGS_PER_PLAN_MAX} are allowed")
    for name in dict.fromkeys(name for leg in plan.legs for name in (leg.debit, leg.credit)):
        if not is_open(name):
            return not_open(name)
    return plan


def _internal(operation: P2PTransfer | Adjustment, terms: Terms) -> Plan:
    route, quote = terms.choice.route, terms.quote
    return Plan(route.channel, route.id, route.version, internal_legs(operation, quote), fees=quote.fees)


def _through_psp(operation: Any, intent: IntentId, terms: Terms) -> Plan:
    """Plan what is held for a PSP to pay out, or what a PSP is to be paid for us."""
    route, manifest, quote = terms.choice.route, terms.choice.manifest, terms.quote
    if manifest is None or terms.psp_amount_minor is None:
        violated(f"intent {intent}: a channel without a PSP was chosen for {operation.operation_type}")
    money_in = operation.operation_type in MONEY_IN
    legs = topup_legs if money_in else withdrawal_legs
    dispatch = Dispatch(
        psp=manifest.psp,
        operation=operation.operation_type,
        reference=reference_for(intent, 1, manifest.reference),
        amount_minor=terms.psp_amount_minor,
        currency=operation.currency,
        destination=destination(operation),
        test_scenario=operation.test_scenario,
    )
    kind = PlanKind.CREDIT if money_in else PlanKind.HOLD
    return Plan(
        channel=route.channel,
        route_id=route.id,
        route_version=route.version,
        legs=legs(operation, manifest.psp, quote),
        kind=kind,
        dispatch=dispatch,
        fees=quote.fees,
    )
