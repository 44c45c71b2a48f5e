"""What intents planned, and what was resolved about them: from the database, with the transfers that follow."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Final
from uuid import UUID

import asyncpg
import tigerbeetle as tb

from reconciler.statements import statement
from shared.db.pool import Pool
from shared.errors import PaymeshError
from shared.ids import IntentId
from shared.ledger.planned import as_booked, closing_chain, first_chain, release_chain
from shared.plans import Plan, ResolutionKind, read_plan
from shared.states import IntentState

TERMINAL_UNMOVED: Final = frozenset({IntentState.REJECTED, IntentState.DUPLICATE})
"""Final states in which no money may ever have moved."""

Transfers = tuple[tb.Transfer, ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was stored to be done about an attempt."""

    kind: ResolutionKind
    state: IntentState
    amount_minor: int | None
    ledger_attempt: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: what it planned, what became of that, and the transfers of both as the ledger keeps them."""

    plan: Plan
    first: Transfers
    """What its plan moves or holds at once; empty where a PSP is asked first."""
    resolved: Resolved | None = None
    closing: Transfers = ()
    """What its resolution posts, voids or credits."""
    release: Transfers = ()
    """What its end uses up, or gives back, of what was reserved of limits."""
    reference: tuple[str, str] | None = None
    """The PSP and the reference that it claimed there."""
    has_job: bool = False

    @property
    def transfers(self) -> Transfers:
        """Every transfer that it may cause, as the ledger keeps them."""
        return self.first + self.closing + self.release

    @property
    def asked(self) -> tuple[str, str] | None:
        """The PSP that it asks, and under which reference."""
        asked = self.plan.dispatch
        return None if asked is None else (asked.psp, asked.reference)


@dataclass(frozen=True, slots=True)
class Planned:
    """An intent and every attempt it has planned, by attempt number."""

    id: UUID
    state: IntentState
    attempt: int
    version: int = 1
    currency: str = ""
    error_code: str | None = None
    parent: UUID | None = None
    child_of: UUID | None = None
    """Whose child the register of children says it is."""
    attempts: dict[int, Attempt] = field(default_factory=dict)
    fault: str | None = None
    """Why a stored plan cannot be read."""

    @property
    def transfers(self) -> Transfers:
        """Every transfer that any attempt may cause."""
        return tuple(transfer for attempt in self.attempts.values() for transfer in attempt.transfers)

    @property
    def transfer_ids(self) -> frozenset[int]:
        """The ids of every transfer that any attempt may cause."""
        return frozenset(transfer.id for transfer in self.transfers)


async def read_planned(pool: Pool, intents: Sequence[UUID]) -> dict[UUID, Planned]:
    """Return the intents that the database knows among these, by id and in its order."""
    rows = await pool.fetch(statement("read_planned"), intents)
    return {intent: _planned(list(part)) for intent, part in groupby(rows, key=itemgetter("id"))}


async def next_planned(pool: Pool, *, after: UUID, until: UUID, limit: int) -> list[Planned]:
    """Return the next intents, by id, that are past planning."""
    rows = await pool.fetch(statement("next_intents"), after, until, limit)
    return list((await read_planned(pool, [row["id"] for row in rows])).values()) if rows else []


def _planned(rows: Sequence[asyncpg.Record]) -> Planned:
    attempts: dict[int, Attempt] = {}
    fault = None
    first = rows[0]
    for row in rows:
        if row["attempt"] is None:
            continue
        try:
            attempts[row["attempt"]] = _attempt(row)
        # A plan that breaks our own rules is what an invariant check is looking for: it is reported, not raised.
        except (PaymeshError, ValueError, KeyError, TypeError) as error:
            fault = f"the plan of attempt {row['attempt']} cannot be read: {type(error).__name__}"
    return Planned(
        id=first["id"],
        state=IntentState(first["state"]),
        attempt=first["present"],
        version=first["version"],
        currency=first["currency"],
        error_code=first["error_code"],
        parent=first["parent_id"],
        child_of=first["child_of"],
        attempts=attempts,
        fault=fault,
    )


def _attempt(row: asyncpg.Record) -> Attempt:
    intent, number, plan = IntentId(row["id"]), row["attempt"], read_plan(row["plan"])
    submitted = first_chain(intent, number, plan)
    found = Attempt(
        plan=plan,
        first=tuple(as_booked(submitted, submitted)),
        reference=(row["psp"], row["reference"]) if row["reference"] is not None else None,
        has_job=row["has_job"],
    )
    if row["kind"] is None:
        return found
    resolved = Resolved(row["kind"], IntentState(row["resolved_state"]), row["amount_minor"], row["ledger_attempt"])
    closing = closing_chain(
        intent, number, plan, kind=resolved.kind, amount_minor=resolved.amount_minor, number=resolved.ledger_attempt
    )
    settled = row["state"] == IntentState.SETTLED
    release = release_chain(
        intent, number, plan, paid_minor=resolved.amount_minor if settled else None, number=resolved.ledger_attempt
    )
    return replace(
        found,
        resolved=resolved,
        closing=tuple(as_booked(closing, submitted)),
        release=tuple(as_booked(release, submitted)),
    )
