"""Rule books made of entries instead of the database: what files would mean, asked by the very functions of the saga.

This module must never interpret a rule itself.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from ops.rules.entries import AmountEntry, BusinessEntry, Entry, FeeEntry, LimitEntry, RouteEntry, VelocityEntry
from shared.rules.book import RuleBook
from shared.rules.calendar import BusinessCalendar
from shared.rules.model import FeeAmount, FeeRule, LimitRule, Per, Scope, Timing, VelocityAction, VelocityRule
from shared.rules.routes import Route

TIME_ZONE_UNSAID: Final = "UTC"


def scope_of(entry: FeeEntry | LimitEntry | VelocityEntry) -> Scope:
    """Return which intents a rule may apply to."""
    return Scope(tuple(entry.operations), entry.currency, tuple(entry.tags))


def fee_rule(entry: FeeEntry, version: int = 1) -> FeeRule:
    """Return the rule that an entry says."""
    amount = entry.amount
    return FeeRule(
        name=entry.name,
        version=version,
        scope=scope_of(entry),
        timing=Timing(entry.timing),
        amount=FeeAmount(amount.fixed_minor, amount.bps, amount.min_minor, amount.max_minor)
        if isinstance(amount, AmountEntry)
        else amount,
        beneficiary=entry.beneficiary,
        condition=entry.condition,
        priority=entry.priority,
        final=entry.final,
        active_from_ms=_ms(entry.active_from),
        active_until_ms=_ms(entry.active_until),
    )


def book_of(entries: Mapping[str, Iterable[tuple[Entry, int]]]) -> RuleBook:
    """Return the book of some sections: entries with their versions."""
    time_zone = TIME_ZONE_UNSAID
    fees: list[FeeRule] = []
    limits: list[LimitRule] = []
    velocity: list[VelocityRule] = []
    routes: list[Route] = []
    for entry, version in (each for section in entries.values() for each in section):
        match entry:
            case BusinessEntry():
                time_zone = entry.time_zone
            case FeeEntry():
                fees.append(fee_rule(entry, version))
            case LimitEntry():
                limits.append(_limit_rule(entry, version))
            case VelocityEntry():
                velocity.append(_velocity_rule(entry, version))
            case RouteEntry():
                routes.append(_route(entry, version, len(routes) + 1))
            case _:
                continue
    return RuleBook(calendar=BusinessCalendar(time_zone), fees=fees, limits=limits, velocity=velocity, routes=routes)


def _limit_rule(entry: LimitEntry, version: int) -> LimitRule:
    return LimitRule(
        entry.name,
        version,
        scope_of(entry),
        entry.transaction_max_minor,
        entry.daily_max_minor,
        entry.daily_max_count,
        entry.monthly_max_minor,
        entry.monthly_max_count,
    )


def _velocity_rule(entry: VelocityEntry, version: int) -> VelocityRule:
    return VelocityRule(
        entry.name,
        version,
        scope_of(entry),
        Per(entry.per),
        entry.window_s,
        VelocityAction(entry.action),
        entry.max_count,
        entry.max_sum_minor,
        entry.condition,
    )


def _route(entry: RouteEntry, version: int, number: int) -> Route:
    return Route(number, version, **{**entry.model_dump(), "tags": tuple(entry.tags)})


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
