"""Intents held against everything that is known of them: plans and resolutions, the ledger, the read model.

The order of reading is what keeps a mesh at work from giving false alarms: the caller's page of the ledger is older
than the log as it is read here, and the log older than the look-up that follows; what still differs is looked at again
later, by whoever asked. This module must never write anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import tigerbeetle as tb

from reconciler.breaks import Break
from reconciler.faults import UNJUDGED, Books, Fault, ended_otherwise, intent_faults, telling, unplanned_faults
from reconciler.kinds import BreakKind
from reconciler.plans import Planned, read_planned
from reconciler.read_model import HistoryRow, RowKey, customers, expected_history, history_faults
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput
from shared.ledger.accounts import LIMITS_LEDGER, MESH_LEDGER
from shared.ledger.codes import LegCode
from shared.ledger.limits import ALLOWANCE_ID, FUNDED
from shared.ledger.port import Ledger
from shared.money import currency_of_ledger
from shared.states import IntentState

PAGE: Final = 500
"""How many intents are held against the ledger at a time."""
SIDES_MAX: Final = 20
"""How many legs or rows a break tells of; the others are counted."""
TRANSFERS_MAX: Final = 400
"""How many transfers of one intent are read: more than every attempt that a plan can have needs at once."""
_LOW: Final = 0xFFFF
_MOVES: Final = tb.TransferFlags.PENDING

Owned = dict[UUID, list[tb.Transfer]]
"""Transfers by whom they say they belong to."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What is wrong with intents, and in which version each was looked at."""

    breaks: tuple[Break, ...]
    versions: Mapping[UUID, int]


def owners(page: Iterable[tb.Transfer]) -> Owned:
    """Sort a page of the ledger by owner; the mesh's own ticks, and what funds allowances, belong to nobody."""
    owned: Owned = {}
    for transfer in page:
        if transfer.ledger != MESH_LEDGER and not _funds(transfer):
            owned.setdefault(UUID(int=transfer.user_data_128 or transfer.id), []).append(transfer)
    return owned


async def examine(ledger: Ledger, pool: Pool, owned: Mapping[UUID, Sequence[tb.Transfer]]) -> Examined:
    """Look at intents, each with those of its transfers that have been read already.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach; look again.
    """
    found: list[Break] = []
    versions: dict[UUID, int] = {}
    ids = sorted(owned)
    for start in range(0, len(ids), PAGE):
        part = ids[start : start + PAGE]
        with database():
            planned = await read_planned(pool, part)
        wanted = [transfer.id for intent in planned.values() for transfer in intent.transfers]
        booked = {transfer.id: transfer for transfer in await ledger.lookup_transfers(wanted)} if wanted else {}
        history = await read_history(pool, planned.values())
        for one in part:
            intent = planned.get(one)
            if intent is None:
                found += _unknown(one, owned[one])
                continue
            versions[one] = intent.version
            books = _books(intent, booked, owned[one])
            found += _of_intent(intent, books, history.get(one, {}))
    return Examined(tuple(found), versions)


async def examine_closely(ledger: Ledger, pool: Pool, ids: Sequence[UUID]) -> Examined:
    """Look at few intents, each with everything that the ledger has under its name.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach; look again.
    """
    owned: dict[UUID, list[tb.Transfer]] = {}
    for one in ids:
        owned[one] = await ledger.query_transfers(_of(one.int))
        if not owned[one]:
            # What names no owner goes by its own id.
            owned[one] = [each for each in await ledger.lookup_transfers([one.int]) if not each.user_data_128]
    return await examine(ledger, pool, owned)


def _of_intent(intent: Planned, booked: Books, shown: Mapping[RowKey, HistoryRow]) -> list[Break]:
    faults = list(unplanned_faults(intent, booked))
    if intent.state is not IntentState.VALIDATED:
        faults += intent_faults(intent, booked)
    if ended_otherwise(intent, booked):
        # Nothing is held any more: what ended it has a name of its own.
        faults = [fault for fault in faults if fault.kind is not BreakKind.HOLD_LEFT_OPEN]
    faults = telling(faults)
    found = _gathered(intent, faults)
    if any(fault.kind in UNJUDGED for fault in faults):
        return found
    rows = list(history_faults(expected_history(intent, booked), shown))
    extra = [(key, fault) for key, fault in rows if fault.kind is BreakKind.HISTORY_EXTRA]
    found += _gathered(intent, [fault for _, fault in rows if fault.kind is not BreakKind.HISTORY_EXTRA])
    return found + [extra_row(key, intent.id, fault.found, intent.currency) for key, fault in extra]


def extra_row(key: RowKey, intent: UUID, amount_minor: int, currency: str | None) -> Break:
    """Return the break of a history row that should not be there."""
    return Break(
        BreakKind.HISTORY_EXTRA,
        str(key),
        {"log": {"row": None}, "read model": {"row": amount_minor}},
        intent_id=intent,
        delta_minor=amount_minor if currency else None,
        currency=currency or None,
    )


