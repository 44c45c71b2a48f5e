"""What is known of an intent, and what is told of it. This module must never do anything but hold it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that one place knows: of which intent, of which kind, since when."""

    intent: UUID
    kind: str
    at: datetime
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that is known of one intent and of those that it has led to.

    Attributes:
        intent: its id.
        own: facts of its own.
        children: the facts of each intent that it has led to.
        ledger_read: whether the ledger was asked, and its transfers are among the facts.
        missing: what could not be read, in sentences.
    """

    intent: UUID
    own: tuple[Fact, ...]
    children: Mapping[UUID, tuple[Fact, ...]] = field(default_factory=dict)
    ledger_read: bool = False
    missing: tuple[str, ...] = ()

    def of(self, kind: str) -> list[Fact]:
        """Return its own facts of one kind, the oldest first."""
        return sorted((fact for fact in self.own if fact.kind == kind), key=lambda fact: fact.at)

    def one(self, kind: str) -> Fact | None:
        """Return its newest fact of a kind."""
        found = self.of(kind)
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: `source` is a stable word, `text` a sentence, `detail` what it is made of."""

    at: datetime
    source: str
    text: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Effect:
    """What an intent does to one account at present, in minor units.

    Attributes:
        account: its name.
        currency: of it.
        posted_minor: what has moved; credits are positive.
        held_minor: what is held to go out.
        coming_minor: what comes in once that is posted.
    """

    account: str
    currency: str
    posted_minor: int = 0
    held_minor: int = 0
    coming_minor: int = 0


@dataclass(frozen=True, slots=True)
class Next:
    """What will happen next, or who has to do what: `code` is a stable word; `at` says when, where that is known."""

    code: str
    text: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """An intent that another one has led to, in short."""

    id: str
    operation_type: str
    state: str
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """An intent, told.

    Attributes:
        id: which intent.
        state: where it stands.
        funds: what its money does.
        headline: what it is, in a sentence.
        events: everything that happened, the oldest first.
        effects: what it does to accounts at present.
        effects_by: ``ledger`` where the ledger said so, ``projection`` where the database did; of customers' accounts
            only.
        next: what will happen next; never empty.
        children: those that it has led to.
        missing: what could not be read.
    """

    id: str
    state: str
    funds: str
    headline: str
    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    effects_by: str
    next: tuple[Next, ...]
    children: tuple[Child, ...] = ()
    missing: tuple[str, ...] = ()
