"""Planning: from an accepted operation to what will be carried out, or to a refusal. Pure.

The plan is written down before it is carried out, and carried out byte for byte: whatever the configuration says
by then, a redelivered intent submits the plan that was stored. This module must never touch a store or a clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.legs import child_legs, destination, internal_legs, topup_legs, withdrawal_legs
from orchestrator.references import reference_for
from orchestrator.routing import Route, candidates
from shared.contracts import Adjustment, ChildOperation, Operation, P2PTransfer, QpTopup
from shared.errors import BadInput
from shared.ids import LEGS_PER_PLAN_MAX, IntentId
from shared.plans import Dispatch, Plan, PlanKind
from shared.psp import Manifest


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operation is refused before any money is touched: a stable code and a sentence for people."""

    code: str
    detail: str


class Channels(Protocol):
    """What is known about PSPs at the moment."""

    def manifest_of_channel(self, channel: str) -> Manifest | None:
        """Return what the PSP behind a channel promises, None where there is no such PSP."""
        ...

    def refusal(self, psp: str, operation: str) -> str | None:
        """Say in a word why the PSP takes nothing on, None where it does."""
        ...


def plan_operation(
    operation: Operation,
    *,
    intent: IntentId,
    routes: Sequence[Route],
    is_open: Callable[[str], bool],
    channels: Channels,
) -> Plan | Refusal:
    """Plan the first attempt at an operation, or say why not.

    Args:
        operation: as accepted by the gateway; validated here once more, since each hop trusts nobody.
        intent: whose operation it is; our reference at a PSP follows from it.
        routes: the routes in force, in priority order.
        is_open: whether an account of that name has been opened.
        channels: the PSPs, and whether they take anything on.
    """
    fitting = candidates(routes, operation.operation_type, operation.currency, operation.amount_minor)
    if not fitting:
        return Refusal("no_route", "no channel carries this operation type, currency and amount at present")
    try:
        plan = (
            _internal(operation, fitting[0])
            if isinstance(operation, P2PTransfer | Adjustment)
            else _through_psp(operation, intent, fitting, channels)
        )
    except BadInput as error:
        return Refusal(error.code, str(error))
    return plan if isinstance(plan, Refusal) else _checked(plan, is_open)


def plan_child(operation: ChildOperation) -> Plan:
    """Plan an intent that a PSP's payment opened: no route decides about money that has moved already."""
    return Plan(operation.psp.upper(), 0, 0, child_legs(operation))


def _checked(plan: Plan, is_open: Callable[[str], bool]) -> Plan | Refusal:
    if len(plan.legs) > LEGS_PER_PLAN_MAX:
        return Refusal("plan_too_long", f"the plan would need {len(plan.legs)} legs; {LEGS_PER_PLAN_MAX} are allowed")
    for name in dict.fromkeys(name for leg in plan.legs for name in (leg.debit, leg.credit)):
        if not is_open(name):
            return Refusal("unknown_account", f"no account named {name} has been opened")
    return plan


def _internal(operation: P2PTransfer | Adjustment, route: Route) -> Plan:
    return Plan(route.channel, route.id, route.version, internal_legs(operation))


def _through_psp(operation: Any, intent: IntentId, routes: Sequence[Route], channels: Channels) -> Plan | Refusal:
    """Plan with the first channel whose PSP takes it on; nothing is held for one that does not."""
    refused: list[str] = []
    too_much = False
    for route in routes:
        manifest = channels.manifest_of_channel(route.channel)
        rules = manifest.operations.get(operation.operation_type) if manifest is not None else None
        if manifest is None or rules is None or rules.currency != operation.currency:
            continue
        if not rules.min_minor <= operation.amount_minor <= rules.max_minor:
            too_much = True
            continue
        reason = channels.refusal(manifest.psp, operation.operation_type)
        if reason is not None:
            refused.append(f"{route.channel}: {reason}")
            continue
        return _asked(operation, intent, route, manifest)
    if refused:
        return Refusal("psp_unavailable", f"no channel takes it on at the moment ({', '.join(refused)})")
    if too_much:
        return Refusal("amount_out_of_range", "the amount lies outside what the channels of this operation carry")
    return Refusal("no_route", "no channel carries this operation type, currency and amount at present")


def _asked(operation: Any, intent: IntentId, route: Route, manifest: Manifest) -> Plan:
    money_in = isinstance(operation, QpTopup)
    legs = topup_legs(operation, manifest.psp) if money_in else withdrawal_legs(operation, manifest.psp)
    dispatch = Dispatch(
        psp=manifest.psp,
        operation=operation.operation_type,
        reference=reference_for(intent, 1, manifest.reference),
        amount_minor=operation.amount_minor,
        currency=operation.currency,
        destination=destination(operation),
        test_scenario=operation.test_scenario,
    )
    kind = PlanKind.CREDIT if money_in else PlanKind.HOLD
    return Plan(route.channel, route.id, route.version, legs, kind, dispatch)
