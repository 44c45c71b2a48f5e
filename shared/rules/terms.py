"""The terms of an operation: over which channel it goes, what it costs, and which allowances it uses. Pure.

::

    route → channel → fees → limits

The saga plans by this, and the dry run answers with it, so that nobody is told other terms than those that are carried
out under the same rules. This module must never touch a store or a clock.
"""

from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from shared.plans import LimitUse, PassedOver
from shared.rules.book import RuleBook
from shared.rules.choice import Channels, Choice, NoChannel, choose
from shared.rules.fees import Quote
from shared.rules.limits import LimitReached
from shared.rules.model import RULE_OPERATIONS, RuleFault, Subject
from shared.rules.refusals import Refusal, beyond_limit, fee_fault

MONEY_IN: Final = frozenset({"QP_TOPUP"})
"""The operations that a PSP is to be paid for us; of every other one it is asked to pay out."""

_OUT_OF_RANGE: Final = Refusal("amount_out_of_range", "with its fees the amount lies outside what the channel carries")


@dataclass(frozen=True, slots=True)
class Terms:
    """What the rules make of an operation.

    Attributes:
        choice: the route taken, and over which channels it was preferred.
        quote: what it costs.
        limits: the allowances that it uses, whatever is left of them.
        psp_amount_minor: what is asked of the PSP, None inside the house.
    """

    choice: Choice
    quote: Quote
    limits: tuple[LimitUse, ...]
    psp_amount_minor: int | None


@dataclass(frozen=True, slots=True)
class NoTerms:
    """Why an operation is refused, and how far the rules had come with it by then."""

    refusal: Refusal
    passed_over: tuple[PassedOver, ...] = ()
    choice: Choice | None = None
    quote: Quote | None = None
    psp_amount_minor: int | None = None


def terms_of(subject: Subject, *, intent: UUID, book: RuleBook, channels: Channels) -> Terms | NoTerms:
    """Say on which terms an operation is carried out, or why it is refused.

    Args:
        subject: what is to be carried; its channel is what this decides.
        intent: settles who goes where among routes of one priority.
        book: the rules in force.
        channels: the PSPs, and whether they take anything on.
    """
    choice = choose(book.routes, subject, intent, channels)
    if isinstance(choice, NoChannel):
        return NoTerms(Refusal(choice.code, choice.detail), choice.passed_over)
    subject = replace(subject, channel=choice.route.channel)
    ruled = subject.operation_type in RULE_OPERATIONS
    quote = book.quote(subject) if ruled else Quote(subject.amount_minor)
    if isinstance(quote, RuleFault):
        return NoTerms(fee_fault(quote), choice.passed_over, choice)
    asked_minor = _asked_of_psp(choice, subject, quote)
    limits = book.limit_uses(subject) if ruled else ()
    if isinstance(limits, LimitReached):
        return NoTerms(beyond_limit(limits, subject.currency), choice.passed_over, choice, quote, asked_minor)
    if asked_minor is not None and not _carries(choice, subject, asked_minor):
        return NoTerms(_OUT_OF_RANGE, choice.passed_over, choice, quote, asked_minor)
    return Terms(choice, quote, limits, asked_minor)


def _asked_of_psp(choice: Choice, subject: Subject, quote: Quote) -> int | None:
    """Return what is asked of the PSP: to pay out what is left after fees, or to be paid amount and fees in one sum."""
    if choice.manifest is None:
        return None
    return quote.payer_pays_minor if subject.operation_type in MONEY_IN else quote.payee_gets_minor


def _carries(choice: Choice, subject: Subject, asked_minor: int) -> bool:
    rules = choice.manifest.operations[subject.operation_type] if choice.manifest is not None else None
    return rules is None or rules.min_minor <= asked_minor <= rules.max_minor
