"""Cases of fees: what people expect some payments to cost, held against rules by the very function that the saga asks.

This module must never be lenient: a fee that a case does not speak of is a fee too many.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ops.rules.entries import CurrencyCode, IntentTag, Tags
from ops.rules.findings import Finding, RulesRefused
from ops.rules.yaml_text import BYTES_MAX, Marked, read_marked
from shared.money import AMOUNT_MINOR_MAX
from shared.operations import LabelName
from shared.rules.book import RuleBook
from shared.rules.model import RULE_OPERATIONS, RuleFault, Subject

CASES_MAX: Final = 10_000
_Amount = Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX)]


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Expected(_Words):
    """What a payment costs, fee by fee, or the rule that refuses it; what is left out is not looked at."""

    fees: dict[str, int] | None = None
    payer_pays_minor: int | None = None
    payee_gets_minor: int | None = None
    error: str | None = None
    """The name of the rule."""

    @model_validator(mode="after")
    def _expects_one_thing(self) -> Self:
        costs = (self.fees, self.payer_pays_minor, self.payee_gets_minor)
        if (self.error is None) == all(cost is None for cost in costs):
            raise ValueError("a case expects costs, or an error")
        return self


class Case(_Words):
    """A payment and what it is expected to cost."""

    name: str = ""
    operation: Annotated[str, Field(pattern=f"^(?:{'|'.join(RULE_OPERATIONS)})$")]
    currency: CurrencyCode
    amount_minor: _Amount
    tags: Tags = []
    labels: Annotated[dict[LabelName, IntentTag], Field(max_length=16)] = {}
    user_id: str = ""
    channel: str = ""
    at: AwareDatetime | None = None
    expect: Expected


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case; `differences` say where it is not as expected, in words."""

    case: str
    line: int | None
    expected: Mapping[str, object]
    found: Mapping[str, object]
    differences: Sequence[str]

    @property
    def holds(self) -> bool:
        """Whether it is as expected."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of a file, with their lines."""

    cases: tuple[Case, ...]
    marks: Marked


def read_cases(path: Path) -> Cases:
    """Read a file of cases.

    Raises:
        RulesRefused: with everything that is wrong with it.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            marks = read_marked(stream.read(BYTES_MAX + 1))
        return Cases(_cases(marks), marks)
    except RulesRefused as error:
        raise RulesRefused(error.findings, path.name) from None


def try_cases(cases: Cases, book: RuleBook, *, now: datetime) -> list[Outcome]:
    """Hold cases against a book; one that says no moment is asked about now."""
    return [_tried(case, cases.marks.line(number), book, now) for number, case in enumerate(cases.cases)]


def _cases(marks: Marked) -> tuple[Case, ...]:
    if not isinstance(marks.value, list) or not 0 < len(marks.value) <= CASES_MAX:
        raise RulesRefused([Finding(f"a file of cases is a list of 1 to {CASES_MAX} of them", line=1)])
    faults: list[Finding] = []
    found: list[Case] = []
    for number, item in enumerate(marks.value):
        try:
            found.append(Case.model_validate_json(json.dumps(item)))
        except ValidationError as error:
            for each in error.errors(include_input=False, include_url=False):
                text = each["msg"].removeprefix("Value error, ")
                place = ".".join(map(str, each["loc"]))
                faults.append(Finding(text, f"case {number + 1}", place, marks.line(number, *each["loc"])))
    if faults:
        raise RulesRefused(faults)
    return tuple(found)


def _tried(case: Case, line: int | None, book: RuleBook, now: datetime) -> Outcome:
    subject = Subject(
        operation_type=case.operation,
        currency=case.currency,
        amount_minor=case.amount_minor,
        at_ms=round((case.at or now).timestamp() * 1000),
        holder="user:alice",
        channel=case.channel,
        user_id=case.user_id,
        tags=tuple(case.tags),
        labels=case.labels,
    )
    quote = book.quote(subject)
    found: dict[str, object]
    if isinstance(quote, RuleFault):
        found = {"error": quote.rule}
    else:
        found = {
            "fees": {fee.rule: fee.amount_minor for fee in quote.fees},
            "payer_pays_minor": quote.payer_pays_minor,
            "payee_gets_minor": quote.payee_gets_minor,
        }
    expected = case.expect.model_dump(exclude_none=True)
    title = case.name or f"{case.operation} {case.amount_minor} {case.currency}"
    differences = [
        f"{name}: {_said(value)} expected, {_said(found.get(name))} found"
        for name, value in expected.items()
        if found.get(name) != value
    ]
    if isinstance(quote, RuleFault) and differences:
        differences.append(str(quote))
    return Outcome(title, line, expected, found, differences)


def _said(value: object) -> str:
    return "nothing" if value is None else json.dumps(value)
