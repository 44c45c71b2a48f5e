"""`make bench-rules`: what rules cost an intent, in microseconds, with as many as may apply to it at once.

200 fee rules and 50 limit rules are in force, indexed by operation and currency; the intent is one of those to which
the most may apply: 20 fee rules, half of them with a condition that asks for amount, tags or labels, and 12
allowances. What is measured is all the rule work of one intent: choosing its channel, its fees, its limits. Nothing is
remembered from one intent to the next but what an orchestrator remembers, too.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from uuid import UUID

from rich.console import Console
from rich.table import Table

from bench.machine import commit
from shared.money import AMOUNT_MINOR_MAX
from shared.plans import LimitUse
from shared.psp import Manifest
from shared.rules.book import ALLOWANCES_MAX, FEES_MAX, RuleBook
from shared.rules.calendar import BusinessCalendar
from shared.rules.choice import Choice, choose
from shared.rules.fees import Quote
from shared.rules.model import RULE_OPERATIONS, FeeAmount, FeeRule, LimitRule, Scope, Subject, Timing
from shared.rules.routes import ChannelHealth, Route

FEES: Final = 200
LIMITS: Final = 50
TARGET_US: Final = 60.0
ROUNDS: Final = 15
_INTENTS: Final = 2000
_CURRENCIES: Final = ("USD", "EUR", "RUB", "VND", "JPY", "SGD", "MYR", "PHP", "IDR", "INR")
_CONDITIONS: Final = (
    "true",
    'amount > 1000 && !("vip" in tags)',
    "true",
    'amount <= 500000 && (!has(metadata.tier) || metadata.tier != "gold")',
)
_MEASURED: Final = Scope(("P2P_TRANSFER",), "THB")
_ROUTE: Final = Route(1, 1, "P2P_TRANSFER", None, 1, AMOUNT_MINOR_MAX, "INTERNAL_P2P")


class _NoPsps:
    """The channels of an operation that stays in the house."""

    def manifest_of_channel(self, _channel: str) -> Manifest | None:
        """No PSP stands behind any."""
        return None

    def refusal(self, _psp: str, _operation: str) -> str | None:
        """Nobody refuses."""
        return None

    def health(self, _psp: str) -> ChannelHealth:
        """Nobody is known."""
        return ChannelHealth()


def _elsewhere(number: int) -> Scope:
    operation = RULE_OPERATIONS[number % len(RULE_OPERATIONS)]
    return Scope((operation,), _CURRENCIES[number // len(RULE_OPERATIONS) % len(_CURRENCIES)])


def full_book() -> RuleBook:
    """Return a book with as many rules as are promised for, and as many for one intent as may be saved."""
    fees = [
        FeeRule(
            name=f"fee-{number:03}",
            version=1,
            scope=_MEASURED if number < FEES_MAX else _elsewhere(number),
            timing=Timing.PRE if number % 2 else Timing.POST,
            amount=FeeAmount(fixed_minor=1, bps=2),
            beneficiary=f"fee:f{number}:THB",
            condition=_CONDITIONS[number % len(_CONDITIONS)],
            priority=number,
        )
        for number in range(FEES)
    ]
    four = {"daily_max_minor": 10**9, "daily_max_count": 99, "monthly_max_minor": 10**10, "monthly_max_count": 999}
    limits = [
        LimitRule(f"limit-{number:02}", 1, _MEASURED if number < ALLOWANCES_MAX // 4 else _elsewhere(number), **four)
        for number in range(LIMITS)
    ]
    return RuleBook(calendar=BusinessCalendar("Asia/Bangkok"), fees=fees, limits=limits, routes=[_ROUTE])


def intents(count: int) -> list[Subject]:
    """Return intents of many holders, none like the one before."""
    return [
        Subject(
            "P2P_TRANSFER", "THB", 20_000 + number, 1_796_000_000_000 + number, f"user:u{number}",
            user_id=f"u{number}", tags=("rent", "may"), labels={"tier": "silver"},
        )
        for number in range(count)
    ]  # fmt: skip


def plan(book: RuleBook, subject: Subject) -> tuple[Choice, Quote, tuple[LimitUse, ...]]:
    """Do the rule work of one intent."""
    choice = choose(book.routes, subject, UUID(int=subject.at_ms), _NoPsps())
    if not isinstance(choice, Choice):
        raise TypeError("the benchmark's intents have a channel")
    found = replace(subject, channel=choice.route.channel)
    quote, limits = book.quote(found), book.limit_uses(found)
    if not isinstance(quote, Quote) or not isinstance(limits, tuple):
        raise TypeError("the benchmark's rules apply")
    return choice, quote, limits


def per_intent_us(work: Callable[[Subject], object], subjects: list[Subject]) -> float:
    """Measure a piece of work once over all subjects; return µs of CPU time for each."""
    started = time.process_time_ns()
    for subject in subjects:
        work(subject)
    return (time.process_time_ns() - started) / len(subjects) / 1000


def measure(rounds: int = ROUNDS, count: int = _INTENTS) -> dict[str, list[float]]:
    """Measure every piece in every round."""
    book, subjects = full_book(), intents(count)
    pieces: dict[str, Callable[[Subject], object]] = {
        "fees": book.quote,
        "limits": book.limit_uses,
        "all": lambda subject: plan(book, subject),
    }
    return {name: [per_intent_us(work, subjects) for _ in range(rounds)] for name, work in pieces.items()}


def main() -> int:
    """Print what was measured; exit 1 where the target is missed."""
    found = measure()
    _, quote, limits = plan(full_book(), intents(1)[0])
    table = Table(title=f"rule work per intent, µs of CPU time ({ROUNDS} rounds of {_INTENTS} intents)")
    for column in ("", "min", "median", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, figures in found.items():
        table.add_row(name, *(f"{figure:.1f}" for figure in (min(figures), statistics.median(figures), max(figures))))
    console = Console()
    console.print(table)
    median = statistics.median(found["all"])
    facts = {"commit": commit(), "python": platform.python_version()}
    facts |= {"charged": str(len(quote.fees)), "allowances": str(len(limits))}
    console.print(json.dumps(facts), highlight=False)
    console.print(f"target {TARGET_US:.0f} µs: {'met' if median < TARGET_US else 'missed'}", highlight=False)
    return 0 if median < TARGET_US else 1


if __name__ == "__main__":
    sys.exit(main())
