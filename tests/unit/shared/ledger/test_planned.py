"""The transfers of plans with fees and limits: balanced, numbered without a gap, and the same whoever builds them."""

from collections import Counter

import pytest
import tigerbeetle as tb
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvariantViolation
from shared.ids import Phase, intent_id, split_transfer_id
from shared.ledger.accounts import LIMITS_LEDGER
from shared.ledger.codes import LegCode
from shared.ledger.limits import CAP_MAX, FUNDED, id_of_limit, limit_legs
from shared.ledger.planned import (
    as_booked,
    closing_chain,
    first_chain,
    leg_amounts,
    limit_units,
    refused_limit,
    release_chain,
)
from shared.plans import Dispatch, Leg, LimitUse, Plan, PlanKind

INTENT = intent_id(1_763_000_000_000_000, 3, 9)
LINKED, PENDING = tb.TransferFlags.LINKED, tb.TransferFlags.PENDING
VOID = tb.TransferFlags.VOID_PENDING_TRANSFER
AMOUNTS = st.integers(1, 1 << 40)


def use(units: int = 100, cap: int = 500, measure: str = "amount") -> LimitUse:
    """A daily allowance of ann's."""
    return LimitUse("day", 1, measure, f"limit:user:ann:THB:day:{measure}:2026-11-29", units, cap, 0)


def plan(kind: PlanKind, *, amount: int = 100, pre: int = 0, post: int = 0, limits: tuple[LimitUse, ...] = ()) -> Plan:
    """A plan between a wallet and another side, with fees both ways."""
    money_in = kind is PlanKind.CREDIT
    payer, payee = ("psp:qp:THB", "user:ann:THB") if money_in else ("user:ann:THB", "psp:ipps:THB")
    asked = amount + pre if money_in else amount - post
    legs = [
        Leg(payer, "transit:THB", asked if money_in else amount, LegCode.P2P_PAY),
        Leg("transit:THB", payee, amount - post, LegCode.P2P_RECEIVE),
    ]
    if pre and not money_in:
        legs.append(Leg(payer, "transit:THB", pre, LegCode.FEE_TAKE))
    legs += [Leg("transit:THB", "fee:f:THB", fee, LegCode.FEE_GIVE) for fee in (pre, post) if fee]
    dispatch = None if kind is PlanKind.MOVE else Dispatch("ipps", "X", "R", asked, "THB")
    return Plan("C", 1, 1, tuple(legs), kind, dispatch, limits=limits)


def effect(legs: tuple[Leg, ...], amounts: list[int]) -> Counter[str]:
    """What the legs do to each account."""
    found: Counter[str] = Counter()
    for leg, amount in zip(legs, amounts, strict=True):
        found[leg.debit] -= amount
        found[leg.credit] += amount
    return found


@given(st.sampled_from([PlanKind.HOLD, PlanKind.CREDIT]), AMOUNTS, st.integers(0, 500), st.integers(0, 500), AMOUNTS)
def test_whatever_a_psp_has_paid_transit_ends_at_zero(
    kind: PlanKind, amount: int, pre: int, post: int, paid: int
) -> None:
    """The PSP's account moves by just what was paid, and the rest adds up."""
    made = plan(kind, amount=amount + post, pre=pre, post=post)
    asked = made.dispatch.amount_minor if made.dispatch is not None else 0
    paid = min(paid, asked) if kind is PlanKind.HOLD else paid
    amounts = leg_amounts(made, paid)
    found = effect(made.legs, amounts)
    assert found["transit:THB"] == 0
    assert sum(found.values()) == 0
    assert found["psp:qp:THB"] + -found["psp:ipps:THB"] == -paid
    assert min(amounts) >= 0
    if paid == asked:
        assert amounts == [leg.amount_minor for leg in made.legs]


