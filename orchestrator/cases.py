"""What the database knows about intents that a PSP has spoken of. This module must never decide anything."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from orchestrator.records import Connection, Stored, statement
from orchestrator.resolve import Case, Payment, Purpose
from shared.contracts import Action, JobMessage
from shared.db.pool import Pool
from shared.errors import violated
from shared.ids import IntentId, unix_ms_of
from shared.plans import Dispatch, Plan, PlanKind, ResolutionKind, read_plan
from shared.states import Funds, IntentState


@dataclass(frozen=True, slots=True)
class Resolution:
    """What stands about an attempt, and is carried out by whoever finds it.

    `state` is where it leads, `code` why, where that is not SETTLED; `ledger_attempt` is the number in the ids of the
    transfers that carry it out.
    """

    kind: ResolutionKind
    state: IntentState
    code: str | None
    amount_minor: int | None
    psp_transaction_id: str | None
    ledger_attempt: int


@dataclass(frozen=True, slots=True)
class Known:
    """An intent with everything that is known about its payments.

    Attributes:
        stored: as the saga needs it.
        payments: those the PSP has named, by its transaction id.
        resolution: what stands about the present attempt.
        job: the submission as it was written to the outbox, as JSON.
        psp_ids: what the PSP calls it.
        polls: how often the PSP was asked.
        created_at: when the intent was accepted.
        answered: an adapter has reported on it; before that its job may be under way.
    """

    stored: Stored
    payments: dict[str, Payment]
    resolution: Resolution | None
    job: str | None
    psp_ids: dict[str, str]
    polls: int
    created_at: datetime
    answered: bool

    @property
    def plan(self) -> Plan:
        """What was planned; the database has been asked for intents with a plan."""
        return self.stored.plan or violated(f"intent {self.stored.id} has no plan")

    @property
    def dispatch(self) -> Dispatch:
        """What the PSP was asked."""
        return self.plan.dispatch or violated(f"intent {self.stored.id} asks nothing of a PSP")

    @property
    def wallet(self) -> str:
        """The customer's account: the one that pays, or is paid."""
        legs = self.plan.legs
        return legs[0].debit if self.plan.kind is PlanKind.HOLD else legs[1].credit

    def case(self, *, callback_trusted: bool) -> Case:
        """Return what the decision depends on."""
        asked = self.dispatch
        return Case(
            state=self.stored.state,
            direction="out" if self.plan.kind is PlanKind.HOLD else "in",
            attempt=self.stored.attempt,
            amount_minor=asked.amount_minor,
            currency=asked.currency,
            payments=self.payments,
            callback_trusted=callback_trusted,
        )

    def inquiry(self) -> JobMessage:
        """Return the job that asks what became of it.

        One whose job was pruned is asked about all the same, of an epoch that no permit is won in.
        """
        asked = self.dispatch
        job = (
            JobMessage.model_validate_json(self.job)
            if self.job is not None
            else JobMessage(
                psp=asked.psp,
                intent_id=str(self.stored.id),
                attempt=self.stored.attempt,
                operation=asked.operation,
                action=Action.INQUIRE,
                reference=asked.reference,
                amount_minor=asked.amount_minor,
                currency=asked.currency,
                created_ms=unix_ms_of(self.stored.id),
                epoch="pruned",
                inquire_first=True,
                destination=dict(asked.destination),
            )
        )
        return job.model_copy(update={"action": Action.INQUIRE, "psp_ids": {**job.psp_ids, **self.psp_ids}})


async def read_cases(connection: Connection | Pool, intents: Sequence[UUID]) -> dict[UUID, Known]:
    """Return the intents that have a plan, by id; others are left out."""
    rows = await connection.fetch(statement("read_cases"), intents)
    return {row["id"]: _known(row) for row in rows}


def _known(row: asyncpg.Record) -> Known:
    stored = Stored(
        IntentId(row["id"]),
        IntentState(row["state"]),
        row["version"],
        row["attempt"],
        read_plan(row["plan"]),
        Funds(row["funds"]),
    )
    payments: list[list[Any]] = json.loads(row["payments"])
    resolution = read_resolution(row, state=row["resolved_state"]) if row["kind"] is not None else None
    return Known(
        stored=stored,
        payments={
            name: Payment(amount, settles, frozenset(map(Purpose, children)), children.get(Purpose.REVERSAL, 0))
            for name, amount, settles, children in payments
        },
        resolution=resolution,
        job=row["job"],
        psp_ids=json.loads(row["psp_ids"] or "{}"),
        polls=row["polls"],
        created_at=row["created_at"],
        answered=row["answered"],
    )


def read_resolution(row: asyncpg.Record, *, state: str) -> Resolution:
    """Return the resolution in a row."""
    return Resolution(
        row["kind"],
        IntentState(state),
        row["code"],
        row["amount_minor"],
        row["psp_transaction_id"],
        row["ledger_attempt"],
    )
