"""Routing: which channel carries an operation of this type, currency and amount. Pure.

The route chosen is pinned in the intent's plan with its version, so a later change of the routes never touches an
intent that has been planned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

INTERNAL_P2P: Final = "INTERNAL_P2P"
INTERNAL_ADJUSTMENT: Final = "INTERNAL_ADJUSTMENT"


@dataclass(frozen=True, slots=True)
class Route:
    """One row of `pm.payment_route`; `currency` None means every currency, amounts are minor units, inclusive."""

    id: int
    version: int
    operation_type: str
    currency: str | None
    amount_min: int
    amount_max: int
    channel: str

    def takes(self, operation_type: str, currency: str, amount_minor: int) -> bool:
        """Say whether the route carries such an operation."""
        return (
            self.operation_type == operation_type
            and self.currency in (None, currency)
            and self.amount_min <= amount_minor <= self.amount_max
        )


def choose(routes: Sequence[Route], operation_type: str, currency: str, amount_minor: int) -> Route | None:
    """Return the first route, in priority order, that takes the operation."""
    return next((route for route in routes if route.takes(operation_type, currency, amount_minor)), None)
