"""The reconciler's settings, from `RECONCILER_…` and the stores' variables."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.config import StoreSettings


class ReconcilerSettings(StoreSettings):
    """What a reconciler process needs to know; every limit has a bound."""

    model_config = SettingsConfigDict(env_prefix="RECONCILER_")

    health_port: int = Field(default=0, ge=0, le=65_535)
    """Where /livez, /readyz and /metrics are served; 0 serves none."""
    sweep_s: float = Field(default=10.0, gt=0, le=3600)
    """How often dead letters and stuck intents are looked at."""
    stuck_after_s: float = Field(default=60.0, gt=0, le=86_400)
    """How long an intent may stay planned before it is resumed."""
    redrive_first_s: float = Field(default=30.0, gt=0, le=86_400)
    """The pause before a dead letter is put back for the first time; it doubles each time."""
    redrive_max_s: float = Field(default=3600.0, gt=0, le=86_400)
    """The longest such pause."""
    upkeep_s: float = Field(default=3600.0, gt=0, le=86_400)
    """How often partitions are created and idempotency keys pruned."""
    key_retention_days: int = Field(default=90, ge=7, le=3650)
    """How long an idempotency key is kept; longer than the reconciliation window."""
    window_days: int = Field(default=60, ge=7, le=3650)
    """The reconciliation window: for how long sent jobs and PSPs' answers are kept."""
    reconcile_s: float = Field(default=5.0, gt=0, le=3600)
    """How often what is new is reconciled."""
    reconcile_settle_s: float = Field(default=45.0, ge=0, le=600)
    """How old a thing is before it is compared; longer than a transaction may last."""
    reconcile_grace_s: float = Field(default=10.0, ge=0, le=600)
    """How long a difference is left alone before it is looked at again, and opens a break."""
    reconcile_share: float = Field(default=0.3, gt=0, le=1)
    """How much of the time the walks work while there is something to walk; the rest is the saga's."""
    reconcile_stale_s: float = Field(default=300.0, ge=1, le=86_400)
    """After which time an open break is looked at again, and closed if it is gone."""
    reconcile_job_s: float = Field(default=3600.0, gt=0, le=86_400)
    """For how long a job may wait in the outbox before it is a break."""
    digest_s: float = Field(default=2.0, gt=0, le=3600)
    """How often what moved is added up for reports."""
    report_s: float = Field(default=60.0, gt=0, le=86_400)
    """How often it is looked whether a day or a week has ended whose report is still to be made."""
    ledger_timeout_s: float = Field(default=30.0, gt=0, le=600)
    """How long a ledger call may go unanswered before its outcome counts as unknown."""
