"""The crash algebra: what the ledger's answer to one chain means, as one total function.

A chain may be submitted any number of times, by anybody who found its stored plan. Whatever the ledger then says is
one of these:

- every leg CREATED: done, just now;
- EXISTS on the first leg (and LINKED_EVENT_FAILED on the others, since anything but CREATED breaks a chain): done
  earlier, once a look-up has found *every* id;
- one leg refused with a status that burns its id: in a move or hold that is a decline, since neither this chain nor a
  late copy of it can ever happen; in a post, a void or a credit it decides nothing, and somebody has to look;
- a hold that has been posted or voided already: the state follows the ledger;
- no answer: unknown; submit the same again;
- anything else contradicts the books.

A burn (see `shared.ledger.chain.burn`) is a chain of one with the opposite hopes.

This module must never do I/O or read a clock; it knows TigerBeetle's status numbers and nothing else of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tigerbeetle import CreateTransferStatus as Status

from shared.errors import InvariantViolation
from shared.ids import Phase


class ChainOutcome(StrEnum):
    """What became of a chain."""

    DONE = "done"
    """Every leg is in the books."""
    CONFIRM = "confirm"
    """It seems to be in the books from an earlier submission: done once a look-up finds every id."""
    DECLINED = "declined"
    """A move or hold that has not happened and never will under this attempt's ids."""
    STUCK = "stuck"
    """A post, void or credit was refused and its ids are spent: no state changes, somebody has to look."""
    ALREADY_POSTED = "already_posted"
    """The hold was posted under other ids: the intent is settled."""
    ALREADY_VOIDED = "already_voided"
    """The hold was given back under other ids: the intent has failed; on a post that is a critical break."""
    UNKNOWN = "unknown"
    """No answer; submit the same again."""
    BURNED = "burned"
    """The attempt can never happen any more, nor has it."""
    HAD_COMMITTED = "had_committed"
    """The attempt could not be burned: its chain is in the books."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a chain and, where a leg was refused, which one and why in a stable word.

    `critical` asks for a person: what happened should not have, although no money is at stake yet.
    """

    outcome: ChainOutcome
    code: str | None = None
    leg: int | None = None
    critical: bool = False


BURNS: Final[dict[Status, str]] = {
    Status.EXCEEDS_CREDITS: "insufficient_funds",
    Status.EXCEEDS_DEBITS: "exceeds_debits",
    Status.DEBIT_ACCOUNT_NOT_FOUND: "unknown_account",
    Status.CREDIT_ACCOUNT_NOT_FOUND: "unknown_account",
    Status.DEBIT_ACCOUNT_ALREADY_CLOSED: "account_closed",
    Status.CREDIT_ACCOUNT_ALREADY_CLOSED: "account_closed",
    Status.PENDING_TRANSFER_NOT_FOUND: "hold_not_found",
    Status.ID_ALREADY_FAILED: "attempt_burned",
}
"""The statuses after which an id can never be used again, and the stable code each is told as."""

EXISTS_OTHERWISE: Final = frozenset(status for status in Status if status.name.startswith("EXISTS_WITH_DIFFERENT_"))
"""The id is in the books, with other contents."""

_DONE: Final = Verdict(ChainOutcome.DONE)
_CONFIRM: Final = Verdict(ChainOutcome.CONFIRM)
_UNKNOWN: Final = Verdict(ChainOutcome.UNKNOWN)
_BURNED: Final = Verdict(ChainOutcome.BURNED)
_HAD_COMMITTED: Final = Verdict(ChainOutcome.HAD_COMMITTED)
_RESOLVING: Final = frozenset({Phase.POST, Phase.VOID, Phase.LIMIT})
"""The phases whose chains post or void what is held."""


def chain_outcome(phase: Phase, statuses: Sequence[Status], *, subject: object = "a chain") -> Verdict:
    """Say what the ledger's answer to one chain means.

    Args:
        phase: which chain of the attempt it was.
        statuses: one a leg, in order; empty where no answer came.
        subject: whose chain it was, for the message of a violation.

    Raises:
        InvariantViolation: the answer contradicts the books or our own rules.
    """
    if not statuses:
        return _UNKNOWN
    if phase is Phase.BURN:
        return _burn_outcome(subject, statuses)
    if statuses.count(Status.CREATED) == len(statuses):
        return _DONE
    leg = _refused_leg(phase, statuses, subject)
    if leg == 0 and statuses[leg] is Status.EXISTS:
        return _DONE if len(statuses) == 1 else _CONFIRM
    return _refusal(phase, leg, statuses[leg], subject)


def _refused_leg(phase: Phase, statuses: Sequence[Status], subject: object) -> int:
    """Return the one leg that broke the chain; every other one must have failed for its sake."""
    refused = [leg for leg, status in enumerate(statuses) if status is not Status.LINKED_EVENT_FAILED]
    if len(refused) != 1:
        raise _contradiction(phase, statuses, subject)
    return refused[0]


def _refusal(phase: Phase, leg: int, status: Status, subject: object) -> Verdict:
    if status in BURNS:
        if phase is Phase.MOVE:
            return Verdict(ChainOutcome.DECLINED, BURNS[status], leg)
        return Verdict(ChainOutcome.STUCK, BURNS[status], leg, critical=True)
    # A hold resolves as a whole: one that is resolved from its second leg on only is a contradiction.
    if phase in _RESOLVING and leg == 0:
        if status is Status.PENDING_TRANSFER_ALREADY_POSTED:
            return Verdict(ChainOutcome.ALREADY_POSTED, "hold_already_posted", leg)
        if status is Status.PENDING_TRANSFER_ALREADY_VOIDED:
            return Verdict(ChainOutcome.ALREADY_VOIDED, "hold_already_voided", leg, critical=phase is not Phase.VOID)
    raise InvariantViolation(f"{subject}, {phase.name}: leg {leg} cannot get {status.name}")


def _burn_outcome(subject: object, statuses: Sequence[Status]) -> Verdict:
    if len(statuses) == 1 and statuses[0] in (Status.DEBIT_ACCOUNT_NOT_FOUND, Status.ID_ALREADY_FAILED):
        return _BURNED
    if len(statuses) == 1 and statuses[0] in EXISTS_OTHERWISE:
        return _HAD_COMMITTED
    raise _contradiction(Phase.BURN, statuses, subject)


def _contradiction(phase: Phase, statuses: Sequence[Status], subject: object) -> InvariantViolation:
    names = ", ".join(status.name for status in statuses)
    return InvariantViolation(f"{subject}, {phase.name}: cannot end in {names}")