def _gathered(intent: Planned, faults: Sequence[Fault]) -> list[Break]:
    """Make one break of all faults of a kind."""
    by_kind: dict[BreakKind, list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    attempt = intent.attempts.get(intent.attempt)
    dispatch = attempt.plan.dispatch if attempt is not None else None
    return [
        Break(
            kind,
            str(intent.id),
            _sides(those, "read model" if kind.startswith("history") else "ledger"),
            psp=dispatch.psp if dispatch is not None else None,
            intent_id=intent.id,
            delta_minor=_delta(those),
            currency=intent.currency,
            evidence={
                "state": str(intent.state),
                "version": intent.version,
                "faults": [fault.detail for fault in those[:SIDES_MAX]],
                "faults_total": len(those),
            },
        )
        for kind, those in by_kind.items()
    ]


def _sides(faults: Sequence[Fault], other: str) -> dict[str, Any]:
    told = faults[:SIDES_MAX]
    return {
        "log": {fault.where: fault.expected for fault in told},
        other: {fault.where: fault.found for fault in told},
    }


def _delta(faults: Sequence[Fault]) -> int | None:
    """Return the largest difference among legs: money passes several of them on its way, and counts once."""
    deltas = [fault.delta_minor for fault in faults if fault.delta_minor is not None]
    return max(deltas, key=abs) if deltas else None


def _unknown(owner: UUID, transfers: Sequence[tb.Transfer]) -> list[Break]:
    """Name what the ledger moved, held or used for an intent that the log does not know."""
    limits = [one for one in transfers if one.ledger == LIMITS_LEDGER]
    money = [one for one in transfers if one.ledger != LIMITS_LEDGER]
    found = []
    if money:
        held = all(one.flags & _MOVES for one in money)
        kind = BreakKind.HOLD_WITHOUT_INTENT if held else BreakKind.TRANSFER_WITHOUT_INTENT
        found.append(_of_nobody(kind, owner, money))
    if limits:
        found.append(_of_nobody(BreakKind.LIMIT_UNPLANNED, owner, limits))
    return found


def _of_nobody(kind: BreakKind, owner: UUID, transfers: Sequence[tb.Transfer]) -> Break:
    largest = max(transfers, key=lambda one: one.amount)
    currency = currency_name(largest.ledger)
    return Break(
        kind,
        str(owner),
        {
            "log": None,
            "ledger": {
                str(UUID(int=one.id)): {
                    "amount_minor": one.amount,
                    "debit": str(UUID(int=one.debit_account_id)),
                    "credit": str(UUID(int=one.credit_account_id)),
                }
                for one in transfers[:SIDES_MAX]
            },
        },
        intent_id=owner,
        delta_minor=largest.amount if currency else None,
        currency=currency,
        evidence={"transfers_total": len(transfers), "timestamp_ns": transfers[0].timestamp},
    )


def currency_name(number: int) -> str | None:
    """Return the currency of a ledger number; None where it is no currency's."""
    try:
        return currency_of_ledger(number).code
    except BadInput:
        return None


def _books(intent: Planned, booked: Mapping[int, tb.Transfer], seen: Sequence[tb.Transfer]) -> Books:
    mine = {transfer.id: booked[transfer.id] for transfer in intent.transfers if transfer.id in booked}
    return {transfer.id: transfer for transfer in seen} | mine


async def read_history(pool: Pool, intents: Iterable[Planned]) -> dict[UUID, dict[RowKey, HistoryRow]]:
    """Return the history rows of intents, by intent."""
    wanted = [(wallet, one.id, UUID(int=one.id.int | _LOW)) for one in intents for wallet in sorted(customers(one))]
    if not wanted:
        return {}
    with database():
        rows = await pool.fetch(statement("read_history"), *zip(*wanted, strict=True))
    shown: dict[UUID, dict[RowKey, HistoryRow]] = {}
    for row in rows:
        key = RowKey(row["account_id"], row["transfer_id"])
        said = HistoryRow(row["intent_id"], row["amount_minor"], row["code"], row["at"])
        shown.setdefault(row["of_intent"], {})[key] = said
    return shown


def _funds(transfer: tb.Transfer) -> bool:
    """Say whether a transfer is the one that funds an allowance; it follows wholly from the account."""
    return (
        transfer.ledger == LIMITS_LEDGER
        and transfer.code == LegCode.LIMIT_FUND
        and transfer.id == transfer.credit_account_id == transfer.user_data_128
        and transfer.debit_account_id == ALLOWANCE_ID
        and transfer.amount == FUNDED
        and transfer.flags == tb.TransferFlags.NONE
    )


def _of(owner: int) -> tb.QueryFilter:
    return tb.QueryFilter(
        user_data_128=owner, user_data_64=0, user_data_32=0, ledger=0, code=0, timestamp_min=0, timestamp_max=0,
        limit=TRANSFERS_MAX, flags=tb.QueryFilterFlags.NONE,
    )  # fmt: skip
