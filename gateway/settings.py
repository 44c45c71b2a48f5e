"""What the gateway may be told by its environment; every limit of the HTTP edge has its name here."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.config import StoreSettings
from shared.streams.rate import PER_S_MAX, REQUESTS_MAX

BODY_BYTES_MAX: Final = 64 * 1024
BODY_TIMEOUT_S: Final = 10.0
"""How long a body may take to arrive once its head has."""
KEEPALIVE_TIMEOUT_S: Final = 75.0
LINGERING_TIME_S: Final = 2.0
"""How long a refused body is still read, so that the client gets to see the refusal."""


class GatewaySettings(StoreSettings):
    """Settings of the gateway, prefixed ``GATEWAY_``."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    admission_limit: int = Field(default=10_000, ge=1, le=10_000_000)
    """How many unfinished entries a partition admits before it answers BUSY."""
    outbox_max: int = Field(default=40_000, ge=1, le=10_000_000)
    """How many unsent jobs a PSP may have before its operations are refused; below the orchestrator's bound."""
    dedupe_ttl_s: int = Field(default=3600, ge=60, le=86_400)
    """How long Redis remembers an idempotency key; PostgreSQL remembers it beyond that."""
    wait_max_s: int = Field(default=30, ge=0, le=120)
    """The longest ``Prefer: wait`` that is honoured."""
    event_streams_max: int = Field(default=1000, ge=0, le=5000)
    """How many intents one process lets be followed live at a time."""
    event_streams_per_key_max: int = Field(default=100, ge=0, le=5000)
    """And how many of them by one key."""
    replicas_min: int = Field(default=0, ge=0, le=8)
    """How many replicas must hold an intent before it counts as accepted: every one that may be promoted."""
    replica_timeout_ms: int = Field(default=1000, ge=1, le=60_000)
    pool_max: int = Field(default=8, ge=1, le=64)
    """Connections to PostgreSQL at most."""
    keys_stale_max_s: float = Field(default=60.0, ge=2.0, le=3600.0)
    """How long service keys last known stay in force while PostgreSQL cannot be asked."""
    rate_requests: int = Field(default=100_000, ge=1, le=REQUESTS_MAX)
    """How many requests a key without a rate of its own may send in any `rate_per_s` seconds, over all gateways."""
    rate_per_s: int = Field(default=10, ge=1, le=PER_S_MAX)
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    """Networks, by commas, whose ``X-Forwarded-For`` is believed."""

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
        return value
