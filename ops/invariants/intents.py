"""The checks that walk the intents: what each says of its money against the ledger, leg by leg.

They walk the log by primary key, page by page, and look each page up in the ledger in one request; what is wrong with
an intent is found by the reconciler's own comparison. Whatever the log says has been in the ledger since before, so
that a mesh at work gives no false alarm. This module must never conclude anything about an intent that is only planned.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ops.invariants.findings import Advance, Check
from reconciler.faults import intent_faults
from reconciler.plans import TERMINAL_UNMOVED, Planned, next_planned
from shared.db.pool import Pool
from shared.ledger.port import Ledger
from shared.states import IntentState

PAGE: Final = 500
_FIRST: Final = UUID(int=0)
_CLOSED: Final = frozenset({IntentState.FAILED, IntentState.EXPIRED})


@dataclass(frozen=True, slots=True)
class IntentChecks:
    """The checks that an intent is counted by, each by its state, and the one about its reference at a PSP."""

    settled: Check
    unmoved: Check
    released: Check
    under_way: Check
    references: Check

    def of(self, state: IntentState) -> Check:
        """Return the check that intents of a state are counted by."""
        if state is IntentState.SETTLED:
            return self.settled
        if state in TERMINAL_UNMOVED:
            return self.unmoved
        return self.released if state in _CLOSED else self.under_way


async def check_intents(ledger: Ledger, pool: Pool, checks: IntentChecks, *, until: UUID, advance: Advance) -> None:
    """Check every intent up to `until` that is past planning."""
    after = _FIRST
    while page := await next_planned(pool, after=after, until=until, limit=PAGE):
        after = page[-1].id
        wanted = [transfer.id for intent in page for transfer in intent.transfers]
        booked = {transfer.id: transfer for transfer in await ledger.lookup_transfers(wanted)}
        for intent in page:
            check = checks.of(intent.state)
            check.examined += 1
            for fault in intent_faults(intent, booked):
                check.violated(str(intent.id), fault.detail)
            for reference in _reference_faults(intent):
                checks.references.violated(str(intent.id), reference)
        advance(len(page))


def _reference_faults(intent: Planned) -> Iterator[str]:
    for number, attempt in intent.attempts.items():
        if attempt.asked != attempt.reference:
            yield (
                f"attempt {number} asks as {_told(attempt.asked)}, and the register of references has "
                f"{_told(attempt.reference)}"
            )


def _told(reference: tuple[str, str] | None) -> str:
    return "nothing" if reference is None else f"{reference[0]}:{reference[1]}"
