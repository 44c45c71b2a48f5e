"""The transfers of a stored plan and of what was resolved about it: pure, the same bytes for whoever needs them.

::

    kind     first chain (MOVE)                 what ends it
    MOVE     legs, limits                       nothing: it is over with the first chain
    HOLD     legs and limits, held              POST or VOID of all that is held, as one chain
    CREDIT   limits, held (if there are any)    CREDIT of the legs, which nothing can refuse; then LIMIT posts what was
                                                reserved, in a chain of its own. LIMIT voids it where nobody paid.

An orchestrator submits them; the reconciler and whoever checks the books compare with them. This module must never
decide anything.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import tigerbeetle as tb

from shared.errors import require, violated
from shared.ids import LEGS_PER_PLAN_MAX, IntentId, Phase, transfer_id
from shared.ledger.chain import build_chain, build_post, build_void
from shared.ledger.codes import LegCode
from shared.ledger.limits import LEGS_A_LIMIT, limit_legs
from shared.plans import Leg, Plan, PlanKind, ResolutionKind

_LINKED: Final = tb.TransferFlags.LINKED
_FEES: Final = frozenset({LegCode.FEE_TAKE, LegCode.FEE_GIVE})
Transfers = list[tb.Transfer]


def first_chain(intent: IntentId, attempt: int, plan: Plan) -> Transfers:
    """Return what is submitted first; empty where a PSP is asked before anything is held."""
    require(len(plan.legs) + LEGS_A_LIMIT * len(plan.limits) <= LEGS_PER_PLAN_MAX, f"{intent}: too many legs")
    held = plan.kind is not PlanKind.MOVE
    money = [] if plan.kind is PlanKind.CREDIT else build_chain(intent, attempt, Phase.MOVE, plan.legs, pending=held)
    if not plan.limits:
        return money
    if money:
        money[-1].flags |= _LINKED
    first_id = transfer_id(intent, attempt=attempt, phase=Phase.MOVE, leg=len(plan.legs))
    return money + limit_legs(first_id, intent.int, plan.limits, pending=held)


def refused_limit(plan: Plan, leg: int) -> int | None:
    """Return which of the plan's limits a leg of its first chain belongs to; None for a leg of money."""
    money = 0 if plan.kind is PlanKind.CREDIT else len(plan.legs)
    return None if leg < money else (leg - money) // LEGS_A_LIMIT


def closing_chain(
    intent: IntentId, attempt: int, plan: Plan, *, kind: ResolutionKind, amount_minor: int | None, number: int
) -> Transfers:
    """Return the chain that ends an attempt; empty where nobody paid and nothing was held.

    Args:
        intent: whose attempt it is.
        attempt: which one; its first chain's ids carry it.
        plan: what it had planned.
        kind: what was resolved about it.
        amount_minor: what the PSP moved, where it moved anything.
        number: the attempt number in the ids of these transfers.
    """
    money_ids = [transfer_id(intent, attempt=attempt, phase=Phase.MOVE, leg=leg) for leg in range(len(plan.legs))]
    held_ids = money_ids + _reserved_ids(intent, attempt, plan)
    match kind:
        case "post":
            amount = _paid(intent, amount_minor)
            return build_post(intent, number, held_ids, leg_amounts(plan, amount) + limit_units(plan, amount))
        case "void":
            return build_void(intent, number, held_ids)
        case "credit":
            return build_chain(intent, number, Phase.CREDIT, paid_legs(plan, _paid(intent, amount_minor)))
        case "close":
            return []


def release_chain(intent: IntentId, attempt: int, plan: Plan, *, paid_minor: int | None, number: int) -> Transfers:
    """Return the chain that uses up what money in had reserved of its limits, or gives it back if `paid_minor` is None.

    Other plans end their limits together with their money, and have none.
    """
    if plan.kind is not PlanKind.CREDIT or not plan.limits:
        return []
    held_ids = _reserved_ids(intent, attempt, plan)
    if paid_minor is None:
        return build_void(intent, number, held_ids, phase=Phase.LIMIT)
    return build_post(intent, number, held_ids, limit_units(plan, paid_minor), phase=Phase.LIMIT)


def leg_amounts(plan: Plan, paid_minor: int) -> list[int]:
    """Return what each leg moves when the PSP has moved `paid_minor`, which may not be what it was asked for.

    Payer and payee bear the difference; fees stay as planned. Where the payee of money in would be left with nothing,
    no fee is taken: its legs move 0, and the payee gets what was paid.
    """
    asked = plan.dispatch
    difference = 0 if asked is None else paid_minor - asked.amount_minor
    if difference == 0:
        return [leg.amount_minor for leg in plan.legs]
    amounts = [leg.amount_minor if leg.code in _FEES else leg.amount_minor + difference for leg in plan.legs]
    if min(amounts) > 0:
        return amounts
    return [0 if leg.code in _FEES else paid_minor for leg in plan.legs]


def paid_legs(plan: Plan, paid_minor: int) -> list[Leg]:
    """Return the legs of a credit of `paid_minor`; those that move nothing are left out."""
    amounts = leg_amounts(plan, paid_minor)
    return [replace(leg, amount_minor=amount) for leg, amount in zip(plan.legs, amounts, strict=True) if amount]


def limit_units(plan: Plan, paid_minor: int) -> list[int]:
    """Return what is used up of each reserved allowance when the PSP has moved `paid_minor`: no more than reserved.

    Where no fee is taken (see `leg_amounts`), that is all that the payee gets.
    """
    asked = plan.dispatch
    short = 0 if asked is None else max(asked.amount_minor - paid_minor, 0)
    least = 0 if all(leg_amounts(plan, paid_minor)) else paid_minor
    return [
        use.units if use.measure == "count" else min(use.units, max(use.units - short, least)) for use in plan.limits
    ]


def as_booked(closing: Sequence[tb.Transfer], first: Sequence[tb.Transfer]) -> Transfers:
    """Return posts and voids as the ledger keeps them: with accounts, ledger and code of what they end."""
    held = {transfer.id: transfer for transfer in first}
    return [_kept(transfer, held.get(transfer.pending_id)) for transfer in closing]


def _kept(transfer: tb.Transfer, hold: tb.Transfer | None) -> tb.Transfer:
    if hold is None:
        return transfer
    voids = bool(transfer.flags & tb.TransferFlags.VOID_PENDING_TRANSFER)
    return replace(
        transfer,
        amount=hold.amount if voids else transfer.amount,
        debit_account_id=hold.debit_account_id,
        credit_account_id=hold.credit_account_id,
        ledger=hold.ledger,
        code=hold.code,
    )


def _reserved_ids(intent: IntentId, attempt: int, plan: Plan) -> list[int]:
    first = len(plan.legs)
    return [
        transfer_id(intent, attempt=attempt, phase=Phase.MOVE, leg=first + LEGS_A_LIMIT * index)
        for index in range(len(plan.limits))
    ]


def _paid(intent: IntentId, amount_minor: int | None) -> int:
    return amount_minor if amount_minor is not None else violated(f"intent {intent} settles for no amount")
