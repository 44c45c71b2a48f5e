"""The settings of both sandboxes, prefix ``SANDBOX_``."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.sandbox.terms import SubmitFence, Terms


class SandboxSettings(BaseSettings):
    """How one sandbox runs; the terms of IPPS and QP share names, and each reads its own."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_prefix="SANDBOX_", hide_input_in_errors=True, validate_by_name=True
    )

    host: str = "127.0.0.1"
    """Sandboxes pay nobody, but they answer everybody: think before opening them to a network."""
    port: int = Field(default=0, ge=0, le=65_535)
    """The PSP's API; 0 takes a free port and prints it."""
    control_port: int = Field(default=0, ge=0, le=65_535)
    """The control API, and `/livez`, `/readyz`; 0 takes a free port and prints it."""
    books: Path | None = None
    """The file of the books; unset, a restarted sandbox has forgotten everything."""
    api_key: SecretStr | None = None
    """What callers must send as `Authorization: Bearer …`; unset, anybody may call."""
    callback_url: str | None = None
    callback_secret: SecretStr | None = None
    callback_attempts_max: int = Field(default=8, ge=1, le=100)
    callback_retry_ms: int = Field(default=250, ge=0)
    submit_fence: SubmitFence = SubmitFence.RESUBMIT
    lookup_ttl_ms: int = Field(default=120_000, ge=0)
    idempotency_ms: int = Field(default=86_400_000, ge=0)
    amount_max_minor: int | None = Field(default=None, ge=1)
    """The most one operation may move; unset, 700,000 THB at IPPS and 1,000,000 RUB at QP."""
    decline_tries_max: int = Field(default=3, ge=1, le=100)
    log: Literal["auto", "json", "pretty"] = Field(default="auto", validation_alias="PAYMESH_LOG")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", validation_alias="PAYMESH_LOG_LEVEL"
    )
    environment: Literal["production", "development", "test"] = Field(
        default="development", validation_alias="PAYMESH_ENVIRONMENT"
    )

    @model_validator(mode="after")
    def _callbacks_are_signed(self) -> Self:
        if self.callback_url is not None and self.callback_secret is None:
            raise ValueError("SANDBOX_CALLBACK_URL needs SANDBOX_CALLBACK_SECRET: callbacks are signed")
        return self

    @model_validator(mode="after")
    def _never_in_production(self) -> Self:
        if self.environment == "production":
            raise ValueError("a sandbox pays nobody, so it does not start where PAYMESH_ENVIRONMENT is production")
        return self

    def terms(self, *, amount_max_minor: int) -> Terms:
        """Return the terms the sandbox starts with; the amount is the provider's usual one."""
        return Terms(
            submit_fence=self.submit_fence,
            lookup_ttl_ms=self.lookup_ttl_ms,
            idempotency_ms=self.idempotency_ms,
            amount_max_minor=self.amount_max_minor or amount_max_minor,
            decline_tries_max=self.decline_tries_max,
            callback_url=self.callback_url,
            callback_secret=self.callback_secret,
            callback_attempts_max=self.callback_attempts_max,
            callback_retry_ms=self.callback_retry_ms,
        )
