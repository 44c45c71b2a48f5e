"""Plans into transfers: pure, and the same bytes whenever and wherever a stored plan is carried out.

A chain is a list of linked transfers that happen together or not at all. Ids, accounts, amounts and codes follow
from the plan alone, so that a resubmission is byte-identical and can never move money twice.

This module must never read a clock, draw randomness or touch the ledger.
"""

from collections.abc import Sequence
from functools import lru_cache

import tigerbeetle as tb

from shared.accounts import parse_account
from shared.errors import require, violated
from shared.ids import LEGS_PER_PLAN_MAX, IntentId, Phase, transfer_id
from shared.ledger.accounts import NEVER_CREDITED_ID, NEVER_OPENED_ID
from shared.ledger.codes import LegCode
from shared.money import AMOUNT_MINOR_MAX
from shared.plans import Leg

_LINKED = tb.TransferFlags.LINKED
_NONE = tb.TransferFlags.NONE
_PENDING = tb.TransferFlags.PENDING
_POST = tb.TransferFlags.POST_PENDING_TRANSFER
_VOID = tb.TransferFlags.VOID_PENDING_TRANSFER
_ACCOUNTS_REMEMBERED = 1 << 16


@lru_cache(maxsize=_ACCOUNTS_REMEMBERED)
def _resolved(name: str) -> tuple[int, int]:
    """Return the account's id and ledger number; hashing a name costs more than building its transfer."""
    account = parse_account(name)
    return account.id, account.currency.number


def id_of_account(name: str) -> int:
    """Return the ledger's id of an account, from memory where it was needed before."""
    return _resolved(name)[0]


def _check_count(count: int) -> None:
    require(1 <= count <= LEGS_PER_PLAN_MAX, f"a chain has 1 to {LEGS_PER_PLAN_MAX} legs, not {count}")


def build_chain(
    intent: IntentId, attempt: int, phase: Phase, legs: Sequence[Leg], *, pending: bool = False
) -> list[tb.Transfer]:
    """Return the linked transfers of one phase of one attempt.

    Args:
        intent: whose money it is; every leg carries it in `user_data_128`.
        attempt: 1 to 63.
        phase: which chain of the attempt.
        legs: 1 to 100 movements, all in one currency.
        pending: hold the amounts instead of moving them; a hold never expires by itself.

    Raises:
        InvariantViolation: the plan breaks a rule that planning should have kept.
    """
    _check_count(len(legs))
    flags = _PENDING if pending else _NONE
    linked = flags | _LINKED
    last = len(legs) - 1
    ledger = _resolved(legs[0].debit)[1]
    first = transfer_id(intent, attempt=attempt, phase=phase, leg=0)
    chain: list[tb.Transfer] = []
    for index, leg in enumerate(legs):
        debit_id, debit_ledger = _resolved(leg.debit)
        credit_id, credit_ledger = _resolved(leg.credit)
        if not debit_ledger == ledger == credit_ledger:
            violated(f"{intent}: leg {index} leaves the chain's currency")
        if not 0 < leg.amount_minor <= AMOUNT_MINOR_MAX:
            violated(f"{intent}: leg {index} moves {leg.amount_minor}")
        chain.append(
            tb.Transfer(
                id=first | index,  # the leg is the id's lowest seven bits
                debit_account_id=debit_id,
                credit_account_id=credit_id,
                amount=leg.amount_minor,
                user_data_128=intent.int,
                ledger=ledger,
                code=leg.code,
                flags=linked if index < last else flags,
            )
        )
    return chain


def _resolution(
    intent: IntentId,
    attempt: int,
    phase: Phase,
    flags: tb.TransferFlags,
    held_ids: Sequence[int],
    amounts: Sequence[int],
) -> list[tb.Transfer]:
    _check_count(len(held_ids))
    first = transfer_id(intent, attempt=attempt, phase=phase, leg=0)
    last = len(held_ids) - 1
    return [
        tb.Transfer(
            id=first | index,
            amount=amount,
            pending_id=held_id,
            user_data_128=intent.int,
            flags=flags | _LINKED if index < last else flags,
        )
        for index, (held_id, amount) in enumerate(zip(held_ids, amounts, strict=True))
    ]


def build_post(
    intent: IntentId, attempt: int, held_ids: Sequence[int], amounts_minor: Sequence[int], *, phase: Phase = Phase.POST
) -> list[tb.Transfer]:
    """Return the chain that posts a hold, one stored amount a leg; what an amount leaves over is released.

    `attempt` names the new transfers; the held ones may stem from an earlier attempt.
    """
    for amount_minor in amounts_minor:
        if not 0 <= amount_minor <= AMOUNT_MINOR_MAX:
            violated(f"{intent}: a post of {amount_minor}")
    return _resolution(intent, attempt, phase, _POST, held_ids, amounts_minor)


def build_void(
    intent: IntentId, attempt: int, held_ids: Sequence[int], *, phase: Phase = Phase.VOID
) -> list[tb.Transfer]:
    """Return the chain that gives a hold back, whole."""
    return _resolution(intent, attempt, phase, _VOID, held_ids, [0] * len(held_ids))


def burn(first: tb.Transfer) -> tb.Transfer:
    """Return the transfer that kills the chain whose first transfer is `first`.

    It takes that id but comes from an account that is never opened: refused for want of it, the id is spent for
    ever and a late chain gets ``ID_ALREADY_FAILED``. If the chain had committed, the answer says that the id
    exists with different contents.
    """
    return tb.Transfer(
        id=first.id,
        debit_account_id=NEVER_OPENED_ID,
        credit_account_id=NEVER_CREDITED_ID,
        amount=first.amount,
        user_data_128=first.user_data_128,
        ledger=first.ledger or 1,
        code=LegCode.BURN,
    )
