"""What an adapter counts. Labels are operations, steps and stable codes, never ids."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.metrics import LATENCY_BUCKETS_S


class AdapterMetrics:
    """The counters of one adapter process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        psp = "psp"
        self.calls = Counter(
            "paymesh_psp_calls",
            "Calls to the PSP by kind (prepare, submit, inquire, cancel) and what they came to.",
            (psp, "call", "answer"),
            registry=registry,
        )
        self.call_seconds = Histogram(
            "paymesh_psp_call_seconds",
            "Time a call to the PSP took.",
            (psp, "call"),
            registry=registry,
            buckets=LATENCY_BUCKETS_S,
        )
        self.permits = Counter(
            "paymesh_psp_permits", "Permits asked for, by what was told.", (psp, "told"), registry=registry
        )
        self.results = Counter(
            "paymesh_psp_results", "Results by operation and outcome.", (psp, "operation", "outcome"), registry=registry
        )
        self.put_off = Counter(
            "paymesh_psp_jobs_put_off", "Jobs put off without an answer, by reason.", (psp, "reason"), registry=registry
        )
        self.verdicts = Counter(
            "paymesh_psp_verdicts",
            "Verdicts on dead-lettered jobs: NOT_SUBMITTED, UNKNOWN (somebody must look), or NONE.",
            (psp, "verdict"),
            registry=registry,
        )
        self.callbacks = Counter(
            "paymesh_psp_callbacks", "Callbacks by what became of them.", (psp, "fate"), registry=registry
        )
        self.breaker = Gauge(
            "paymesh_psp_breaker",
            "The breaker: 0 closed, 1 half open, 2 open.",
            (psp,),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.paused = Gauge(
            "paymesh_psp_paused",
            "Whether the kill switch has paused the whole PSP.",
            (psp,),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
