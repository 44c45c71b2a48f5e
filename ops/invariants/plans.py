"""What intents planned: from the database, with the transfers that follow from each plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import tigerbeetle as tb

from ops.statements import statement
from orchestrator.plan import read_plan
from shared.db.pool import Pool
from shared.errors import PaymeshError
from shared.ids import IntentId, Phase
from shared.ledger.chain import build_chain
from shared.states import IntentState

TERMINAL_UNMOVED: Final = frozenset({IntentState.REJECTED, IntentState.DUPLICATE})
"""Final states in which no money may ever have moved."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An intent and the transfers of every attempt it has planned, by attempt number."""

    id: UUID
    state: IntentState
    attempt: int
    attempts: dict[int, tuple[tb.Transfer, ...]]
    fault: str | None = None
    """Why a stored plan cannot be read."""

    @property
    def transfer_ids(self) -> frozenset[int]:
        """The ids of every transfer that any attempt may cause."""
        return frozenset(transfer.id for chain in self.attempts.values() for transfer in chain)


async def read_planned(pool: Pool, intents: Sequence[UUID]) -> dict[UUID, Planned]:
    """Return the intents that the database knows among these, by id."""
    rows = await pool.fetch(statement("invariants/read_planned"), intents)
    return {row["id"]: _planned(row["id"], row["state"], row["attempt"], row["attempts"], row["plans"]) for row in rows}


async def next_decided(pool: Pool, *, after: UUID, until: UUID, limit: int) -> list[Planned]:
    """Return the next intents, by id, whose state is final."""
    rows = await pool.fetch(statement("invariants/next_decided"), after, until, limit)
    return [_planned(row["id"], row["state"], row["attempt"], row["attempts"], row["plans"]) for row in rows]


def _planned(intent: UUID, state: str, attempt: int, numbers: Sequence[int], plans: Sequence[str]) -> Planned:
    attempts: dict[int, tuple[tb.Transfer, ...]] = {}
    fault = None
    for number, plan in zip(numbers, plans, strict=True):
        try:
            attempts[number] = tuple(build_chain(IntentId(intent), number, Phase.MOVE, read_plan(plan).legs))
        # A plan that breaks our own rules is what an invariant check is looking for: it is reported, not raised.
        except (PaymeshError, ValueError, KeyError, TypeError) as error:
            fault = f"the plan of attempt {number} cannot be read: {type(error).__name__}"
    return Planned(intent, IntentState(state), attempt, attempts, fault)
