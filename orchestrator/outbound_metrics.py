"""What goes out to PSPs, as numbers: jobs let into a stream, and what became of the questions that fell due."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class OutboundMetrics:
    """The counters of relay and poller."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._dispatched = Counter(
            "paymesh_jobs_dispatched", "Jobs moved from the outbox onto a stream.", ["psp"], registry=registry
        )
        self._full = Gauge(
            "paymesh_jobs_full", "1 while a stream takes no more jobs than it has.", ["psp"], registry=registry
        )
        self._polled = Counter(
            "paymesh_intents_polled", "Open intents looked at by the poller.", ["psp", "did"], registry=registry
        )

    def dispatched(self, psp: str, jobs: int, *, full: bool) -> None:
        """Count jobs, and note whether the stream had room for all that were offered."""
        self._dispatched.labels(psp).inc(jobs)
        self._full.labels(psp).set(full)

    def polled(self, psp: str, did: str) -> None:
        """Count one intent; `did` is what the poller did about it."""
        self._polled.labels(psp, did).inc()
