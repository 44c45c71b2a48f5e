"""Scenarios: the little language in which a test says how a sandbox shall behave.

A scenario is words joined by ``+``, some with a number or code behind a colon: ``timeout_after_commit+callback_lost``.
All times are milliseconds, all amounts minor units; *commit* is the moment at which the books change.

What becomes of the operation:

=============================  =====================================================================================
success                        nothing special (for a rule that shall outrank another)
decline:<code>                 refused for business reasons, with the code in capitals: ``decline:over_limit``
processing[:<ms>]              accepted but not final; final after so long, without a time never (until told)
reversal:<ms>                  final success, taken back after so long
revived:<ms>                   final decline, turned into success after so long
unseen:<ms>                    committed, but inquiries do not find it for so long
paid[:<ms>]                    QP, on create: somebody pays the code after so long
paid_twice[:<ms>]              the same, and pays once more
paid_after_expiry[:<ms>]       the same, so long after the code expired
paid_amount:<minor>            whoever pays, pays this amount
payment_declined:<code>        whoever pays is declined
=============================  =====================================================================================

What the caller sees:

=======================================  ===========================================================================
slow:<ms>                                everything, the commit included, happens so much later
timeout_before_commit                    no answer ever, and nothing done
timeout_after_commit                     no answer ever, but done
reset_before_commit, reset_after_commit  the connection is reset in the middle of the answer
malformed_before_commit, …_after_commit  status 200 and half of a JSON text
http_<status>_before_commit[:<s>]        an error status, with Retry-After if seconds are given
http_<status>_after_commit[:<s>]         the same, though done
=======================================  ===========================================================================

What becomes of the callback:

=============================  =====================================================================================
callback_lost                  never sent
callback_late:<ms>             sent so much later
callback_duplicate[:<n>]       sent n times (2), the same bytes
callback_out_of_order          followed by the news of an earlier state
callback_forged                preceded by the contrary, signed with a wrong secret
callback_replayed              preceded by itself, truly signed an hour ago
callback_wrong_amount:<minor>  names this amount
=============================  =====================================================================================

`adapters.sandbox.script` reads the words. This module must never do anything.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.errors import BadInput


class BadScenario(BadInput):
    """The words make no scenario."""

    code = "bad_scenario"


class FaultKind(StrEnum):
    """How an answer goes wrong."""

    TIMEOUT = "timeout"
    RESET = "reset"
    MALFORMED = "malformed"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that goes wrong, before or after the commit."""

    kind: FaultKind
    after_commit: bool
    status: int = 0
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """How one call shall go; see the module for the words."""

    text: str = "success"
    delay_ms: int = 0
    fault: Fault | None = None
    decline: str | None = None
    processing: bool = False
    final_after_ms: int | None = None
    reversal_after_ms: int | None = None
    revived_after_ms: int | None = None
    unseen_ms: int = 0
    payments: int = 0
    paid_after_ms: int = 0
    paid_after_expiry: bool = False
    paid_amount_minor: int | None = None
    payment_decline: str | None = None
    callback_lost: bool = False
    callback_late_ms: int = 0
    callback_copies: int = 1
    callback_out_of_order: bool = False
    callback_forged: bool = False
    callback_replayed: bool = False
    callback_amount_minor: int | None = None