@pytest.mark.parametrize("kind", PlanKind)
def test_the_first_chain_is_one_chain_of_money_and_limits(kind: PlanKind) -> None:
    """Money first (none of it where a PSP is asked first), three legs a limit; only the last is not linked."""
    made = plan(kind, pre=5, limits=(use(), use(1, 3, "count")))
    chain = first_chain(INTENT, 1, made)
    money = 0 if kind is PlanKind.CREDIT else len(made.legs)
    assert len(chain) == money + 6
    assert [bool(transfer.flags & LINKED) for transfer in chain] == [True] * (len(chain) - 1) + [False]
    assert [transfer.ledger for transfer in chain[:money]] == [764] * money
    held = bool(kind is not PlanKind.MOVE)
    assert all(bool(transfer.flags & PENDING) == held for transfer in chain[:money])
    spent, check, give_back = chain[money : money + 3]
    assert (spent.amount, bool(spent.flags & PENDING), spent.code) == (100, held, LegCode.LIMIT_USE)
    assert (check.amount, bool(check.flags & PENDING), check.ledger) == (FUNDED - 500, True, LIMITS_LEDGER)
    assert (give_back.pending_id, bool(give_back.flags & VOID)) == (check.id, True)
    assert spent.debit_account_id == check.debit_account_id == id_of_limit(made.limits[0].account)
    parts = [split_transfer_id(transfer.id) for transfer in chain]
    first_leg = 0 if money else len(made.legs)
    assert [leg for *_, leg in parts] == list(range(first_leg, first_leg + len(chain)))
    assert {(intent, attempt, phase) for intent, attempt, phase, _ in parts} == {(INTENT, 1, Phase.MOVE)}
    assert [refused_limit(made, leg) for leg in range(len(chain))] == [None] * money + [0] * 3 + [1] * 3


def test_a_hold_ends_as_one_chain_with_its_limits() -> None:
    """What is posted is what was paid; what a check held has been given back at once, and is no part of it."""
    made = plan(PlanKind.HOLD, amount=100, pre=5, limits=(use(), use(1, 3, "count")))
    first = first_chain(INTENT, 1, made)
    post = closing_chain(INTENT, 1, made, kind="post", amount_minor=80, number=2)
    assert [transfer.amount for transfer in post] == [80, 80, 5, 5, 80, 1]
    void = closing_chain(INTENT, 1, made, kind="void", amount_minor=None, number=2)
    held = {transfer.id for transfer in first if transfer.flags & PENDING and transfer.code != LegCode.LIMIT_CHECK}
    assert {transfer.pending_id for transfer in post} == {transfer.pending_id for transfer in void} == held
    assert release_chain(INTENT, 1, made, paid_minor=80, number=2) == []
    booked = as_booked(void, first)
    assert [transfer.amount for transfer in booked] == [100, 100, 5, 5, 100, 1]
    assert [transfer.ledger for transfer in booked] == [764] * 4 + [LIMITS_LEDGER] * 2


def test_money_in_ends_its_limits_in_a_chain_of_their_own() -> None:
    """The credit has no leg that can fail; what is used up is no more than was reserved."""
    made = plan(PlanKind.CREDIT, amount=100, post=10, limits=(use(), use(1, 3, "count")))
    credit = closing_chain(INTENT, 1, made, kind="credit", amount_minor=60, number=1)
    assert [transfer.amount for transfer in credit] == [60, 50, 10]
    assert not any(transfer.flags & PENDING for transfer in credit)
    used = release_chain(INTENT, 1, made, paid_minor=60, number=1)
    assert [transfer.amount for transfer in used] == [60, 1]
    assert [split_transfer_id(transfer.id)[2:] for transfer in used] == [(Phase.LIMIT, 0), (Phase.LIMIT, 1)]
    assert limit_units(made, 900) == [100, 1]
    given_back = release_chain(INTENT, 1, made, paid_minor=None, number=1)
    assert all(transfer.flags & VOID for transfer in given_back)
    assert closing_chain(INTENT, 1, made, kind="close", amount_minor=None, number=1) == []


@pytest.mark.parametrize(("paid", "wallet"), [(112, 100), (60, 48), (13, 1), (12, 12), (5, 5)])
def test_an_allowance_loses_what_the_wallet_got_where_no_fee_is_taken(paid: int, wallet: int) -> None:
    """Whoever pays no more than the fee on top gets all of it into the wallet, and not past its limit."""
    made = plan(PlanKind.CREDIT, amount=100, pre=12, limits=(use(), use(1, 3, "count")))
    assert leg_amounts(made, paid)[1] == wallet
    assert limit_units(made, paid) == [wallet, 1]


@pytest.mark.parametrize(("units", "cap"), [(0, 5), (6, 5), (1, CAP_MAX + 1)])
def test_what_no_allowance_can_give_is_never_submitted(units: int, cap: int) -> None:
    """Planning has refused it; nobody else may try."""
    with pytest.raises(InvariantViolation):
        limit_legs(1 << 16, INTENT.int, [use(units, cap)], pending=False)


def test_a_plan_with_more_legs_than_ids_is_never_built() -> None:
    """Twelve limits and a hundred legs would run into another phase's ids."""
    made = plan(PlanKind.MOVE, limits=tuple(use() for _ in range(33)))
    with pytest.raises(InvariantViolation, match="too many legs"):
        first_chain(INTENT, 1, made)
