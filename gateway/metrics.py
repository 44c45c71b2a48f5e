"""What the gateway counts. Labels come from the tables of routes, problems and service keys, never from a request."""

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
    rate_refused: Counter
    rate_batch: Histogram
    rate_unchecked: Counter
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
        rate_refused=Counter(
            "paymesh_gateway_rate_refused",
            "Requests refused for their rate, by service key and by the policy that refused.",
            ["key", "policy"],
            registry=registry,
        ),
        rate_batch=Histogram(
            "paymesh_gateway_rate_batch", "Requests per rate call.", buckets=BATCH_BUCKETS, registry=registry
        ),
        rate_unchecked=Counter(
            "paymesh_gateway_rate_unchecked",
            "Requests let through uncounted, since Redis did not answer.",
            registry=registry,
        ),
    )
