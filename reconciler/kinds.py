"""The kinds of breaks: what differs between ledger, database and PSP, how grave that is, and what it means.

A kind is a stable word: people look it up in the documentation, and it is never reused for another meaning. This
module must never find a break; it only names them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How soon somebody has to look."""

    WARNING = "warning"
    """In the course of the day: no money is in the wrong place."""
    CRITICAL = "critical"
    """Now: money may be in the wrong place, or a customer is shown a wrong figure."""
    EMERGENCY = "emergency"
    """At once, and nobody may act on the subject before: a promise about money was broken."""


class BreakKind(StrEnum):
    """What differs."""

    SETTLED_WITHOUT_TRANSFERS = "settled_without_transfers"
    TRANSFER_WITHOUT_INTENT = "transfer_without_intent"
    HOLD_WITHOUT_INTENT = "hold_without_intent"
    TRANSFER_UNPLANNED = "transfer_unplanned"
    AMOUNT_MISMATCH = "amount_mismatch"
    AMOUNT_ZERO = "amount_zero"
    ACCOUNT_MISMATCH = "account_mismatch"
    TRANSFER_MISMATCH = "transfer_mismatch"
    HOLD_MISSING = "hold_missing"
    HOLD_LEFT_OPEN = "hold_left_open"
    POSTED_THOUGH_FAILED = "posted_though_failed"
    MOVED_THOUGH_REFUSED = "moved_though_refused"
    PLAN_MISSING = "plan_missing"
    STATE_CONTRADICTS_PLAN = "state_contradicts_plan"
    BALANCE_DIFFERS = "balance_differs"
    HELD_DIFFERS = "held_differs"
    HISTORY_MISSING = "history_missing"
    HISTORY_EXTRA = "history_extra"
    HISTORY_DIFFERS = "history_differs"
    TRANSIT_NOT_ZERO = "transit_not_zero"
    LIMIT_UNPLANNED = "limit_unplanned"
    LIMIT_MISMATCH = "limit_mismatch"
    ACCOUNT_MISSING = "account_missing"
    ACCOUNT_MISNAMED = "account_misnamed"
    ACCOUNT_MALFORMED = "account_malformed"
    ACCOUNT_UNMAPPED = "account_unmapped"
    JOB_NEVER_LEFT = "job_never_left"

    PSP_MISSING = "psp_missing"
    PSP_UNKNOWN = "psp_unknown"
    AMOUNT_DIFFERS = "amount_differs"
    FEE_DIFFERS = "fee_differs"
    CURRENCY_DIFFERS = "currency_differs"
    DUPLICATE_LINE = "duplicate_line"
    CONTRADICTS_TERMINAL = "contradicts_terminal"
    FILE_DIFFERS = "file_differs"


@dataclass(frozen=True, slots=True)
class Meaning:
    """How grave a kind is, and what it says, in one sentence."""

    severity: Severity
    sentence: str


_K, _W, _C, _E = BreakKind, Severity.WARNING, Severity.CRITICAL, Severity.EMERGENCY

KINDS: Final[dict[BreakKind, Meaning]] = {
    _K.SETTLED_WITHOUT_TRANSFERS: Meaning(
        _E, "An intent is SETTLED, and the ledger has not moved what it planned to move."
    ),
    _K.TRANSFER_WITHOUT_INTENT: Meaning(_E, "The ledger moved money for an intent that the database does not know."),
    _K.HOLD_WITHOUT_INTENT: Meaning(_C, "The ledger holds money for an intent that the database does not know."),
    _K.TRANSFER_UNPLANNED: Meaning(_E, "The ledger moved money for an intent beside everything that it has planned."),
    _K.AMOUNT_MISMATCH: Meaning(_E, "A leg moved another amount in the ledger than its plan says."),
    _K.AMOUNT_ZERO: Meaning(_E, "A leg moved nothing in the ledger, though its plan says that it moves something."),
    _K.ACCOUNT_MISMATCH: Meaning(_E, "A leg moved between other accounts in the ledger than its plan says."),
    _K.TRANSFER_MISMATCH: Meaning(_C, "A leg stands in the ledger with another currency, code or flags than planned."),
    _K.HOLD_MISSING: Meaning(_E, "An intent is open at a PSP, and the ledger does not hold what it may cost."),
    _K.HOLD_LEFT_OPEN: Meaning(_C, "An intent is decided, and the ledger still holds its money."),
    _K.POSTED_THOUGH_FAILED: Meaning(_E, "An intent ended unpaid, and the ledger has moved its money all the same."),
    _K.MOVED_THOUGH_REFUSED: Meaning(_E, "An intent was refused, and the ledger has moved or holds money for it."),
    _K.PLAN_MISSING: Meaning(_C, "An intent is past planning, and its plan is missing or cannot be read."),
    _K.STATE_CONTRADICTS_PLAN: Meaning(
        _C, "An intent's state does not follow from its plan and from what was resolved about it."
    ),
    _K.BALANCE_DIFFERS: Meaning(_C, "The read model shows another balance of a wallet than the ledger has."),
    _K.HELD_DIFFERS: Meaning(_C, "The read model shows another held amount of a wallet than the ledger has."),
    _K.HISTORY_MISSING: Meaning(_C, "A movement of a wallet is in the ledger and not in its history."),
    _K.HISTORY_EXTRA: Meaning(_C, "The history of a wallet shows a movement that never happened."),
    _K.HISTORY_DIFFERS: Meaning(_C, "The history of a wallet shows a movement otherwise than the ledger has it."),
    _K.TRANSIT_NOT_ZERO: Meaning(_E, "Money has stayed in a transit account, which is empty after every chain."),
    _K.LIMIT_UNPLANNED: Meaning(_W, "An allowance was used or funded by a transfer that no plan explains."),
    _K.LIMIT_MISMATCH: Meaning(_W, "An allowance was used for another amount, or otherwise, than the plan says."),
    _K.ACCOUNT_MISSING: Meaning(_C, "An account is recorded as open, and the ledger does not know it."),
    _K.ACCOUNT_MISNAMED: Meaning(_C, "An account is recorded under an id or a currency that is not its name's."),
    _K.ACCOUNT_MALFORMED: Meaning(
        _C, "An account stands in the ledger with other flags or another code than its kind."
    ),
    _K.ACCOUNT_UNMAPPED: Meaning(_C, "The ledger has an account that nobody has recorded as opened."),
    _K.JOB_NEVER_LEFT: Meaning(_W, "A job for a PSP has waited in the outbox for long, though nothing holds it up."),
    _K.PSP_MISSING: Meaning(_C, "A payment that we expect of a PSP was not named by it before its deadline."),
    _K.PSP_UNKNOWN: Meaning(_C, "A PSP paid, or was paid, for a reference that nobody here knows."),
    _K.AMOUNT_DIFFERS: Meaning(_C, "A PSP names another amount of a payment than the one in our books."),
    _K.FEE_DIFFERS: Meaning(_W, "A PSP took another fee than was agreed with it, beyond its tolerance."),
    _K.CURRENCY_DIFFERS: Meaning(_C, "A PSP names another currency of a payment than the one in our books."),
    _K.DUPLICATE_LINE: Meaning(_W, "A PSP names the same payment in more than one line of its files."),
    _K.CONTRADICTS_TERMINAL: Meaning(
        _E, "A PSP says the contrary of how an intent has ended; nothing was changed upon it."
    ),
    _K.FILE_DIFFERS: Meaning(_C, "A settlement file is not what its own manifest, count or sum says that it is."),
}
"""Every kind, its severity and its meaning."""
