"""Replays: what stored intents would cost by other rules, and who would bear the difference.

The present rules and the proposed ones are asked about the same intents, by the very function that the saga asks; what
was really charged at the time is neither. Memory is bounded: intents come by pages, and of those who bear something
only so many are kept apart. This module must never change anything.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
from pydantic import ValidationError

from ops.refusals import Refused
from ops.rules.books import book_of
from ops.rules.change import read_live
from ops.rules.documents import Document
from ops.rules.entries import SECTION_OF, Entry, entry_of
from ops.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ids import IntentId, unix_ms_of
from shared.rules.book import RuleBook
from shared.rules.fees import Quote
from shared.rules.model import RULE_OPERATIONS, RuleFault, Subject, Timing

PAGE: Final = 2000
BEARERS_MAX: Final = 200_000
OUTSIDE: Final = "outside the house"
OTHERS: Final = "others"
_BOOK_SECTIONS: Final = {"business": "business", "fees": "fee"}

Cell = tuple[str, str]


@dataclass(slots=True)
class CellSum:
    """Operation and currency: how many intents, and their fees by both books, in minor units."""

    intents: int = 0
    changed: int = 0
    before_minor: int = 0
    after_minor: int = 0


@dataclass(slots=True)
class Tally:
    """What a replay has found so far."""

    intents: int = 0
    changed: int = 0
    cells: dict[Cell, CellSum] = field(default_factory=dict)
    bearers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By holder and currency, how many minor units more they would bear."""
    refused_before: Counter[str] = field(default_factory=Counter)
    """Intents that the present rules would refuse now, by rule."""
    refused_after: Counter[str] = field(default_factory=Counter)

    def add(self, row: asyncpg.Record, before: Quote | RuleFault, after: Quote | RuleFault) -> None:
        """Add an intent."""
        self.intents += 1
        cell = self.cells.setdefault((row["operation_type"], row["currency"]), CellSum())
        cell.intents += 1
        for quote, refused in ((before, self.refused_before), (after, self.refused_after)):
            if isinstance(quote, RuleFault):
                refused[quote.rule] += 1
        if isinstance(before, RuleFault) or isinstance(after, RuleFault):
            return
        cell.before_minor += before.pre_minor + before.post_minor
        cell.after_minor += after.pre_minor + after.post_minor
        if _charged(before) == _charged(after):
            return
        self.changed += 1
        cell.changed += 1
        self._bear(row["payer"], row["currency"], after.pre_minor - before.pre_minor)
        self._bear(row["payee"], row["currency"], after.post_minor - before.post_minor)

    def top(self, number: int) -> list[tuple[str, str, int]]:
        """Return who would bear the largest differences: holder, currency, minor units."""
        ordered = sorted(self.bearers.items(), key=lambda each: (-abs(each[1]), each[0]))
        return [(*who, minor) for who, minor in ordered[:number]]

    def _bear(self, account: str | None, currency: str, minor: int) -> None:
        if not minor:
            return
        who = (OUTSIDE if account is None else account.rpartition(":")[0], currency)
        if who not in self.bearers and len(self.bearers) >= BEARERS_MAX:
            who = (OTHERS, currency)
        self.bearers[who] += minor


async def books(pool: Pool, document: Document) -> tuple[RuleBook, RuleBook]:
    """Return the book of the present fees, and that of a document's; what it does not speak of stays as it is.

    Raises:
        Refused: a rule in force was not written by `paymesh rules apply`.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    present = await present_fees(pool)
    proposed = present | {
        section: [(placed.entry, 1) for placed in document.entries(section)]
        for section in _BOOK_SECTIONS
        if section in document.sections
    }
    return book_of(present), book_of(proposed)


async def present_fees(pool: Pool) -> dict[str, list[tuple[Entry, int]]]:
    """Return the fees in force, with the calendar that they are asked by.

    Raises:
        Refused: one of them was not written by `paymesh rules apply`.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        async with pool.acquire() as connection:
            live = await read_live(connection, _BOOK_SECTIONS.values())
    found: dict[str, list[tuple[Entry, int]]] = {section: [] for section in _BOOK_SECTIONS}
    for (kind, name), held in live.items():
        try:
            found[SECTION_OF[kind]].append((entry_of(kind, name, held.body), held.version or 1))
        except ValidationError:
            raise Refused(f"{kind} {name} in force was not written by `paymesh rules apply`") from None
    return found


async def replay(
    pool: Pool, document: Document, *, since_ms: int, until_ms: int, tell: Callable[[float], None] = lambda _: None
) -> Tally:
    """Ask both books about every intent accepted in a span of time; `tell` hears how much of it is done, 0 to 1.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    present, proposed = await books(pool, document)
    tally = Tally()
    async for row in _charged_intents(pool, since_ms, until_ms):
        at_ms = unix_ms_of(IntentId(row["id"]))
        subject = _subject(row, at_ms)
        tally.add(row, present.quote(subject), proposed.quote(subject))
        if tally.intents % PAGE == 0:
            tell((at_ms - since_ms) / max(1, until_ms - since_ms))
    tell(1.0)
    return tally


async def _charged_intents(pool: Pool, since_ms: int, until_ms: int) -> AsyncIterator[asyncpg.Record]:
    at, end = UUID(int=max(0, (since_ms << 80) - 1)), UUID(int=until_ms << 80)
    while True:
        with database():
            rows = await pool.fetch(statement("rules/next_charged"), at, end, list(RULE_OPERATIONS), PAGE)
        for row in rows:
            yield row
        if len(rows) < PAGE:
            return
        at = rows[-1]["id"]


def _subject(row: asyncpg.Record, at_ms: int) -> Subject:
    wallet: str = row["payer"] or row["payee"]
    labels: Any = json.loads(row["labels"]) if row["labels"] else {}
    return Subject(
        operation_type=row["operation_type"],
        currency=row["currency"],
        amount_minor=row["amount_minor"],
        at_ms=at_ms,
        holder=wallet.rpartition(":")[0],
        channel=row["channel"],
        user_id=row["user_id"],
        tags=tuple(row["tags"]),
        labels=labels,
    )


def _charged(quote: Quote) -> list[tuple[Timing | str, str, int]]:
    """Return what a quote charges whom, whatever the rules are called."""
    return sorted((fee.timing, fee.beneficiary, fee.amount_minor) for fee in quote.fees)
