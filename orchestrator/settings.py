"""The orchestrator's settings, from `ORCHESTRATOR_…` and the stores' variables."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.config import StoreSettings


class OrchestratorSettings(StoreSettings):
    """What an orchestrator process needs to know; every limit has a bound."""

    model_config = SettingsConfigDict(env_prefix="ORCHESTRATOR_")

    health_port: int = Field(default=0, ge=0, le=65_535)
    """Where /livez, /readyz and /metrics are served; 0 serves none."""
    batch_max: int = Field(default=256, ge=1, le=256)
    """Entries per batch."""
    batches_in_flight: int = Field(default=2, ge=1, le=8)
    """Batches a worker has under way at once; two hide the stores' latency."""
    reclaim_idle_ms: int = Field(default=15_000, ge=200, le=600_000)
    """How long an entry may go without a heartbeat before another worker takes it."""
    hold_max_s: int = Field(default=600, ge=1, le=3600)
    """How long one batch may be under way before the process gives itself up."""
    drain_s: int = Field(default=10, ge=1, le=120)
    """How long a stop waits for batches under way."""
    ledger_timeout_s: float = Field(default=30.0, gt=0, le=600)
    """How long a ledger call may go unanswered before its outcome counts as unknown."""
    partitions_poll_s: float = Field(default=5.0, gt=0, le=60)
    """How soon a partition that has been added is read."""
    jobs_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """How many jobs of one PSP may be under way, in its stream and in its delay set together."""
    outbox_max: int = Field(default=50_000, ge=1, le=10_000_000)
    """How many jobs of one PSP may wait in the outbox before nothing more is planned for it."""
    psps_poll_s: float = Field(default=0.5, gt=0, le=1)
    """How often PSPs, their pauses and their breakers are looked at; the kill switch is copied as often."""
    relay_poll_s: float = Field(default=0.5, gt=0, le=60)
    """How often the outbox is looked at by whoever was not told of a new row."""
    due_poll_s: float = Field(default=1.0, gt=0, le=60)
    """How often open intents that are due are looked for."""
    replicas_min: int = Field(default=0, ge=0, le=16)
    """How many replicas must have acknowledged that a job is cancelled before anybody is told."""
    replicas_timeout_ms: int = Field(default=1000, ge=1, le=4000)
    """How long they may take."""
