"""Which allowances an intent uses, under which caps. Pure; the ledger is the judge of what is left of them.

A rule bounds the amount of one intent, and what its holder may move in a business day or month: an amount, a number
of intents, or both. The period is that in which the intent was accepted, so that one accepted before midnight and
carried out after it counts for the day before. Fees count for nothing. This module must never read a balance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shared.plans import LimitUse
from shared.rules.calendar import BusinessCalendar, Period
from shared.rules.model import LimitRule, Subject

Measure = Literal["amount", "count"]
LIMIT_EXCEEDED: Final = "limit_exceeded"
AT_ONCE: Final = "transaction"
"""In the place of a period, where the amount of one intent is beyond what may go at once."""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """An intent is beyond a limit, whatever else was used of it: more than may go at once, or than a whole period's."""

    rule: str
    version: int
    period: str
    measure: Measure
    cap: int
    resets_ms: int | None
    account: str | None = None


def uses(
    rules: Sequence[LimitRule], subject: Subject, calendar: BusinessCalendar
) -> tuple[LimitUse, ...] | LimitReached:
    """Return what an intent uses of which allowances, or the limit that it is beyond by itself."""
    found: list[LimitUse] = []
    day, month = calendar.day(subject.at_ms), calendar.month(subject.at_ms)
    for rule in rules:
        if rule.scope.tags and not set(rule.scope.tags) <= set(subject.tags):
            continue
        most = rule.transaction_max_minor
        if most is not None and subject.amount_minor > most:
            return LimitReached(rule.name, rule.version, AT_ONCE, "amount", most, None)
        for measure, cap, period in _caps(rule, day, month):
            units = subject.amount_minor if measure == "amount" else 1
            account = account_name(subject.holder, subject.currency, rule.name, measure, period)
            if units > cap:
                return LimitReached(rule.name, rule.version, period.name, measure, cap, period.resets_ms, account)
            found.append(LimitUse(rule.name, rule.version, measure, account, units, cap, period.resets_ms))
    return tuple(found)


def allowances(rule: LimitRule, holder: str, at_ms: int, calendar: BusinessCalendar) -> list[LimitUse]:
    """Return every allowance of a rule that a holder has at a moment, as a use of no units."""
    return [
        LimitUse(
            rule.name,
            rule.version,
            measure,
            account_name(holder, rule.scope.currency, rule.name, measure, period),
            0,
            cap,
            period.resets_ms,
        )
        for measure, cap, period in _caps(rule, calendar.day(at_ms), calendar.month(at_ms))
    ]


def account_name(holder: str, currency: str, rule: str, measure: Measure, period: Period) -> str:
    """Name an allowance; the name is its account in the ledger, for ever."""
    return f"limit:{holder}:{currency}:{rule}:{measure}:{period.name}"


def _caps(rule: LimitRule, day: Period, month: Period) -> list[tuple[Measure, int, Period]]:
    caps: list[tuple[Measure, int, Period]] = []
    if rule.daily_max_minor is not None:
        caps.append(("amount", rule.daily_max_minor, day))
    if rule.daily_max_count is not None:
        caps.append(("count", rule.daily_max_count, day))
    if rule.monthly_max_minor is not None:
        caps.append(("amount", rule.monthly_max_minor, month))
    if rule.monthly_max_count is not None:
        caps.append(("count", rule.monthly_max_count, month))
    return caps
