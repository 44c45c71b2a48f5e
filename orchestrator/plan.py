"""Planning: from an accepted operation to what will be carried out, or to a refusal. Pure.

::

    route → channel → fees → limits → legs

The plan is written down before it is carried out, and carried out byte for byte: whatever the configuration says
by then, a redelivered intent submits the plan that was stored. This module must never touch a store or a clock.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.legs import child_legs, destination, holder_of, internal_legs, topup_legs, withdrawal_legs
from orchestrator.references import reference_for
from shared.contracts import IntentMessage
from shared.errors import BadInput
from shared.ids import LEGS_PER_PLAN_MAX, IntentId, unix_ms_of
from shared.ledger.limits import LEGS_A_LIMIT
from shared.money import Money, currency
from shared.operations import Adjustment, ChildOperation, Operation, P2PTransfer, QpTopup
from shared.plans import Dispatch, LimitUse, Plan, PlanKind
from shared.rules.book import RuleBook
from shared.rules.choice import Channels, Choice, NoChannel, choose
from shared.rules.fees import Quote
from shared.rules.limits import LIMIT_EXCEEDED, LimitReached
from shared.rules.model import RuleFault, Subject

FEE_RULE_FAILED = "fee_rule_failed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operation is refused before any money is touched: a stable code, a sentence, and `data` for programs."""

    code: str
    detail: str
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data_json(self) -> str | None:
        """The data as JSON text, None where there is none."""
        return json.dumps(self.data) if self.data else None


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
    subject = subject_of(operation, intent, message)
    choice = choose(book.routes, subject, intent, channels)
    if isinstance(choice, NoChannel):
        return Refusal(choice.code, choice.detail)
    subject = replace(subject, channel=choice.route.channel)
    quote = Quote(subject.amount_minor) if isinstance(operation, Adjustment) else book.quote(subject)
    if isinstance(quote, RuleFault):
        return Refusal(FEE_RULE_FAILED, f"fee rule {quote}", {"rule": quote.rule, "version": quote.version})
    limits = () if isinstance(operation, Adjustment) else book.limit_uses(subject)
    if isinstance(limits, LimitReached):
        return beyond_limit(limits, subject)
    try:
        plan = (
            _internal(operation, choice, quote)
            if isinstance(operation, P2PTransfer | Adjustment)
            else _through_psp(operation, intent, choice, quote)
        )
    except BadInput as error:
        return Refusal(error.code, str(error))
    return _checked(replace(plan, limits=limits, passed_over=choice.passed_over), is_open)


def plan_child(operation: ChildOperation) -> Plan:
    """Plan an intent that a PSP's payment opened: no route decides about money that has moved already."""
    return Plan(operation.psp.upper(), 0, 0, child_legs(operation))


def limit_refusal(use: LimitUse, ccy: str, *, left: int) -> Refusal:
    """Say which limit refused an intent, what is left of it, and when it begins anew."""
    period = use.account.rpartition(":")[2]
    resets_at = _time(use.resets_ms)
    of_what = _units(use.measure, use.cap, ccy)
    detail = (
        f"limit {use.rule}: {of_what} may be used in {period}, {_units(use.measure, left, ccy)} is left; "
        f"it begins anew at {resets_at}"
    )
    data = {
        "rule": use.rule,
        "version": use.version,
        "measure": use.measure,
        "period": period,
        "cap": use.cap,
        "left": left,
        "resets_at": resets_at,
    }
    return Refusal(LIMIT_EXCEEDED, detail, {"limit": data})


def beyond_limit(reached: LimitReached, subject: Subject) -> Refusal:
    """Say which limit an intent is beyond by itself, whatever else was used of it."""
    cap = _units(reached.measure, reached.cap, subject.currency)
    resets_at = None if reached.resets_ms is None else _time(reached.resets_ms)
    data = {
        "rule": reached.rule,
        "version": reached.version,
        "measure": reached.measure,
        "period": reached.period,
        "cap": reached.cap,
        "resets_at": resets_at,
    }
    when = "at once" if resets_at is None else f"in {reached.period}, and no more before {resets_at}"
    return Refusal(LIMIT_EXCEEDED, f"limit {reached.rule}: no more than {cap} may be used {when}", {"limit": data})


def _units(measure: str, units: int, ccy: str) -> str:
    return str(Money(units, currency(ccy))) if measure == "amount" else f"{units} intents"


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def _checked(plan: Plan, is_open: Callable[[str], bool]) -> Plan | Refusal:
    legs = len(plan.legs) + LEGS_A_LIMIT * len(plan.limits)
    if legs > LEGS_PER_PLAN_MAX:
        return Refusal("plan_too_long", f"the plan would need {legs} legs; {LEGS_PER_PLAN_MAX} are allowed")
    for name in dict.fromkeys(name for leg in plan.legs for name in (leg.debit, leg.credit)):
        if not is_open(name):
            return Refusal("unknown_account", f"no account named {name} has been opened")
    return plan


def _internal(operation: P2PTransfer | Adjustment, choice: Choice, quote: Quote) -> Plan:
    route = choice.route
    return Plan(route.channel, route.id, route.version, internal_legs(operation, quote), fees=quote.fees)


def _through_psp(operation: Any, intent: IntentId, choice: Choice, quote: Quote) -> Plan:
    """Plan what is held for a PSP to pay out, or what a PSP is to be paid for us."""
    route, manifest = choice.route, choice.manifest
    if manifest is None:
        raise BadInput("no channel carries this operation at present", code="no_route")
    money_in = isinstance(operation, QpTopup)
    legs = topup_legs if money_in else withdrawal_legs
    asked_minor = quote.payer_pays_minor if money_in else quote.payee_gets_minor
    rules = manifest.operations[operation.operation_type]
    if not rules.min_minor <= asked_minor <= rules.max_minor:
        raise BadInput("with its fees the amount lies outside what the channel carries", code="amount_out_of_range")
    dispatch = Dispatch(
        psp=manifest.psp,
        operation=operation.operation_type,
        reference=reference_for(intent, 1, manifest.reference),
        amount_minor=asked_minor,
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
