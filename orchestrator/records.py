"""The database half of the saga: intents as stored, and decisions about them (PG 2), set-based and in sorted order.

PG 2 records decisions by compare-and-set on the intent's version; jobs for a PSP are written with the decision that
causes them. This module must never decide anything, and is safe to repeat.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from orchestrator.saga import Decision
from shared.db.pool import Pool
from shared.ids import IntentId
from shared.plans import Plan, read_plan
from shared.states import Funds, IntentState

if TYPE_CHECKING:
    Connection = PoolConnectionProxy[asyncpg.Record]
else:
    Connection = PoolConnectionProxy


@cache
def statement(name: str) -> str:
    """Return the text of a statement of this package."""
    return files("orchestrator").joinpath(f"sql/{name}.sql").read_text()


@dataclass(frozen=True, slots=True)
class Stored:
    """An intent as the log has it; `plan` is None where there is nothing to carry out."""

    id: IntentId
    state: IntentState
    version: int
    attempt: int
    plan: Plan | None
    funds: Funds


@dataclass(frozen=True, slots=True)
class Movement:
    """One leg's effect on one customer account; `amount_minor` is signed, credits are positive."""

    account_id: UUID
    transfer_id: UUID
    amount_minor: int
    code: int
    at: datetime
    """When it entered the books, by the ledger's clock."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a decision changes about how much of a customer account is held."""

    account_id: UUID
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Job:
    """What a decision asks of a PSP; `body` is a `JobMessage` as JSON."""

    psp: str
    body: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a decision changes about how much of an allowance is used, or reserved, in units of its limit."""

    account_id: UUID
    name: str
    used: int
    reserved: int
    resets_at: datetime


NEVER_S: Final = -1.0


@dataclass(frozen=True, slots=True)
class Record:
    """A decision about a stored intent, ready to be written."""

    stored: Stored
    decision: Decision
    movements: tuple[Movement, ...] = ()
    holds: tuple[Held, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    job: Job | None = None
    next_action: str | None = None
    """As JSON; None leaves what is stored."""
    next_poll_s: float | None = None
    """When the PSP is asked next, seconds from now; None leaves what is stored, `NEVER_S` ends the asking."""


async def read_intents(connection: Connection | Pool, ids: Sequence[UUID]) -> dict[UUID, tuple[Stored, str, str]]:
    """Return the intents as stored, each with its service key and idempotency key, by id; unknown ids are left out."""
    rows = await connection.fetch(statement("read_intents"), ids)
    return {
        row["id"]: (
            Stored(
                IntentId(row["id"]),
                IntentState(row["state"]),
                row["version"],
                row["attempt"],
                read_plan(row["plan"]) if row["plan"] is not None else None,
                Funds(row["funds"]),
            ),
            row["service_key_id"],
            row["idempotency_key"],
        )
        for row in rows
    }


async def record_decisions(pool: Pool, records: Sequence[Record]) -> set[UUID]:
    """Write decisions (PG 2) and return the intents that took them; the others had moved on already."""
    if not records:
        return set()
    by_id = sorted(records, key=lambda record: record.stored.id.int)
    events = [event for record in by_id for event in _events(record)]
    movements = [
        (record.stored.id, move.account_id, move.transfer_id, move.amount_minor, move.code, move.at)
        for record in by_id
        for move in record.movements
    ]
    holds = [(record.stored.id, held.account_id, held.amount_minor) for record in by_id for held in record.holds]
    allowances = [
        (record.stored.id, one.account_id, one.name, one.used, one.reserved, one.resets_at)
        for record in by_id
        for one in record.allowances
    ]
    jobs = [
        (record.stored.id, record.stored.attempt, record.job.psp, record.job.body)
        for record in by_id
        if record.job is not None
    ]
    ids = [record.stored.id for record in by_id]
    async with pool.acquire() as connection, connection.transaction():
        await connection.fetch(statement("lock_intents"), ids)
        changed = await connection.fetch(
            statement("decide_intents"),
            ids,
            [record.stored.version for record in by_id],
            [record.stored.version + len(record.decision.path) - 1 for record in by_id],
            [record.decision.state for record in by_id],
            [record.decision.funds for record in by_id],
            [record.decision.error_code for record in by_id],
            [record.decision.error_detail for record in by_id],
            [record.next_action for record in by_id],
            [record.next_poll_s for record in by_id],
            *_columns(events, 5),
            *_columns(movements, 6),
            *_columns(holds, 3),
            *_columns(jobs, 4),
            *_columns(allowances, 6),
            [record.decision.error_data for record in by_id],
        )
    return {row["id"] for row in changed}


def _events(record: Record) -> Iterable[tuple[object, ...]]:
    path = record.decision.path
    for step, (before, after) in enumerate(pairwise(path), start=1):
        yield record.stored.id, record.stored.version + step, before, after, record.decision.event_detail(after)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[tuple[object, ...]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width
