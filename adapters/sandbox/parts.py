"""The parts that a provider's sandbox is built from, and what it must give in return."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from adapters.sandbox.agenda import Action, Agenda
from adapters.sandbox.answers import Refused
from adapters.sandbox.books import Books
from adapters.sandbox.callbacks import Callbacks, News
from adapters.sandbox.clock import Clock
from adapters.sandbox.desk import Desk
from adapters.sandbox.outage import Outage
from adapters.sandbox.stage import Stage
from adapters.sandbox.terms import Contract


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that is the same at every provider."""

    books: Books
    clock: Clock
    agenda: Agenda
    stage: Stage
    contract: Contract
    callbacks: Callbacks
    outage: Outage
    desk: Desk


@dataclass(frozen=True, slots=True)
class Profile:
    """What is fixed about a provider before anything is opened."""

    name: str
    operations: frozenset[str]
    main_operation: str
    """The one that moves money, and that scenarios are for unless they name another."""
    amount_max_minor: int


class Provider(Protocol):
    """A provider's own side of its sandbox."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of its API."""
        ...

    def control_routes(self) -> list[web.RouteDef]:
        """Return the routes of control that only this provider has."""
        ...

    def actions(self) -> Mapping[str, Action]:
        """Return what its tasks on the agenda do."""
        ...

    def books(self, reference: str | None) -> dict[str, object]:
        """Return what really happened, all of it or under one reference."""
        ...

    def news(self, reference: str) -> News:
        """Return the latest news of a reference, to be told again.

        Raises:
            Refused: 404, nothing is known of it.
        """
        ...

    def refusal(self, refused: Refused) -> dict[str, object]:
        """Put a refusal into the provider's words."""
        ...


Build = Callable[[Parts], Provider]
