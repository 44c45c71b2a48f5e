"""From transfers to flows: what moved between which accounts, added up. Pure.

Wallets are added up under one name a kind and currency, so that nothing here names a customer. This module must never
look anything up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import tigerbeetle as tb

from shared.ids import LEG_MAX

_PENDING: Final = tb.TransferFlags.PENDING
_POST: Final = tb.TransferFlags.POST_PENDING_TRANSFER
_VOID: Final = tb.TransferFlags.VOID_PENDING_TRANSFER


class Operation(NamedTuple):
    """What an intent is, as far as a report tells them apart."""

    operation_type: str
    channel: str


UNKNOWN: Final = Operation("UNKNOWN", "UNKNOWN")
"""Of a transfer whose intent the log does not know."""


class Course(NamedTuple):
    """What a flow's legs have in common; `debit` and `credit` are names of accounts, wallets' in total."""

    operation_type: str
    channel: str
    code: int
    debit: str
    credit: str


@dataclass(slots=True)
class Flow:
    """Legs of one course, added up: how many, and minor units."""

    moved: int = 0
    moved_minor: int = 0
    held: int = 0
    held_minor: int = 0
    voided: int = 0
    voided_minor: int = 0
    ended_minor: int = 0


@dataclass(slots=True)
class Movement:
    """What flows do to one account, minor units."""

    debits: int = 0
    credits: int = 0
    held: int = 0
    due: int = 0


def add_up(
    transfers: Iterable[tb.Transfer],
    *,
    names: Mapping[int, str],
    operations: Mapping[int, Operation],
    holds: Mapping[int, int],
) -> dict[Course, Flow]:
    """Add transfers up by course.

    Args:
        transfers: of ledgers of currencies, as the ledger keeps them.
        names: what every account that takes part is called here.
        operations: what the intents are; one that is missing is `UNKNOWN`.
        holds: what each hold that a transfer ends had held.
    """
    flows: dict[Course, Flow] = {}
    for each in transfers:
        kind, channel = operations.get(each.user_data_128, UNKNOWN)
        course = Course(kind, channel, each.code, names[each.debit_account_id], names[each.credit_account_id])
        flow = flows.get(course)
        if flow is None:
            flow = flows[course] = Flow()
        flags = each.flags
        if flags & _PENDING:
            flow.held += 1
            flow.held_minor += each.amount
        elif flags & _VOID:
            flow.voided += 1
            flow.voided_minor += holds[each.pending_id]
            flow.ended_minor += holds[each.pending_id]
        else:
            flow.moved += 1
            flow.moved_minor += each.amount
            if flags & _POST:
                flow.ended_minor += holds[each.pending_id]
    return flows


def by_account(flows: Mapping[Course, Flow]) -> dict[str, Movement]:
    """Return what flows do to each account."""
    movements: dict[str, Movement] = {}
    for course, flow in flows.items():
        held = flow.held_minor - flow.ended_minor
        payer = movements.setdefault(course.debit, Movement())
        payer.debits += flow.moved_minor
        payer.held += held
        payee = movements.setdefault(course.credit, Movement())
        payee.credits += flow.moved_minor
        payee.due += held
    return movements


def ends_hold(transfer: tb.Transfer) -> bool:
    """Say whether a transfer posts or voids a hold."""
    return bool(transfer.flags & (_POST | _VOID))


def continues(transfer: tb.Transfer, before: tb.Transfer | None) -> bool:
    """Say whether a transfer is the next leg of the chain that the one before it belongs to.

    The legs of a chain are one nanosecond apart, and their ids differ in the leg only: a chain that lies across
    midnight belongs to the day that it began in, whole.
    """
    return (
        before is not None
        and transfer.timestamp == before.timestamp + 1
        and transfer.id - (transfer.id & LEG_MAX) == before.id - (before.id & LEG_MAX)
    )
