"""What the intake counts: decisions by state and reason, and races lost to another orchestrator."""

from prometheus_client import CollectorRegistry, Counter

from shared.contracts import ResultMessage
from shared.states import IntentState


class IntakeMetrics:
    """The intake's counters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "paymesh_intents_decided", "Intents decided by this process.", ["state", "reason"], registry=registry
        )
        self._races = Counter(
            "paymesh_decision_races_lost",
            "Decisions that another orchestrator had recorded first.",
            registry=registry,
        )

    def decided(self, state: IntentState, reason: str | None) -> None:
        """Count one decision; `reason` is the stable code of a refusal."""
        self._decisions.labels(state, reason or "").inc()

    def lost_race(self) -> None:
        """Count one decision that was already made."""
        self._races.inc()


class ResultMetrics:
    """What the results workers count: words of PSPs, and decisions made of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._heard = Counter(
            "paymesh_psp_results_heard",
            "What PSPs and their adapters said.",
            ["psp", "source", "outcome"],
            registry=registry,
        )
        self._decisions = Counter(
            "paymesh_psp_intents_decided",
            "Intents that a PSP's word has moved on.",
            ["psp", "state", "reason"],
            registry=registry,
        )

    def heard(self, psp: str, said: ResultMessage) -> None:
        """Count one entry."""
        self._heard.labels(psp, said.source, said.outcome).inc()

    def decided(self, psp: str, state: IntentState, reason: str | None) -> None:
        """Count one decision."""
        self._decisions.labels(psp, state, reason or "").inc()
