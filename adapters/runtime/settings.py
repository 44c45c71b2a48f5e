"""An adapter's settings, from `ADAPTER_…`; a PSP's own settings subclass these and keep the prefix.

One process serves one PSP, so nothing tells PSPs apart here. An adapter knows Redis and its PSP and nothing else: there
must never be a database or a ledger among its settings.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from shared.config import StreamSettings


class AdapterSettings(StreamSettings):
    """What every adapter process needs to know; every limit has a bound."""

    model_config = SettingsConfigDict(env_prefix="ADAPTER_")

    health_port: int = Field(default=0, ge=0, le=65_535)
    """Where /livez, /readyz and /metrics are served; 0 serves none."""
    callback_host: str = "0.0.0.0"  # noqa: S104 - callbacks come from outside; the allow-list says who may
    """Where callbacks are received."""
    callback_port: int = Field(default=0, ge=0, le=65_535)
    """0 receives none."""
    callback_proxies: str = ""
    """CIDR blocks, by commas, of our own proxies, whose X-Forwarded-For is believed."""
    concurrency: int = Field(default=32, ge=2, le=512)
    """Jobs under way at once: the bulkhead."""
    tries: int = Field(default=3, ge=1, le=5)
    """Tries of one call, the first included."""
    budget_s: float = Field(default=8.0, gt=0, le=20)
    """How long the calls of one job may take together."""
    call_timeout_s: float = Field(default=5.0, gt=0, le=20)
    """How long one call may take."""
    lease_s: float = Field(default=2.0, gt=0, le=10)
    """How old a won permit may be when the request goes out; an older one is asked for again first."""
    reclaim_idle_ms: int = Field(default=15_000, ge=200, le=600_000)
    """How long an entry may go without a heartbeat before another process takes it."""
    block_ms: int = Field(default=1_000, ge=1, le=10_000)
    """How long one look for jobs waits; a stop may wait as long."""
    hold_max_s: int = Field(default=60, ge=10, le=600)
    """How long one job may be under way before the process gives itself up."""
    drain_s: int = Field(default=12, ge=1, le=120)
    """How long a stop waits for jobs under way."""
    retry_first_ms: int = Field(default=2_000, ge=1, le=60_000)
    """Pause before a job is tried again as a whole; it doubles up to `retry_max_ms`."""
    retry_max_ms: int = Field(default=60_000, ge=1, le=900_000)
    results_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """No more jobs are taken on while so many results wait to be read."""
    watch_ms: int = Field(default=250, ge=10, le=1_000)
    """How often kill switch, breaker and results are looked at."""
    replicas_min: int = Field(default=0, ge=0, le=8)
    """Replicas that must have a permit before it counts: all that may be promoted."""
    replicas_timeout_ms: int = Field(default=1_000, ge=10, le=10_000)
    breaker_open_ms_min: int = Field(default=15_000, ge=10, le=600_000)
    breaker_open_ms_max: int = Field(default=30_000, ge=10, le=600_000)
    forward_test_scenario: bool = False
    """Hand a job's test scenario on to a sandbox; never in production."""
    pause_file: Path | None = None
    """Tests only: a file that says at which step the process stops or kills itself."""

    @field_validator("callback_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in filter(None, value.split(",")):
            ip_network(network.strip())
        return value

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.budget_s + 2 * self.call_timeout_s >= self.hold_max_s:
            raise ValueError("ADAPTER_HOLD_MAX_S must exceed ADAPTER_BUDGET_S and two more calls")
        if self.breaker_open_ms_min > self.breaker_open_ms_max:
            raise ValueError("ADAPTER_BREAKER_OPEN_MS_MIN is above ADAPTER_BREAKER_OPEN_MS_MAX")
        return self

    @model_validator(mode="after")
    def _tests_only(self) -> Self:
        if self.pause_file is not None and self.environment != "test":
            raise ValueError("ADAPTER_PAUSE_FILE is for PAYMESH_ENVIRONMENT=test only")
        if self.forward_test_scenario and self.environment == "production":
            raise ValueError("ADAPTER_FORWARD_TEST_SCENARIO does not go with PAYMESH_ENVIRONMENT=production")
        return self
