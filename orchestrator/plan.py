"""Planning: from an accepted operation to the legs that will carry it, or to a refusal. Pure.

The plan is written down before it is carried out, and carried out byte for byte: whatever the configuration says
by then, a redelivered intent submits the plan that was stored. This module must never touch a store or a clock.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, assert_never

from orchestrator.routing import Route, choose
from shared.accounts import Account, AccountKind, equity, parse_account, transit
from shared.contracts import Adjustment, Operation, P2PTransfer
from shared.errors import BadInput, require
from shared.ids import LEGS_PER_PLAN_MAX
from shared.ledger.chain import Leg
from shared.ledger.codes import LegCode

PLAN_VERSION: Final = 1
_PLAN_JSON: Final = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What one attempt will do: its channel, the route that chose it, and every leg in order."""

    channel: str
    route_id: int
    route_version: int
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operation is refused before any money is touched: a stable code and a sentence for people."""

    code: str
    detail: str


def plan_operation(operation: Operation, *, routes: Sequence[Route], is_open: Callable[[str], bool]) -> Plan | Refusal:
    """Plan an operation, or say why not.

    Args:
        operation: as accepted by the gateway; validated here once more, since each hop trusts nobody.
        routes: the routes in force, in priority order.
        is_open: whether an account of that name has been opened.
    """
    try:
        legs = _legs(operation)
    except BadInput as error:
        return Refusal(error.code, str(error))
    if len(legs) > LEGS_PER_PLAN_MAX:
        return Refusal("plan_too_long", f"the plan would need {len(legs)} legs; {LEGS_PER_PLAN_MAX} are allowed")
    route = choose(routes, operation.operation_type, operation.currency, operation.amount_minor)
    if route is None:
        return Refusal("no_route", "no channel carries this operation type, currency and amount at present")
    for name in dict.fromkeys(name for leg in legs for name in (leg.debit, leg.credit)):
        if not is_open(name):
            return Refusal("unknown_account", f"no account named {name} has been opened")
    return Plan(route.channel, route.id, route.version, legs)


def _legs(operation: Operation) -> tuple[Leg, ...]:
    match operation:
        case P2PTransfer():
            return _p2p_legs(operation)
        case Adjustment():
            return _adjustment_legs(operation)
        case _ as unreachable:
            assert_never(unreachable)


def _p2p_legs(operation: P2PTransfer) -> tuple[Leg, ...]:
    _wallet(operation.from_account, operation.currency)
    _wallet(operation.to_account, operation.currency)
    if operation.from_account == operation.to_account:
        raise BadInput("an account cannot pay itself", code="self_transfer")
    between = transit(operation.currency)
    return (
        Leg(operation.from_account, between, operation.amount_minor, LegCode.P2P_PAY),
        Leg(between, operation.to_account, operation.amount_minor, LegCode.P2P_RECEIVE),
    )


def _adjustment_legs(operation: Adjustment) -> tuple[Leg, ...]:
    _wallet(operation.account, operation.currency)
    between, house = transit(operation.currency), equity(operation.currency)
    payer, payee = (house, operation.account) if operation.direction == "CREDIT" else (operation.account, house)
    return (
        Leg(payer, between, operation.amount_minor, LegCode.ADJUSTMENT_TAKE),
        Leg(between, payee, operation.amount_minor, LegCode.ADJUSTMENT_GIVE),
    )


_account: Final = lru_cache(maxsize=65_536)(parse_account)


def _wallet(name: str, currency: str) -> Account:
    account = _account(name)
    if account.kind not in (AccountKind.USER, AccountKind.MERCHANT):
        raise BadInput("only user and merchant accounts can pay or be paid", code="account_not_payable")
    if account.currency.code != currency:
        raise BadInput("the account is kept in another currency", code="currency_mismatch")
    return account


def write_plan(plan: Plan) -> str:
    """Return the plan as the JSON text to store."""
    return _PLAN_JSON.encode(
        {
            "v": PLAN_VERSION,
            "channel": plan.channel,
            "route": {"id": plan.route_id, "version": plan.route_version},
            "legs": [[leg.debit, leg.credit, leg.amount_minor, int(leg.code)] for leg in plan.legs],
        }
    )


def read_plan(text: str) -> Plan:
    """Read a stored plan.

    Raises:
        InvariantViolation: it was not written by `write_plan`.
    """
    stored = json.loads(text)
    require(stored.get("v") == PLAN_VERSION, f"a stored plan of version {stored.get('v')}")
    legs = tuple(Leg(debit, credit, amount, LegCode(code)) for debit, credit, amount, code in stored["legs"])
    return Plan(stored["channel"], stored["route"]["id"], stored["route"]["version"], legs)
