"""The transfers of an intent as the ledger keeps them, as facts of its timeline. This module must never write."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import tigerbeetle as tb

from shared.ids import account_id, split_transfer_id
from shared.ledger.accounts import LIMITS_LEDGER
from shared.ledger.codes import LegCode
from shared.ledger.port import CHAIN_EVENTS_MAX, Ledger
from shared.timeline.story import Fact, Known

_NS: Final = 1_000_000_000


async def read_ledger(ledger: Ledger, known: Known) -> Known:
    """Add what the ledger has of an intent.

    Raises:
        Transient, OutcomeUnknown: it is out of reach.
    """
    query = tb.QueryFilter(
        user_data_128=known.intent.int, user_data_64=0, user_data_32=0, ledger=0, code=0, timestamp_min=0,
        timestamp_max=0, limit=CHAIN_EVENTS_MAX, flags=tb.QueryFilterFlags.NONE,
    )  # fmt: skip
    transfers = await ledger.query_transfers(query)
    facts = transfer_facts(known.intent, transfers, names_of(known))
    cut = (f"only the first {CHAIN_EVENTS_MAX} transfers are told",) if len(transfers) == CHAIN_EVENTS_MAX else ()
    return replace(known, own=(*known.own, *facts), ledger_read=True, missing=(*known.missing, *cut))


def names_of(known: Known) -> dict[int, str]:
    """Return the names of the accounts that its plans move money between, by the ledger's ids."""
    legs: Iterable[Sequence[Any]] = [leg for plan in known.of("plan") for leg in plan.body["legs"] or ()]
    return {account_id(name): name for leg in legs for name in leg[:2]}


def transfer_facts(intent: UUID, transfers: Sequence[tb.Transfer], names: Mapping[int, str]) -> list[Fact]:
    """Tell transfers of money one by one; of a hold also what has become of it.

    What an intent uses of allowances is in its chain too; that is told with its plan.
    """
    transfers = [transfer for transfer in transfers if transfer.ledger != LIMITS_LEDGER]
    ended = {transfer.pending_id: transfer for transfer in transfers if transfer.pending_id}
    held = {transfer.id: transfer for transfer in transfers}
    return [_fact(intent, one, ended.get(one.id), held.get(one.pending_id, one), names) for one in transfers]


def _fact(
    intent: UUID, transfer: tb.Transfer, end: tb.Transfer | None, of: tb.Transfer, names: Mapping[int, str]
) -> Fact:
    kind = _type(transfer)
    _, attempt, phase, leg = split_transfer_id(transfer.id)
    body = {
        "transfer_id": str(UUID(int=transfer.id)),
        "type": kind,
        "debit": _name(of.debit_account_id, names),
        "credit": _name(of.credit_account_id, names),
        "amount_minor": transfer.amount if kind != "void" else of.amount,
        "code": _code(of.code),
        "attempt": attempt,
        "phase": phase.name,
        "leg": leg,
        "open": kind == "hold" and end is None,
        "posted_minor": end.amount if end is not None and _type(end) == "post" else 0,
    }
    return Fact(intent, "transfer", datetime.fromtimestamp(transfer.timestamp / _NS, UTC), body)


def _type(transfer: tb.Transfer) -> str:
    if transfer.flags & tb.TransferFlags.PENDING:
        return "hold"
    if transfer.flags & tb.TransferFlags.POST_PENDING_TRANSFER:
        return "post"
    if transfer.flags & tb.TransferFlags.VOID_PENDING_TRANSFER:
        return "void"
    return "move"


def _name(account: int, names: Mapping[int, str]) -> str:
    return names.get(account) or str(UUID(int=account))


def _code(code: int) -> str:
    return LegCode(code).name if code in LegCode.__members__.values() else str(code)
