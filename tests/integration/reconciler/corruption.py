"""The corruption kit: ways to spoil a history, each with the breaks that it must be found as, and no others.

A payment is spoilt before it is loaded, so that the same is done to every ledger, the ones that nobody can edit
included. What is not about a payment is planted beside the history.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

import tigerbeetle as tb

from reconciler.kinds import BreakKind
from shared.accounts import parse_account
from shared.ids import Phase, account_id, transfer_id
from shared.ledger.accounts import LIMITS_LEDGER, ledger_account
from shared.ledger.chain import build_chain, build_post, build_void
from shared.ledger.codes import LegCode
from shared.ledger.limits import ALLOWANCE_ID
from shared.ledger.planned import closing_chain, first_chain
from shared.plans import Leg
from tests.integration.reconciler.history import Clerk, Payment, Stage

Found = tuple[BreakKind, str]
K = BreakKind
_LINKED = tb.TransferFlags.LINKED


@dataclass(frozen=True, slots=True)
class Spoiling:
    """A way to spoil a payment of a shape; it is found as `kind` under the payment's id, or under what is returned."""

    kind: BreakKind
    shape: str
    spoil: Callable[[Payment], str | None]


def settled_without_transfers(one: Payment) -> None:
    """The database says settled, and nothing ever moved."""
    one.first = []


def amount_mismatch(one: Payment) -> None:
    """The ledger moved one satang less on every leg."""
    for transfer in one.first:
        transfer.amount -= 1


def amount_zero(one: Payment) -> None:
    """What was held is posted with nothing."""
    used = [transfer.amount for transfer in one.closing]
    amounts = [0] * len(one.plan.legs) + used[len(one.plan.legs) :]
    one.closing = build_post(one.id, one.attempt, [each.pending_id for each in one.closing], amounts)


def account_mismatch(one: Payment) -> None:
    """The payee's money went to the fee account."""
    one.first[1].credit_account_id = account_id("fee:service:THB")


def transfer_mismatch(one: Payment) -> None:
    """The reason of a leg is another one."""
    one.first[0].code = LegCode.ADJUSTMENT_TAKE


def transfer_unplanned(one: Payment) -> None:
    """One leg more than planned, between accounts of the house."""
    one.extra = build_chain(one.id, 1, Phase.SUSPENSE, [Leg("equity:THB", "liquidity:THB", 77, LegCode.SUSPENSE_TAKE)])


def limit_unplanned(one: Payment) -> None:
    """An allowance was used that the plan knows nothing of."""
    one.extra = [
        tb.Transfer(
            id=transfer_id(one.id, attempt=1, phase=Phase.LIMIT, leg=9),
            debit_account_id=ALLOWANCE_ID,
            credit_account_id=account_id("limit:w0:daily:20261101"),
            amount=5,
            user_data_128=one.id.int,
            ledger=LIMITS_LEDGER,
            code=LegCode.LIMIT_USE,
        )
    ]


def limit_mismatch(one: Payment) -> None:
    """Less of an allowance was used than planned."""
    next(each for each in one.first if each.code == LegCode.LIMIT_USE).amount -= 1


def hold_missing(one: Payment) -> None:
    """Open at the PSP, and nothing is held."""
    one.first = []


def hold_left_open(one: Payment) -> None:
    """Failed, and still held."""
    one.closing = []


def posted_though_failed(one: Payment) -> None:
    """Failed, and posted all the same."""
    one.closing = closing_chain(
        one.id, one.attempt, one.plan, kind="post", amount_minor=one.plan.legs[0].amount_minor, number=one.attempt
    )


def voided_though_settled(one: Payment) -> None:
    """Settled, and given back all the same."""
    one.closing = build_void(one.id, one.attempt, [each.pending_id for each in one.closing])


def posted_by_hand(one: Payment) -> None:
    """Settled and posted, but by transfers that nobody planned: the hold is over, and not by what was resolved."""
    held, amounts = [each.pending_id for each in one.closing], [each.amount for each in one.closing]
    one.closing = build_post(one.id, one.attempt + 7, held, amounts)


def moved_though_refused(one: Payment) -> None:
    """Refused, and moved all the same."""
    one.first = first_chain(one.id, 1, one.plan)


def plan_missing(one: Payment) -> None:
    """Nobody knows any more what it meant to do."""
    one.without.add("intent_attempt")


def state_contradicts_plan(one: Payment) -> None:
    """Settled, and nothing was ever resolved about it."""
    one.without.add("resolution")


def history_missing(one: Payment) -> None:
    """The payee does not see what was paid."""
    del one.moved[1]


