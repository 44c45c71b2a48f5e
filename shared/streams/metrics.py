"""What a worker counts. Labels are streams, reasons and steps, never ids: cardinality stays bounded."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class StreamMetrics:
    """The counters of all workers of one process, registered once."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        stream = ("stream",)
        self.read = Counter("paymesh_stream_read", "Entries delivered for the first time.", stream, registry=registry)
        self.finished = Counter("paymesh_stream_finished", "Entries finished.", stream, registry=registry)
        self.lost = Counter(
            "paymesh_stream_lost",
            "Entries that another consumer owned or had finished when we came to this step.",
            ("stream", "step"),
            registry=registry,
        )
        self.handed_back = Counter("paymesh_stream_handed_back", "Entries handed back.", stream, registry=registry)
        self.retried = Counter("paymesh_stream_retried", "Entries put into the delay set.", stream, registry=registry)
        self.promoted = Counter(
            "paymesh_stream_promoted", "Entries moved from the delay set to their stream.", stream, registry=registry
        )
        self.dead_lettered = Counter(
            "paymesh_stream_dead_lettered", "Entries dead-lettered.", ("stream", "reason"), registry=registry
        )
        self.reclaimed = Counter(
            "paymesh_stream_reclaimed", "Entries taken over from silent consumers.", stream, registry=registry
        )
        self.ghosts = Counter(
            "paymesh_stream_ghosts", "Entries whose payload was deleted while pending.", stream, registry=registry
        )
        self.group_recreated = Counter(
            "paymesh_stream_group_recreated",
            "Times the consumer group was missing: the store was emptied or restored.",
            stream,
            registry=registry,
        )
        self.outages = Counter(
            "paymesh_stream_outages", "Batches or calls stopped by an outage.", stream, registry=registry
        )
        self.held = Gauge(
            "paymesh_stream_held",
            "Entries held by this process.",
            stream,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.batch_seconds = Histogram(
            "paymesh_stream_batch_seconds",
            "Time the handler took for one batch.",
            stream,
            registry=registry,
            buckets=_BATCH_SECONDS,
        )
