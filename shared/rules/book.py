"""The rule book: every rule in force, compiled and indexed once, asked per intent in microseconds. Pure.

Rules are looked up by operation and currency. How many may then apply is bounded where rules are saved: at most
`FEES_MAX` fee rules and `ALLOWANCES_MAX` allowances for an operation in a currency. This module must never touch a
store or a clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from shared.plans import LimitUse
from shared.rules.calendar import BusinessCalendar
from shared.rules.expressions import BadExpression, Context, EvaluationFailed, Expression, compile_expression
from shared.rules.fees import ALWAYS, CompiledFee, Quote, quote, variables
from shared.rules.limits import LimitReached, uses
from shared.rules.model import FeeAmount, FeeRule, LimitRule, RuleFault, Scope, Subject, VelocityRule
from shared.rules.routes import Route

FEES_MAX: Final = 20
ALLOWANCES_MAX: Final = 12
VELOCITY_MAX: Final = 8

Cell = tuple[str, str]
"""Operation type and currency."""


@dataclass(frozen=True, slots=True)
class CompiledVelocity:
    """A velocity rule with its condition compiled; None always holds. `fault` says why it cannot be."""

    rule: VelocityRule
    condition: Expression | None
    fault: str | None = None


class _Scoped(Protocol):
    @property
    def scope(self) -> Scope: ...


R = TypeVar("R", bound=_Scoped)


class RuleBook:
    """All rules of one moment.

    A rule that cannot be compiled (whoever saved it went past `paymesh rules apply`, or under other bounds) refuses
    the intents that it may apply to, by its name, and stands in the way of no other.
    """

    def __init__(
        self,
        *,
        calendar: BusinessCalendar,
        fees: Iterable[FeeRule] = (),
        limits: Iterable[LimitRule] = (),
        velocity: Iterable[VelocityRule] = (),
        routes: Iterable[Route] = (),
    ) -> None:
        """Compile and index."""
        self.calendar = calendar
        self.routes: tuple[Route, ...] = tuple(
            sorted((route for route in routes if route.active), key=lambda route: (route.priority, route.id))
        )
        self.limits: tuple[LimitRule, ...] = tuple(sorted(limits, key=lambda rule: rule.name))
        self.fees: tuple[FeeRule, ...] = tuple(sorted(fees, key=lambda rule: (rule.priority, rule.name)))
        self.velocity: tuple[VelocityRule, ...] = tuple(sorted(velocity, key=lambda rule: rule.name))
        self._limits = _by_cell(self.limits)
        compiled = {rule.name: _compiled(rule) for rule in self.fees}
        self._fees = {cell: [compiled[rule.name] for rule in rules] for cell, rules in _by_cell(self.fees).items()}
        self._velocity = {
            cell: [_compiled_velocity(rule) for rule in rules] for cell, rules in _by_cell(self.velocity).items()
        }
        self._needs: dict[Cell, frozenset[str]] = {
            cell: frozenset().union(*(fee.needs for fee in fees)) for cell, fees in self._fees.items()
        }
        self._context = Context()

    @property
    def faults(self) -> tuple[RuleFault, ...]:
        """The rules that cannot be compiled."""
        compiled = (one for cells in (self._fees, self._velocity) for ones in cells.values() for one in ones)
        found = (RuleFault(one.rule.name, one.rule.version, one.fault) for one in compiled if one.fault is not None)
        return tuple(dict.fromkeys(found))

    @property
    def beneficiaries(self) -> frozenset[str]:
        """The accounts that fees go to."""
        return frozenset(rule.beneficiary for rule in self.fees)

    def beneficiaries_of(self, operation_type: str, currency: str) -> list[str]:
        """Return the accounts that the fees of an operation in a currency may go to."""
        return [fee.rule.beneficiary for fee in self._fees.get((operation_type, currency), ())]

    def quote(self, subject: Subject) -> Quote | RuleFault:
        """Say what an intent costs."""
        cell = (subject.operation_type, subject.currency)
        candidates = self._fees.get(cell)
        if not candidates:
            return Quote(subject.amount_minor)
        self._context.set(variables(subject, self.calendar, self._needs[cell]))
        return quote(candidates, subject, self._context)

    def limit_uses(self, subject: Subject) -> tuple[LimitUse, ...] | LimitReached:
        """Return the allowances that an intent uses, or the limit that it is beyond by itself."""
        rules = self._limits.get((subject.operation_type, subject.currency))
        return uses(rules, subject, self.calendar) if rules else ()

    def limits_of(self, currency: str) -> list[LimitRule]:
        """Return the limit rules of a currency."""
        return [rule for rule in self.limits if rule.scope.currency == currency]

    def velocity_of(self, subject: Subject) -> list[VelocityRule] | RuleFault:
        """Return the velocity rules that count an intent."""
        found: list[VelocityRule] = []
        for one in self._velocity.get((subject.operation_type, subject.currency), ()):
            rule = one.rule
            if rule.scope.tags and not set(rule.scope.tags) <= set(subject.tags):
                continue
            if one.fault is not None:
                return RuleFault(rule.name, rule.version, one.fault)
            if one.condition is not None:
                self._context.set(variables(subject, self.calendar, one.condition.needs))
                try:
                    if not self._context.condition(one.condition):
                        continue
                except EvaluationFailed as error:
                    return RuleFault(rule.name, rule.version, str(error))
            found.append(rule)
        return found


def _by_cell(rules: Sequence[R]) -> Mapping[Cell, list[R]]:
    cells: dict[Cell, list[R]] = {}
    for rule in rules:
        for operation_type in rule.scope.operations:
            cells.setdefault((operation_type, rule.scope.currency), []).append(rule)
    return cells


def _compiled(rule: FeeRule) -> CompiledFee:
    try:
        amount = compile_expression(rule.amount) if isinstance(rule.amount, str) else rule.amount
        return CompiledFee(rule, _condition(rule.condition), amount)
    except BadExpression as error:
        return CompiledFee(rule, None, FeeAmount(), fault=str(error))


def _compiled_velocity(rule: VelocityRule) -> CompiledVelocity:
    try:
        return CompiledVelocity(rule, _condition(rule.condition))
    except BadExpression as error:
        return CompiledVelocity(rule, None, fault=str(error))


def _condition(source: str) -> Expression | None:
    return None if source.strip() == ALWAYS else compile_expression(source)
