"""The life of an intent: which states there are, and the one table that says what may follow what.

`TRANSITIONS` is the only authority. The diagram in the documentation is drawn from it, the database checks
against it, and a transition that is not in it is an `InvariantViolation`. Terminal means terminal: what arrives
later opens a linked child intent or goes to suspense; it never rewrites history.
"""

import itertools
from enum import StrEnum
from typing import Final

from shared.errors import violated


class IntentState(StrEnum):
    """Where an intent stands."""

    CREATED = "CREATED"
    """Accepted durably into the stream; nobody has looked at it yet."""
    VALIDATED = "VALIDATED"
    """Its whole plan is written down; the ledger has not been touched."""
    AUTHORIZED = "AUTHORIZED"
    """Funds are held, or a payer has been asked to pay."""
    SETTLED = "SETTLED"
    """Money moved, once."""
    FAILED = "FAILED"
    """Money was held or might have been; it is released."""
    EXPIRED = "EXPIRED"
    """A payment request that nobody paid, by the PSP's word."""
    REJECTED = "REJECTED"
    """Refused; no money was ever held."""
    DUPLICATE = "DUPLICATE"
    """Another name for an earlier intent with the same idempotency key."""
    IN_DOUBT = "IN_DOUBT"
    """A PSP call may have happened; only evidence closes it."""


class Funds(StrEnum):
    """What the intent's money is doing at present."""

    NONE = "none"
    HELD = "held"
    MOVED = "moved"
    UNKNOWN = "unknown"


_S = IntentState

TRANSITIONS: Final[dict[IntentState, frozenset[IntentState]]] = {
    _S.CREATED: frozenset({_S.VALIDATED, _S.REJECTED, _S.DUPLICATE}),
    _S.VALIDATED: frozenset({_S.AUTHORIZED, _S.REJECTED}),
    _S.AUTHORIZED: frozenset({_S.SETTLED, _S.FAILED, _S.EXPIRED, _S.IN_DOUBT}),
    _S.IN_DOUBT: frozenset({_S.SETTLED, _S.FAILED}),
    _S.SETTLED: frozenset(),
    _S.FAILED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.DUPLICATE: frozenset(),
}

TERMINAL: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)


def check_path(path: tuple[IntentState, ...]) -> None:
    """Refuse a walk through the states that `TRANSITIONS` does not allow.

    Raises:
        InvariantViolation: naming the first illegal step.
    """
    for current, following in itertools.pairwise(path):
        if following not in TRANSITIONS[current]:
            violated(f"no transition {current} → {following}")