def history_differs(one: Payment) -> None:
    """The payer sees one satang less."""
    name, transfer, amount, code = one.moved[0]
    one.moved[0] = (name, transfer, amount + 1, code)


def history_extra(one: Payment) -> str:
    """The payer sees a movement that never happened."""
    name, transfer, amount, code = one.moved[0]
    one.moved.append((name, transfer + 40, amount, code))
    return f"{UUID(int=account_id(name))}:{UUID(int=transfer + 40)}"


SPOILINGS = (
    Spoiling(K.SETTLED_WITHOUT_TRANSFERS, "p2p", settled_without_transfers),
    Spoiling(K.AMOUNT_MISMATCH, "p2p", amount_mismatch),
    Spoiling(K.ACCOUNT_MISMATCH, "p2p", account_mismatch),
    Spoiling(K.TRANSFER_MISMATCH, "p2p", transfer_mismatch),
    Spoiling(K.TRANSFER_UNPLANNED, "p2p", transfer_unplanned),
    Spoiling(K.LIMIT_UNPLANNED, "p2p", limit_unplanned),
    Spoiling(K.PLAN_MISSING, "p2p", plan_missing),
    Spoiling(K.HISTORY_MISSING, "p2p", history_missing),
    Spoiling(K.HISTORY_DIFFERS, "p2p", history_differs),
    Spoiling(K.HISTORY_EXTRA, "p2p", history_extra),
    Spoiling(K.LIMIT_MISMATCH, "p2p_limits", limit_mismatch),
    Spoiling(K.AMOUNT_ZERO, "withdrawal", amount_zero),
    Spoiling(K.SETTLED_WITHOUT_TRANSFERS, "withdrawal", voided_though_settled),
    Spoiling(K.TRANSFER_UNPLANNED, "withdrawal", posted_by_hand),
    Spoiling(K.STATE_CONTRADICTS_PLAN, "withdrawal", state_contradicts_plan),
    Spoiling(K.HOLD_MISSING, "withdrawal_open", hold_missing),
    Spoiling(K.HOLD_LEFT_OPEN, "withdrawal_failed", hold_left_open),
    Spoiling(K.POSTED_THOUGH_FAILED, "withdrawal_failed", posted_though_failed),
    Spoiling(K.MOVED_THOUGH_REFUSED, "refused", moved_though_refused),
)
"""Every way to spoil one payment."""

PAIRS = [
    (first, second)
    for index, first in enumerate(SPOILINGS)
    for second in SPOILINGS[index + 1 :]
    if first.shape == second.shape == "p2p"
    and {first.spoil, second.spoil}
    not in (
        {transfer_unplanned, limit_unplanned},  # both write the same field of the kit
        {account_mismatch, settled_without_transfers},  # there is no leg left to spoil
        {transfer_mismatch, settled_without_transfers},
        {amount_mismatch, settled_without_transfers},
    )
]
"""Those that can be planted together on one payment."""


def spoilt(clerk: Clerk, *spoilings: Spoiling) -> tuple[Payment, set[Found]]:
    """Make a payment, spoil it, and say what must be found of it."""
    one = clerk.one(spoilings[0].shape)
    found = set()
    # What changes a leg goes first, what adds to them after it.
    for each in sorted(spoilings, key=lambda spoiling: spoiling.spoil is settled_without_transfers):
        subject = each.spoil(one)
        found.add((each.kind, subject or str(one.id)))
    return one, _visible(found)


def _visible(found: set[Found]) -> set[Found]:
    """Leave out what is not judged while something graver about the same payment stands open."""
    kinds = {kind for kind, _ in found}
    if K.PLAN_MISSING in kinds:
        return {each for each in found if each[0] is K.PLAN_MISSING}
    if K.SETTLED_WITHOUT_TRANSFERS in kinds:
        hidden = {K.HISTORY_MISSING, K.HISTORY_DIFFERS, K.HISTORY_EXTRA, K.LIMIT_UNPLANNED}
        return {each for each in found if each[0] not in hidden}
    return found


async def without_an_intent(stage: Stage, clerk: Clerk) -> set[Found]:
    """Somebody moved money past the saga."""
    stranger = clerk.new_id()
    legs = [Leg("equity:THB", "liquidity:THB", 500, LegCode.ADJUSTMENT_TAKE)]
    await stage.submit(build_chain(stranger, 1, Phase.MOVE, legs))
    return {(K.TRANSFER_WITHOUT_INTENT, str(stranger))}


