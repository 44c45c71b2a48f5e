"""What the reconciler says of its reconciliation to Prometheus.

This module must never label anything with an intent or an account: those are without number.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge

from reconciler.kinds import Severity
from reconciler.reconcile import Round
from reconciler.status import Status


class ReconciliationMetrics:
    """Counters of rounds, and gauges of how things stand."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._walked = Counter(
            "paymesh_reconciliation_walked", "Things that were compared.", ["walk"], registry=registry
        )
        self._lag = Gauge(
            "paymesh_reconciliation_lag_seconds", "Age of the oldest thing not compared.", ["walk"], registry=registry
        )
        self._suspects = Gauge(
            "paymesh_reconciliation_suspects", "Things that differed at the first look.", registry=registry
        )
        self._open = Gauge("paymesh_reconciliation_breaks", "Open breaks.", ["severity"], registry=registry)
        self._changed = Counter(
            "paymesh_reconciliation_breaks_changed", "Breaks opened and closed.", ["how"], registry=registry
        )

    def round(self, found: Round) -> None:
        """Count what a round came to."""
        for walk, walked in found.walked.items():
            self._walked.labels(walk).inc(walked)
        self._changed.labels("opened").inc(found.opened)
        self._changed.labels("closed").inc(found.closed)

    def status(self, status: Status) -> None:
        """Say how things stand."""
        for walk in status.walks:
            self._lag.labels(walk.name).set(walk.lag_s)
        self._suspects.set(status.suspects)
        counts = dict.fromkeys(map(str, Severity), 0)
        for kind in status.open_breaks:
            counts[kind.severity] += kind.count
        for severity, count in counts.items():
            self._open.labels(severity).set(count)
