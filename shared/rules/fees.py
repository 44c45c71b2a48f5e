"""What an intent costs: every fee rule that applies, in order, or the rule that makes it impossible. Pure.

All rules that apply are charged, by priority and then by name; one that is final ends the list. Together they never
exceed the amount, and the recipient always receives something: a rule that would break that refuses the intent by its
name, since neither cutting a fee short nor skipping it is what its author wrote. The saga and the dry run both ask
here. This module must never touch a store or a clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.money import AMOUNT_MINOR_MAX
from shared.plans import FeeCharged
from shared.rules.calendar import BusinessCalendar
from shared.rules.expressions import Context, EvaluationFailed, Expression, Value
from shared.rules.model import FeeAmount, FeeRule, RuleFault, Subject, Timing

ALWAYS: Final = "true"


@dataclass(frozen=True, slots=True)
class Quote:
    """What an intent costs, and what that leaves for whom, in minor units."""

    amount_minor: int
    fees: tuple[FeeCharged, ...] = ()

    @property
    def pre_minor(self) -> int:
        """What the sender pays on top."""
        return sum(fee.amount_minor for fee in self.fees if fee.timing == Timing.PRE)

    @property
    def post_minor(self) -> int:
        """What the recipient receives less."""
        return sum(fee.amount_minor for fee in self.fees if fee.timing == Timing.POST)

    @property
    def payer_pays_minor(self) -> int:
        """What leaves the sender."""
        return self.amount_minor + self.pre_minor

    @property
    def payee_gets_minor(self) -> int:
        """What reaches the recipient."""
        return self.amount_minor - self.post_minor


@dataclass(frozen=True, slots=True)
class CompiledFee:
    """A fee rule with its expressions compiled; `condition` None always holds.

    `fault` says why one of them cannot be: then the rule refuses whatever it may apply to.
    """

    rule: FeeRule
    condition: Expression | None
    amount: Expression | FeeAmount
    fault: str | None = None

    @property
    def needs(self) -> frozenset[str]:
        """The variables that its expressions name."""
        named = self.condition.needs if self.condition is not None else frozenset[str]()
        return named | self.amount.needs if isinstance(self.amount, Expression) else named


def variables(subject: Subject, calendar: BusinessCalendar, needs: frozenset[str]) -> dict[str, Value]:
    """Return the variables that some expressions need of an intent; lists and maps are dear to hand over."""
    values: dict[str, Value] = {}
    for name in needs:
        match name:
            case "amount":
                values[name] = subject.amount_minor
            case "tags":
                values[name] = list(subject.tags)
            case "metadata":
                values[name] = dict(subject.labels)
            case "hour":
                values[name] = calendar.hour(subject.at_ms)
            case "weekday":
                values[name] = calendar.weekday(subject.at_ms)
            case _:
                values[name] = getattr(subject, name)
    return values


def quote(candidates: Sequence[CompiledFee], subject: Subject, context: Context) -> Quote | RuleFault:
    """Say what an intent costs by the rules that may apply to it, or which of them cannot be applied.

    Args:
        candidates: the rules for its operation and currency, in order.
        subject: the intent.
        context: holds the variables that they need.
    """
    fees: list[FeeCharged] = []
    total = post = 0
    amount_minor, tags = subject.amount_minor, subject.tags
    for fee in candidates:
        rule = fee.rule
        if not _in_force(rule, subject.at_ms) or (rule.scope.tags and not set(rule.scope.tags) <= set(tags)):
            continue
        if fee.fault is not None:
            return RuleFault(rule.name, rule.version, fee.fault)
        try:
            if fee.condition is not None and not context.condition(fee.condition):
                continue
            charged = fee.amount.of(amount_minor) if isinstance(fee.amount, FeeAmount) else context.amount(fee.amount)
        except EvaluationFailed as error:
            return RuleFault(rule.name, rule.version, str(error))
        if charged:
            total += charged
            post += charged if rule.timing is Timing.POST else 0
            if total > amount_minor or post >= amount_minor:
                return RuleFault(rule.name, rule.version, "with it, fees come to more than the amount bears")
            if amount_minor + total > AMOUNT_MINOR_MAX:
                return RuleFault(rule.name, rule.version, "with it, amount and fees go beyond 2^62")
            fees.append(FeeCharged(rule.name, rule.version, rule.timing.value, charged, rule.beneficiary))
        if rule.final:
            break
    return Quote(amount_minor, tuple(fees))


def _in_force(rule: FeeRule, at_ms: int) -> bool:
    return (rule.active_from_ms is None or rule.active_from_ms <= at_ms) and (
        rule.active_until_ms is None or at_ms < rule.active_until_ms
    )
