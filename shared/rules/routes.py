"""Routes: which channels can carry an operation, and in which order they are tried. Pure.

The lowest priority comes first; routes of one priority share by weight, each intent by a number that follows from its
id, so that whoever plans it again comes to the same order. A channel that takes nothing on is passed over; so is one
that is slower or fails more often than its route allows, unless nothing better is left. What was chosen, and what was
passed over and why, is pinned in the intent's plan.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Route:
    """One route; `currency` None means every currency, amounts are minor units, inclusive.

    `error_max_pct` and `p95_max_ms` are what its channel may come to before another one is better.
    """

    id: int
    version: int
    operation_type: str
    currency: str | None
    amount_min: int
    amount_max: int
    channel: str
    name: str = ""
    priority: int = 100
    weight: int = 1
    tags: tuple[str, ...] = ()
    error_max_pct: int | None = None
    p95_max_ms: int | None = None
    active: bool = True

    def takes(self, operation_type: str, currency: str, amount_minor: int, tags: Sequence[str] = ()) -> bool:
        """Say whether the route carries such an operation."""
        return (
            self.operation_type == operation_type
            and self.currency in (None, currency)
            and self.amount_min <= amount_minor <= self.amount_max
            and (not self.tags or set(self.tags) <= set(tags))
        )


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """How a channel has done lately; None where too little is known to say."""

    error_pct: int | None = None
    p95_ms: int | None = None


def candidates(
    routes: Iterable[Route], operation_type: str, currency: str, amount_minor: int, tags: Sequence[str] = ()
) -> list[Route]:
    """Return the routes that take the operation, in the order in which they were given: by priority."""
    return [route for route in routes if route.takes(operation_type, currency, amount_minor, tags)]


def in_order(routes: Sequence[Route], intent: UUID) -> list[Route]:
    """Return routes in the order in which they are tried for an intent: by priority, and by lot among equals."""
    if len(routes) <= 1:
        return list(routes)
    ordered: list[Route] = []
    for _, equals in groupby(routes, key=attrgetter("priority")):
        ordered += sorted(equals, key=lambda route: (-_lot(route, intent), route.id))
    return ordered


def past_objective(route: Route, health: ChannelHealth) -> str | None:
    """Say in a word why a route's channel is not good enough, if so."""
    if route.error_max_pct is not None and health.error_pct is not None and health.error_pct > route.error_max_pct:
        return f"fails {health.error_pct}%"
    if route.p95_max_ms is not None and health.p95_ms is not None and health.p95_ms > route.p95_max_ms:
        return f"takes {health.p95_ms}ms"
    return None


def _lot(route: Route, intent: UUID) -> float:
    """Return a weighted lot: each of several routes wins in proportion to its weight (rendezvous hashing)."""
    digest = hashlib.sha256(intent.bytes + route.channel.encode()).digest()
    share = (int.from_bytes(digest[:8]) + 1) / (1 << 64)
    return float(share ** (1.0 / route.weight))