async def held_without_an_intent(stage: Stage, clerk: Clerk) -> set[Found]:
    """Somebody holds a customer's money past the saga; the read model does not know of it either."""
    stranger = clerk.new_id()
    legs = [Leg("equity:THB", "liquidity:THB", 500, LegCode.WITHDRAWAL_TAKE)]
    await stage.submit(build_chain(stranger, 1, Phase.MOVE, legs, pending=True))
    return {(K.HOLD_WITHOUT_INTENT, str(stranger))}


async def used_without_an_intent(stage: Stage, clerk: Clerk) -> set[Found]:
    """An allowance was used by nobody."""
    stranger = clerk.new_id()
    one = clerk.one("p2p")
    limit_unplanned(one)
    await stage.submit([replace(one.extra[0], id=stranger.int + 1, user_data_128=stranger.int)])
    return {(K.LIMIT_UNPLANNED, str(stranger))}


async def left_in_transit(stage: Stage, clerk: Clerk) -> set[Found]:
    """Half a movement, by nobody."""
    stranger = clerk.new_id()
    await stage.submit(
        build_chain(stranger, 1, Phase.MOVE, [Leg("equity:EUR", "transit:EUR", 3, LegCode.ADJUSTMENT_TAKE)])
    )
    return {(K.TRANSIT_NOT_ZERO, "transit:EUR"), (K.TRANSFER_WITHOUT_INTENT, str(stranger))}


async def another_balance(stage: Stage, clerk: Clerk) -> set[Found]:
    """The read model shows more than there is."""
    wallet = clerk.wallets.baht()
    await stage.pool.execute(
        "UPDATE pm.account_balance SET posted = posted + 5 WHERE account_id = $1", UUID(int=account_id(wallet))
    )
    return {(K.BALANCE_DIFFERS, wallet)}


async def another_hold(stage: Stage, clerk: Clerk) -> set[Found]:
    """The read model shows less held than there is."""
    wallet = clerk.wallets.roubles()
    await stage.pool.execute(
        "UPDATE pm.account_balance SET held = held - 5 WHERE account_id = $1", UUID(int=account_id(wallet))
    )
    return {(K.HELD_DIFFERS, wallet)}


async def never_opened(stage: Stage, _clerk: Clerk) -> set[Found]:
    """On the map, and not in the ledger."""
    await _map(stage, "user:ghost:THB", account_id("user:ghost:THB"))
    return {(K.ACCOUNT_MISSING, "user:ghost:THB")}


async def under_another_id(stage: Stage, _clerk: Clerk) -> set[Found]:
    """On the map under the id of another name."""
    await _map(stage, "user:alias:THB", account_id("user:somebody:THB"))
    return {(K.ACCOUNT_MISNAMED, "user:alias:THB")}


async def with_other_flags(stage: Stage, _clerk: Clerk) -> set[Found]:
    """A wallet that may overdraw."""
    opened = ledger_account(parse_account("user:loose:THB"))
    opened.flags = tb.AccountFlags.NONE
    await stage.ledger.create_accounts([opened])
    await _map(stage, "user:loose:THB", opened.id)
    return {(K.ACCOUNT_MALFORMED, "user:loose:THB")}


async def not_on_the_map(stage: Stage, _clerk: Clerk) -> set[Found]:
    """An account in the ledger that nobody has recorded."""
    opened = ledger_account(parse_account("user:hidden:THB"))
    await stage.ledger.create_accounts([opened])
    return {(K.ACCOUNT_UNMAPPED, str(UUID(int=opened.id)))}


async def a_job_left_behind(stage: Stage, _clerk: Clerk) -> set[Found]:
    """A job of an open intent that nothing holds up, and that never left."""
    row = await stage.pool.fetchrow(
        "UPDATE pm.outbox_event SET sent_at = NULL, created_at = now() - interval '2 hours' WHERE intent_id ="
        " (SELECT id FROM pm.intent WHERE state = 'AUTHORIZED' AND channel = 'IPPS' ORDER BY id LIMIT 1)"
        " RETURNING intent_id"
    )
    assert row is not None
    return {(K.JOB_NEVER_LEFT, f"{row['intent_id']}.1.submit")}


PLANTS: tuple[Callable[[Stage, Clerk], Awaitable[set[Found]]], ...] = (
    without_an_intent, held_without_an_intent, used_without_an_intent, left_in_transit, another_balance, another_hold,
    never_opened, under_another_id, with_other_flags, not_on_the_map, a_job_left_behind,
)  # fmt: skip
"""What is planted beside the history."""


async def _map(stage: Stage, name: str, number: int) -> None:
    await stage.pool.execute(
        "INSERT INTO pm.tb_account_map (name, id, ledger, opened_by) VALUES ($1, $2, 764, 'test')",
        name,
        UUID(int=number),
    )
