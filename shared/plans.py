"""Plans: what one attempt at an intent will do, written down before it is done, and carried out byte for byte.

A plan is stored as JSON beside its intent (`pm.intent_attempt.plan`) and read by whoever carries it out, reconciles it
or explains it: whatever the configuration says by then, the stored plan is what happens. Its transfers are built by
`shared.ledger.planned`. This module must never decide what is planned; that is `orchestrator.plan`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from shared.errors import require
from shared.ledger.codes import LegCode

PLAN_VERSION: Final = 2
VERSIONS_READ: Final = (1, 2)
"""Version 1 knows neither fees nor limits; a plan without either is still written as such, for processes that only
read that."""
_PLAN_JSON: Final = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Leg:
    """One movement of a plan: `amount_minor` from account `debit` to account `credit`, because of `code`."""

    debit: str
    credit: str
    amount_minor: int
    code: int


ResolutionKind = Literal["post", "void", "credit", "close"]
"""How an attempt at a PSP ends: what is held is posted or voided; what was paid is credited, or nobody paid."""

CREDIT_REFUSED: Final = "credit_refused"
"""Why an intent failed of which the PSP has the money: no wallet could be credited, and suspense was."""


class PlanKind(StrEnum):
    """How a plan is carried out."""

    MOVE = "move"
    """Its legs are moved at once; whatever the ledger says is the end of it."""
    HOLD = "hold"
    """Its legs are held, a PSP is asked to pay, and they are posted or voided by what it says."""
    CREDIT = "credit"
    """A PSP is asked first; the legs are moved, for the amount that it confirms, once somebody has paid."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What is asked of the PSP; personal values of `destination` are sealed."""

    psp: str
    operation: str
    reference: str
    amount_minor: int
    currency: str
    destination: Mapping[str, str] = field(default_factory=dict)
    test_scenario: str | None = None


@dataclass(frozen=True, slots=True)
class FeeCharged:
    """A fee that the plan charges: by which version of which rule, how much, and for whom; its legs are in the plan."""

    rule: str
    version: int
    timing: str
    """``PRE``: the sender pays it on top; ``POST``: the recipient receives less."""
    amount_minor: int
    beneficiary: str


@dataclass(frozen=True, slots=True)
class LimitUse:
    """An allowance that the plan uses: so many `units` of `account`, of which no more than `cap` may ever be used.

    The cap is pinned here, so that a later change of the rule neither helps nor harms this plan. `measure` says what
    a unit is: a minor unit of the currency (``amount``) or one intent (``count``).
    """

    rule: str
    version: int
    measure: str
    account: str
    units: int
    cap: int
    resets_ms: int


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A channel that the route would have preferred, and why it was not taken."""

    channel: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one attempt will do.

    `legs` are its movements of money in order: the payer's, the payee's, then those of fees. `limits` are the
    allowances that it uses in the same chain, `passed_over` the channels that were better placed on its route.
    """

    channel: str
    route_id: int
    route_version: int
    legs: tuple[Leg, ...]
    kind: PlanKind = PlanKind.MOVE
    dispatch: Dispatch | None = None
    fees: tuple[FeeCharged, ...] = ()
    limits: tuple[LimitUse, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


def write_plan(plan: Plan) -> str:
    """Return the plan as the JSON text to store."""
    stored: dict[str, Any] = {
        "v": PLAN_VERSION if plan.fees or plan.limits else 1,
        "channel": plan.channel,
        "route": {"id": plan.route_id, "version": plan.route_version},
        "legs": [[leg.debit, leg.credit, leg.amount_minor, int(leg.code)] for leg in plan.legs],
    }
    if plan.passed_over:
        stored["route"]["passed_over"] = [[one.channel, one.reason] for one in plan.passed_over]
    if plan.fees:
        stored["fees"] = [[fee.rule, fee.version, fee.timing, fee.amount_minor, fee.beneficiary] for fee in plan.fees]
    if plan.limits:
        stored["limits"] = [
            [use.rule, use.version, use.measure, use.account, use.units, use.cap, use.resets_ms] for use in plan.limits
        ]
    if plan.dispatch is not None:
        asked = plan.dispatch
        stored["kind"] = plan.kind
        stored["dispatch"] = {
            "psp": asked.psp,
            "operation": asked.operation,
            "reference": asked.reference,
            "amount_minor": asked.amount_minor,
            "currency": asked.currency,
            "destination": dict(asked.destination),
            "test_scenario": asked.test_scenario,
        }
    return _PLAN_JSON.encode(stored)


def read_plan(text: str) -> Plan:
    """Read a stored plan.

    Raises:
        InvariantViolation: it was not written by `write_plan`.
    """
    stored = json.loads(text)
    require(stored.get("v") in VERSIONS_READ, f"a stored plan of version {stored.get('v')}")
    route, asked = stored["route"], stored.get("dispatch")
    return Plan(
        channel=stored["channel"],
        route_id=route["id"],
        route_version=route["version"],
        legs=tuple(Leg(debit, credit, amount, LegCode(code)) for debit, credit, amount, code in stored["legs"]),
        kind=PlanKind(stored["kind"]) if asked is not None else PlanKind.MOVE,
        dispatch=Dispatch(**asked) if asked is not None else None,
        fees=tuple(FeeCharged(*fee) for fee in stored.get("fees", ())),
        limits=tuple(LimitUse(*use) for use in stored.get("limits", ())),
        passed_over=tuple(PassedOver(*one) for one in route.get("passed_over", ())),
    )
