"""CEL expressions in rules: compiled once, bounded, and closed on any fault.

The engine (`common-expression-language`, Rust) answers in about a microsecond but has neither deadline nor type
checker, and holds the interpreter's lock while it evaluates. So an expression is bounded before it is compiled: its
length, the depth of its brackets, the variables and functions that it may name, at most one comprehension (which can
only walk the few tags or labels of an intent). Numbers are 64-bit integers; the engine turns anything else into floats
without a word, so nothing else is handed in, and no other result is taken. See the Common Expression Language
specification, github.com/google/cel-spec.

This module must never let an error of an expression pass as an answer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cel

from shared.errors import BadInput

SOURCE_MAX: Final = 2048
"""Characters of an expression."""
DEPTH_MAX: Final = 16
"""Brackets inside brackets."""
VARIABLES: Final = frozenset(
    {"amount", "currency", "operation_type", "channel", "user_id", "tags", "metadata", "hour", "weekday"}
)
"""What an expression may name: `hour` is 0 to 23 and `weekday` 1 (Monday) to 7, both in the business time zone."""
FUNCTIONS: Final = frozenset(
    {
        "_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in",
        "_+_", "_-_", "_*_", "_/_", "_%_", "-_", "_[_]", "@not_strictly_false",
        "size", "startsWith", "endsWith", "contains",
    }
)  # fmt: skip
INT_MAX: Final = (1 << 63) - 1

Value = int | str | Sequence[str] | Mapping[str, str]

_TEXT: Final = re.compile(r"""(?P<raw>[rR])?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")
_THREE_QUOTES: Final = re.compile(r"\"{3}|'{3}")
_MACRO: Final = re.compile(r"(?P<over>\w+)?\s*\.\s*(?:all|exists|exists_one|existsOne|filter|map)\s*\(")
"""However its arguments are written: the engine reads `((name), …` as `(name, …`."""
_BOUND: Final = re.compile(r"\s*(\w+)\s*,")
_WALKED: Final = frozenset({"tags", "metadata"})
_BRACKETS: Final = {")": "(", "]": "[", "}": "{"}
_COLUMN: Final = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_ENGINE_ERRORS: Final = (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError)
"""Everything that the engine raises; a fault in it is a fault of the rule."""


class BadExpression(BadInput):
    """The expression cannot be used; `column` (from 1) says where, as far as that is known."""

    code = "bad_expression"

    def __init__(self, detail: str, *, column: int | None = None) -> None:
        super().__init__(detail)
        self.column = column


class EvaluationFailed(BadInput):
    """The expression gave no answer, or none of the kind that was asked for."""

    code = "evaluation_failed"


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression and the variables that it needs."""

    source: str
    program: cel.Program
    needs: frozenset[str]


def compile_expression(source: str) -> Expression:
    """Check and compile an expression.

    Raises:
        BadExpression: saying why it cannot be used, and where.
    """
    loop = _checked_text(source)
    try:
        program = cel.compile(source)
    except _ENGINE_ERRORS as error:
        found = _COLUMN.search(str(error))
        if found is None:
            raise BadExpression("not an expression that the engine can read") from None
        raise BadExpression(found[3], column=int(found[2]) if found[1] == "1" else None) from None
    named = set(program.variables())
    unknown = named - VARIABLES - ({loop} if loop is not None else set())
    if unknown:
        name = min(unknown)
        known = ", ".join(sorted(VARIABLES))
        raise BadExpression(f"there is no variable {name}; there are {known}", column=_place(source, name))
    foreign = set(program.functions()) - FUNCTIONS
    if foreign:
        name = min(foreign)
        raise BadExpression(f"{name} may not be used in a rule", column=_place(source, name))
    return Expression(source, program, frozenset(named & VARIABLES))


class Context:
    """The variables of one intent, set into one context of the engine, which is made once: making one is dear."""

    def __init__(self) -> None:
        self._context = cel.Context({})

    def set(self, values: Mapping[str, Value]) -> None:
        """Set variables; whoever evaluates has set all that its expressions need, since others may be another's."""
        for name, value in values.items():
            self._context.add_variable(name, value)

    def condition(self, expression: Expression) -> bool:
        """Say whether a condition holds.

        Raises:
            EvaluationFailed: it did not say.
        """
        answer = self._evaluate(expression)
        if answer is True or answer is False:
            return answer
        raise EvaluationFailed(f"a condition is true or false, not {type(answer).__name__}")

    def amount(self, expression: Expression) -> int:
        """Return an amount in minor units, at least 0.

        Raises:
            EvaluationFailed: it is not an integer of at least 0, or not there.
        """
        answer = self._evaluate(expression)
        if type(answer) is not int:
            raise EvaluationFailed(f"an amount is a whole number, not {type(answer).__name__}")
        if not 0 <= answer <= INT_MAX:
            raise EvaluationFailed("an amount is 0 or more, and fits 63 bits")
        return answer

    def _evaluate(self, expression: Expression) -> object:
        try:
            return expression.program.execute(self._context)
        except _ENGINE_ERRORS as error:
            raise EvaluationFailed(_told(error)) from None


