"""What goes out to PSPs, as numbers: jobs that wait, jobs let into a stream, and what became of questions due."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class OutboundMetrics:
    """The gauges of the register, and the counters of relay and poller."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._unsent = Gauge(
            "paymesh_outbox_unsent", "Jobs that wait in the outbox, up to its bound.", ["psp"], registry=registry
        )
        self._dispatched = Counter(
            "paymesh_jobs_dispatched", "Jobs moved from the outbox onto a stream.", ["psp"], registry=registry
        )
        self._full = Gauge(
            "paymesh_jobs_full", "1 while a stream takes no more jobs than it has.", ["psp"], registry=registry
        )
        self._polled = Counter(
            "paymesh_intents_polled", "Open intents looked at by the poller.", ["psp", "did"], registry=registry
        )

    def waiting(self, psp: str, jobs: int) -> None:
        """Note how many jobs wait in the outbox."""
        self._unsent.labels(psp).set(jobs)

    def dispatched(self, psp: str, jobs: int, *, full: bool) -> None:
        """Count jobs, and note whether the stream had room for all that were offered."""
        self._dispatched.labels(psp).inc(jobs)
        self._full.labels(psp).set(full)

    def polled(self, psp: str, did: str) -> None:
        """Count one intent; `did` is what the poller did about it."""
        self._polled.labels(psp, did).inc()
