"""The second opinion on an expression: two engines that share no code must agree on it before it goes live.

`common-expression-language` answers on the hot path, `cel-python` here. Where one of them finds a fault, or another
answer, the expression means something else than its author can know. This module must never be needed to plan an
intent: it takes a thousand times as long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import celpy
from celpy import celtypes
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError, CELSyntaxError, CELUnsupportedError

from ops.rules.samples import Sample, described
from shared.errors import BadInput
from shared.rules.expressions import (
    INT_MAX,
    BadExpression,
    Context,
    EvaluationFailed,
    Expression,
    Value,
    compile_expression,
)

Wanted = Literal["condition", "amount"]
_FAULTS: Final = (
    CELEvalError, CELSyntaxError, CELUnsupportedError, TypeError, ValueError, ArithmeticError, LookupError,
    RuntimeError, AttributeError,
)  # fmt: skip
"""Everything that the second engine raises of a program; a fault in it is a fault of the rule."""


class Objection(BadInput):
    """An expression may not go live; `column` (from 1) says where, as far as that is known."""

    code = "expression_refused"

    def __init__(self, detail: str, *, column: int | None = None) -> None:
        super().__init__(detail)
        self.column = column


@dataclass(frozen=True, slots=True)
class Agreed:
    """An expression that both engines can read."""

    first: Expression
    second: celpy.Runner
    wanted: Wanted

    @property
    def source(self) -> str:
        """What it says."""
        return self.first.source

    @property
    def needs(self) -> frozenset[str]:
        """The variables that it asks for."""
        return self.first.needs


def both(source: str, wanted: Wanted) -> Agreed:
    """Have both engines compile an expression.

    Raises:
        Objection: one of them cannot.
    """
    try:
        first = compile_expression(source)
    except BadExpression as error:
        raise Objection(str(error), column=error.column) from None
    environment = _environment()
    try:
        second = environment.program(environment.compile(source))
    except CELParseError as error:
        column = error.column if error.line == 1 else None
        raise Objection("the second engine cannot read it", column=column) from None
    except _FAULTS as error:
        raise Objection(f"the second engine cannot compile it ({type(error).__name__})") from None
    return Agreed(first, second, wanted)


def answer(expression: Agreed, sample: Sample, context: Context) -> int:
    """Return what both engines say of a sample: a condition's truth as 0 or 1, or an amount.

    Raises:
        Objection: one of them has no answer, or another one, or none of the kind that is wanted.
    """
    where = f"on the sample {described(sample)}"
    context.set(sample)
    try:
        first = (
            int(context.condition(expression.first))
            if expression.wanted == "condition"
            else context.amount(expression.first)
        )
    except EvaluationFailed as error:
        raise Objection(f"{error} ({where})") from None
    try:
        said = expression.second.evaluate({name: _foreign(value) for name, value in sample.items()})
    except _FAULTS as error:
        raise Objection(f"the second engine has no answer, {_kind(error)} ({where})") from None
    second = _own(said, expression.wanted)
    if second is None:
        raise Objection(f"the second engine answers with another kind of value, {type(said).__name__} ({where})")
    if first != second:
        raise Objection(f"the engines disagree: {_shown(first, expression)} and {_shown(second, expression)} ({where})")
    return first


@cache
def _environment() -> celpy.Environment:
    """Return the second engine; making its grammar is dear."""
    return celpy.Environment()


def _foreign(value: Value) -> Any:
    if isinstance(value, int):
        return celtypes.IntType(value)
    if isinstance(value, str):
        return celtypes.StringType(value)
    if isinstance(value, Sequence):
        return celtypes.ListType([celtypes.StringType(each) for each in value])
    return celtypes.MapType({celtypes.StringType(name): celtypes.StringType(text) for name, text in value.items()})


def _own(said: object, wanted: Wanted) -> int | None:
    if wanted == "condition":
        return int(bool(said)) if isinstance(said, celtypes.BoolType | bool) else None
    return int(said) if isinstance(said, celtypes.IntType) and 0 <= said <= INT_MAX else None


def _kind(error: Exception) -> str:
    """Name the kind of a fault; its text may hold the whole context."""
    inner = error.args[1] if isinstance(error, CELEvalError) and len(error.args) > 1 else type(error)
    return inner.__name__ if isinstance(inner, type) else type(error).__name__


def _shown(value: int, expression: Agreed) -> str:
    return str(bool(value)).lower() if expression.wanted == "condition" else str(value)
