"""What is answered about rules: what an operation would cost and use, and what is left of a wallet's allowances.

Models for OpenAPI and the plain dicts that are sent, as in `views`. This module must never decide anything: what the
rules make of an operation is said by `shared.rules.terms`, which the saga asks as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from gateway.problems import refusal
from gateway.views import RefusalView, View
from shared.plans import LimitUse, PassedOver
from shared.rules.fees import Quote
from shared.rules.limits import Measure
from shared.rules.model import LimitRule, Subject, Timing
from shared.rules.refusals import Refusal, limit_refusal, not_open, period_of, time_of
from shared.rules.terms import NoTerms, Terms


class PassedOverView(View):
    """A channel that the route would have preferred, and why it would not be taken."""

    channel: str
    reason: str


class FeeView(View):
    """A fee: `PRE` is paid by the sender on top, `POST` is what the recipient receives less."""

    rule: str
    version: int
    timing: Timing
    amount_minor: int
    beneficiary: str


class AllowanceView(View):
    """What is left of an allowance, in minor units (`amount`) or intents (`count`).

    `used` is used for good, `reserved` by payments under way; both are of `period`, which ends at `resets_at`.
    """

    measure: Measure
    period: str
    cap: int
    used: int
    reserved: int
    left: int
    resets_at: datetime


class LimitUseView(AllowanceView):
    """An allowance that an operation would use `units` of; `would_exceed` where less than that is left."""

    rule: str
    version: int
    units: int
    would_exceed: bool


class DryRunView(View):
    """What an operation would come to, by the rules of the moment; what is not known is null.

    `psp_amount_minor` is what a provider would be asked for, null inside the house. `refusal` is the `error` that the
    intent would have.
    """

    operation_type: Literal["P2P_TRANSFER", "ADJUSTMENT", "IPPS_WITHDRAWAL", "THAI_QR_PAY", "QP_TOPUP"]
    currency: str
    amount_minor: int
    channel: str | None
    passed_over: list[PassedOverView]
    fees: list[FeeView]
    payer_pays_minor: int | None
    payee_gets_minor: int | None
    psp_amount_minor: int | None
    limits: list[LimitUseView]
    refusal: RefusalView | None


class LimitRuleView(View):
    """A rule that bounds what a wallet's owner may move: at once, and in each of `allowances`.

    It counts the operations named, and where it has tags only the intents that carry all of them.
    """

    rule: str
    version: int
    operations: list[str]
    tags: list[str]
    transaction_max_minor: int | None
    allowances: list[AllowanceView]


class LimitsView(View):
    """The allowances of a wallet's owner in the wallet's currency."""

    name: str
    currency: str
    limits: list[LimitRuleView]


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used of an allowance, for good and by payments under way."""

    used: int = 0
    reserved: int = 0


UNUSED: Final = Usage()

Usages = Mapping[str, Usage]
"""What is used, by the name of the allowance; of one that is not there, nothing is."""


def dry_run_document(
    subject: Subject, terms: Terms | NoTerms, *, used: Usages, unopened: Sequence[str] = ()
) -> dict[str, Any]:
    """Say what an operation would come to.

    Args:
        subject: the operation.
        terms: what the rules make of it.
        used: of the allowances that the terms name.
        unopened: the wallets that it names and that nobody has opened.
    """
    ccy = subject.currency
    if isinstance(terms, NoTerms):
        document = _document(subject, terms, terms.passed_over)
        return document | {"limits": [], "refusal": _refusal(terms.refusal)}
    refused = not_open(unopened[0]) if unopened else None
    limits = []
    for use in terms.limits:
        usage = used.get(use.account, UNUSED)
        left = _left(use, usage)
        exceeds = use.units > left
        if exceeds and refused is None:
            refused = limit_refusal(use, ccy, left=left)
        own = {"rule": use.rule, "version": use.version, "units": use.units, "would_exceed": exceeds}
        limits.append(own | allowance(use, usage))
    told = _refusal(refused) if refused is not None else None
    return _document(subject, terms, terms.choice.passed_over) | {"limits": limits, "refusal": told}


def _document(subject: Subject, terms: Terms | NoTerms, passed_over: Sequence[PassedOver]) -> dict[str, Any]:
    quote: Quote | None = terms.quote
    return {
        "operation_type": subject.operation_type,
        "currency": subject.currency,
        "amount_minor": subject.amount_minor,
        "channel": terms.choice.route.channel if terms.choice is not None else None,
        "passed_over": [{"channel": one.channel, "reason": one.reason} for one in passed_over],
        "fees": [
            {
                "rule": fee.rule,
                "version": fee.version,
                "timing": fee.timing,
                "amount_minor": fee.amount_minor,
                "beneficiary": fee.beneficiary,
            }
            for fee in (quote.fees if quote is not None else ())
        ],
        "payer_pays_minor": quote.payer_pays_minor if quote is not None else None,
        "payee_gets_minor": quote.payee_gets_minor if quote is not None else None,
        "psp_amount_minor": terms.psp_amount_minor,
    }


def _refusal(refused: Refusal) -> dict[str, object]:
    return refusal(refused.code, refused.detail, refused.data)


def limits_document(
    rules: Sequence[tuple[LimitRule, Sequence[LimitUse]]], *, name: str, currency: str, used: Usages
) -> dict[str, Any]:
    """Say what is left of the allowances of some rules."""
    return {
        "name": name,
        "currency": currency,
        "limits": [
            {
                "rule": rule.name,
                "version": rule.version,
                "operations": list(rule.scope.operations),
                "tags": list(rule.scope.tags),
                "transaction_max_minor": rule.transaction_max_minor,
                "allowances": [allowance(use, used.get(use.account, UNUSED)) for use in uses],
            }
            for rule, uses in rules
        ],
    }


def allowance(use: LimitUse, usage: Usage) -> dict[str, Any]:
    """Say what is left of an allowance."""
    return {
        "measure": use.measure,
        "period": period_of(use),
        "cap": use.cap,
        "used": usage.used,
        "reserved": usage.reserved,
        "left": _left(use, usage),
        "resets_at": time_of(use.resets_ms),
    }


def _left(use: LimitUse, usage: Usage) -> int:
    """Return what is left: nothing, where a cap has been lowered below what was used."""
    return max(use.cap - usage.used - usage.reserved, 0)