def _told(error: Exception) -> str:
    """Say what went wrong without any value: those may be a customer's."""
    match error:
        case ZeroDivisionError():
            return "a division by zero"
        case OverflowError():
            return "a number beyond 64 bits"
        case KeyError() | IndexError():
            return "a label or element that is not there; ask with has() or `in` first"
        case TypeError():
            return "values of different kinds in one operation"
        case _:
            return f"no answer ({type(error).__name__})"


def _checked_text(source: str) -> str | None:
    """Bound an expression before anything compiles it; return the name that its comprehension binds, if it has one."""
    if not source.strip():
        raise BadExpression("an expression says something")
    if len(source) > SOURCE_MAX:
        raise BadExpression(f"an expression has at most {SOURCE_MAX} characters, not {len(source)}")
    bare = _without_texts(source)
    _check_brackets(bare)
    return _checked_walk(bare)


def _without_texts(source: str) -> str:
    """Blank out the texts; whatever would make others see texts elsewhere than the engine does is refused."""
    if (quotes := _THREE_QUOTES.search(source)) is not None:
        raise BadExpression("a text does not begin with three quotes", column=quotes.start() + 1)
    for text in _TEXT.finditer(source):
        if text["raw"] and "\\" in text[0]:
            raise BadExpression("a raw text has no backslash", column=text.start() + 1)
    bare = _TEXT.sub(lambda text: " " * len(text[0]), source)
    if (comment := bare.find("//")) >= 0:
        raise BadExpression("there are no comments inside an expression", column=comment + 1)
    return bare


def _check_brackets(bare: str) -> None:
    open_ones: list[str] = []
    for column, character in enumerate(bare, start=1):
        if character in "([{":
            open_ones.append(character)
            if len(open_ones) > DEPTH_MAX:
                raise BadExpression(f"brackets stand at most {DEPTH_MAX} deep", column=column)
        elif character in _BRACKETS and (not open_ones or open_ones.pop() != _BRACKETS[character]):
            raise BadExpression(f"{character} closes nothing", column=column)


def _checked_walk(bare: str) -> str | None:
    walks = list(_MACRO.finditer(bare))
    if len(walks) > 1:
        raise BadExpression("one comprehension at most", column=walks[1].start() + 1)
    if not walks:
        return None
    walk = walks[0]
    bound = _BOUND.match(bare, walk.end())
    if walk["over"] not in _WALKED or bound is None:
        raise BadExpression("a comprehension walks tags or metadata, as in tags.exists(t, …)", column=walk.start() + 1)
    if bound[1] in VARIABLES:
        raise BadExpression("a comprehension's own variable has a name of its own", column=bound.start(1) + 1)
    return bound[1]


def _place(source: str, name: str) -> int | None:
    found = re.search(rf"\b{re.escape(name)}\b", source) if name.isidentifier() else None
    return None if found is None else found.start() + 1
