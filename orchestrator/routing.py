"""Routing: which channels can carry an operation of this type, currency and amount. Pure.

The route chosen is pinned in the intent's plan with its version, so a later change of the routes never touches an
intent that has been planned.
"""

from collections.abc import Sequence
from dataclasses import dataclass


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


def candidates(routes: Sequence[Route], operation_type: str, currency: str, amount_minor: int) -> list[Route]:
    """Return the routes that take the operation, in priority order: the first is chosen while its channel is well."""
    return [route for route in routes if route.takes(operation_type, currency, amount_minor)]
