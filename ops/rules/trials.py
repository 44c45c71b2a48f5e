"""Trials: the expressions of a rule on samples, by both engines, and what a fee comes to on them.

This module must never stop at the first expression: whoever wrote two bad ones is told of both.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ops.rules.books import fee_rule, scope_of
from ops.rules.documents import Document, Placed
from ops.rules.entries import FeeEntry, VelocityEntry
from ops.rules.findings import Finding
from ops.rules.samples import Sample, described, named_in, samples
from ops.rules.second_opinion import Agreed, Objection, Wanted, answer, both
from shared.rules.expressions import Context
from shared.rules.fees import ALWAYS
from shared.rules.model import FeeAmount, Timing

TINY_MINOR: Final = 100
"""Amounts below this are real to nobody: a fee beyond them is worth a warning, no more."""

Channels = Mapping[str, Sequence[str]]


def try_condition(document: Document, placed: Placed, entry: VelocityEntry, channels: Channels) -> Iterator[Finding]:
    """Yield what is wrong with the condition of a velocity rule."""
    if entry.condition.strip() == ALWAYS:
        return
    condition, fault = _compiled(document, placed, "condition", entry.condition, "condition")
    if condition is None:
        yield from fault
        return
    if "channel" in condition.needs:
        text = "velocity rules are asked before a channel is chosen: none may name it"
        yield document.finding(placed, "condition", text, source=entry.condition)
        return
    context = Context()
    for sample in samples(scope_of(entry), condition.needs, named_in([entry.condition]), channels):
        try:
            answer(condition, sample, context)
        except Objection as error:
            yield _pointed(document, placed, "condition", entry.condition, error)
            return


def try_fee(document: Document, placed: Placed, entry: FeeEntry, channels: Channels) -> Iterator[Finding]:
    """Yield what is wrong with the expressions of a fee rule, and with what it comes to."""
    rule = fee_rule(entry)
    sources = [source for source in (rule.condition, rule.amount) if isinstance(source, str)]
    condition: Agreed | None = None
    amount: Agreed | FeeAmount | None = rule.amount if isinstance(rule.amount, FeeAmount) else None
    failed = False
    if rule.condition.strip() != ALWAYS:
        condition, faults = _compiled(document, placed, "condition", rule.condition, "condition")
        failed = condition is None
        yield from faults
    if isinstance(rule.amount, str):
        amount, faults = _compiled(document, placed, "amount", rule.amount, "amount")
        yield from faults
    if failed or amount is None:
        return
    needs = frozenset({"amount"}) | (condition.needs if condition else frozenset())
    needs |= amount.needs if isinstance(amount, Agreed) else frozenset()
    yield from _tried(
        document, placed, entry, condition, amount, samples(rule.scope, needs, named_in(sources), channels)
    )


def _tried(
    document: Document,
    placed: Placed,
    entry: FeeEntry,
    condition: Agreed | None,
    amount: Agreed | FeeAmount,
    tried: Sequence[Sample],
) -> Iterator[Finding]:
    context = Context()
    charged = False
    tiny: Sample | None = None
    for sample in tried:
        try:
            if condition is not None and not answer(condition, sample, context):
                continue
        except Objection as error:
            yield _pointed(document, placed, "condition", condition.source if condition else "", error)
            return
        charged = True
        size = sample["amount"]
        assert isinstance(size, int)  # noqa: S101 - samples are made so
        try:
            fee = amount.of(size) if isinstance(amount, FeeAmount) else answer(amount, sample, context)
        except Objection as error:
            yield _pointed(document, placed, "amount", amount.source if isinstance(amount, Agreed) else "", error)
            return
        least = amount.min_minor if isinstance(amount, FeeAmount) else 0
        if size < least or not (fee > size or (fee >= size and entry.timing == Timing.POST)):
            continue
        if size >= TINY_MINOR:
            yield _beyond(document, placed, entry, fee, sample, warning=False)
            return
        tiny = tiny or sample
    if not charged:
        text = "its condition holds for none of the samples: what it comes to is untried"
        yield document.finding(placed, "condition", text, source=entry.condition, warning=True)
    if tiny is not None:
        yield _beyond(document, placed, entry, None, tiny, warning=True)


def _beyond(
    document: Document, placed: Placed, entry: FeeEntry, fee: int | None, sample: Sample, *, warning: bool
) -> Finding:
    text = (
        f"the fee of {fee} is more than the amount bears (on the sample {described(sample)}); bound it by a condition"
        if fee is not None
        else f"some amounts below {TINY_MINOR} are refused, since the fee is more than they bear"
    )
    source = entry.amount if isinstance(entry.amount, str) else None
    return document.finding(placed, "amount", text, source=source, warning=warning)


def _compiled(
    document: Document, placed: Placed, field: str, source: str, wanted: Wanted
) -> tuple[Agreed | None, list[Finding]]:
    try:
        return both(source, wanted), []
    except Objection as error:
        return None, [_pointed(document, placed, field, source, error)]


def _pointed(document: Document, placed: Placed, field: str, source: str, error: Objection) -> Finding:
    return document.finding(placed, field, str(error), source=source, column=error.column)
