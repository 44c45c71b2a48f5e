"""The reconciler's settings, from `RECONCILER_…` and the stores' variables."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from reconciler.settlement.delivery import Source
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
    reconcile_share: float = Field(default=0.2, gt=0, le=1)
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
    settlement_sources: tuple[Source, ...] = Field(default=(), max_length=64)
    """Where PSPs deliver their settlement files, as JSON: folders, and folders on SFTP servers."""
    settlement_spool: Path | None = None
    """A folder of this process alone for the copies that are read, with room for the largest file of each PSP."""
    settlement_s: float = Field(default=60.0, gt=0, le=86_400)
    """How often the places of delivery are looked at."""
    settlement_words_s: float = Field(default=5.0, gt=0, le=3600)
    """How often open lines are looked at again and their words said, and how often what is due is missed."""
    replicas_min: int = Field(default=0, ge=0, le=16)
    """How many replicas must have acknowledged a word, or that a job is barred."""
    replicas_timeout_ms: int = Field(default=1000, ge=1, le=4000)

    @model_validator(mode="after")
    def _copies_have_a_place(self) -> Self:
        if self.settlement_sources and self.settlement_spool is None:
            raise ValueError("RECONCILER_SETTLEMENT_SOURCES needs RECONCILER_SETTLEMENT_SPOOL: files are copied there")
        return self
