"""What the gateway counts. Labels come from the tables of routes and problems, never from a request."""

from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from shared.metrics import BATCH_BUCKETS, LATENCY_BUCKETS_S

UNROUTED: Final = "unrouted"


@dataclass(frozen=True, slots=True)
class GatewayMetrics:
    """The gateway's metrics; children are looked up once, since a look-up costs as much as counting."""

    seconds: Histogram
    problems: Counter
    accept_batch: Histogram
    _seconds_of: dict[tuple[str, int], Histogram] = field(default_factory=dict)

    def answered(self, route: str, status: int, elapsed_s: float) -> None:
        """Count one answer."""
        seconds = self._seconds_of.get((route, status))
        if seconds is None:
            seconds = self._seconds_of[route, status] = self.seconds.labels(route, str(status))
        seconds.observe(elapsed_s)


def open_metrics(registry: CollectorRegistry) -> GatewayMetrics:
    """Register the gateway's metrics."""
    return GatewayMetrics(
        seconds=Histogram(
            "paymesh_gateway_seconds",
            "Time to answer by route and status, waiting included.",
            ["route", "status"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        ),
        problems=Counter("paymesh_gateway_problems", "Refused requests by code.", ["code"], registry=registry),
        accept_batch=Histogram(
            "paymesh_gateway_accept_batch", "Entries per accept call.", buckets=BATCH_BUCKETS, registry=registry
        ),
    )
