"""The settings of the IPPS adapter, from ``ADAPTER_…``, besides those of every adapter.

==============================  =====================================================================================
ADAPTER_BASE_URL                where the API is, such as ``https://api.ipps.example``; required
ADAPTER_PSP                     where there are several agreements: ``ipps2``, ``ipps3``; ``ipps`` unless given
ADAPTER_API_KEY                 sent as ``Authorization: Bearer …``; required in production
ADAPTER_CALLBACK_SECRETS        what callbacks are signed with, by commas: two while a secret is being replaced
ADAPTER_CALLBACK_NETWORKS       CIDR blocks, by commas, that IPPS calls back from
ADAPTER_SUBMIT_FENCE            as agreed: ``resubmit`` (unless given), ``cancel``, ``reference_ttl`` or ``none``
ADAPTER_IDEMPOTENCY_S           with ``resubmit``: how long IPPS remembers a reference; 86400
ADAPTER_LOOKUP_TTL_S            with ``reference_ttl``: how long a look-up may be used, never less than agreed; 120
ADAPTER_FENCE_MARGIN_S          what of these is left to clocks and networks; 60
ADAPTER_JOB_TTL_S               a job that has not been submitted after so long never will be; 3600
ADAPTER_POLL_FIRST_S            how soon the first question about an open job follows; 10
==============================  =====================================================================================

Callbacks are received where ``ADAPTER_CALLBACK_PORT`` is set, at ``/callbacks/ipps``; then secrets and networks are
required. The register must hold the manifest of the same terms (see `adapters.ipps.manifest.Terms`).
"""

from ipaddress import ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from adapters.ipps.callbacks import callback_rules
from adapters.ipps.manifest import PSP, Terms, manifest_of
from adapters.runtime.psp import CallbackRules
from adapters.runtime.settings import AdapterSettings
from shared.psp import BadManifest, FenceKind, Manifest, agreement

_ORDINARY = Terms()


class IppsSettings(AdapterSettings):
    """What the IPPS adapter needs to know; the module lists the variables."""

    base_url: str
    """Where the API is; HTTPS in production, except on the loopback, where a proxy may speak it for us."""
    psp: str = PSP
    """Under which name this agreement is registered."""
    api_key: SecretStr | None = None
    callback_secrets: SecretStr | None = None
    """By commas; each verifies."""
    callback_networks: str = ""
    """CIDR blocks, by commas."""
    submit_fence: FenceKind = _ORDINARY.submit_fence
    idempotency_s: int = Field(default=_ORDINARY.idempotency_s, ge=1, le=31 * 86_400)
    lookup_ttl_s: int = Field(default=_ORDINARY.lookup_ttl_s, ge=1, le=86_400)
    fence_margin_s: int = Field(default=_ORDINARY.fence_margin_s, ge=1, le=3_600)
    job_ttl_s: int = Field(default=_ORDINARY.job_ttl_s, ge=1, le=43_199)
    poll_first_s: int = Field(default=_ORDINARY.poll_first_s, ge=1, le=900)

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise ValueError("should be an http or https address without user, query and fragment")
        return value.rstrip("/")

    @field_validator("callback_networks")
    @classmethod
    def _callers(cls, value: str) -> str:
        for network in _listed(value):
            ip_network(network)
        return value

    @model_validator(mode="after")
    def _callbacks_can_be_verified(self) -> Self:
        if self.callback_port and not self.secrets():
            raise ValueError("ADAPTER_CALLBACK_PORT needs ADAPTER_CALLBACK_SECRETS: callbacks are signed")
        if self.callback_port and not _listed(self.callback_networks):
            raise ValueError("ADAPTER_CALLBACK_PORT needs ADAPTER_CALLBACK_NETWORKS: nobody else may call")
        return self

    @model_validator(mode="after")
    def _production_is_private(self) -> Self:
        if self.environment != "production":
            return self
        if self.api_key is None:
            raise ValueError("ADAPTER_API_KEY is required where PAYMESH_ENVIRONMENT is production")
        if urlsplit(self.base_url).scheme != "https" and not _loopback(urlsplit(self.base_url).hostname or ""):
            raise ValueError("ADAPTER_BASE_URL should start with https:// where PAYMESH_ENVIRONMENT is production")
        return self

    @model_validator(mode="after")
    def _terms_hold(self) -> Self:
        try:
            self.manifest()
        except BadManifest as error:
            raise ValueError(str(error)) from None
        return self

    def manifest(self) -> Manifest:
        """Return what IPPS promises under these terms."""
        terms = Terms(
            submit_fence=self.submit_fence,
            idempotency_s=self.idempotency_s,
            lookup_ttl_s=self.lookup_ttl_s,
            fence_margin_s=self.fence_margin_s,
            job_ttl_s=self.job_ttl_s,
            poll_first_s=self.poll_first_s,
        )
        return agreement(manifest_of(terms), self.psp)

    def secrets(self) -> tuple[bytes, ...]:
        """Return the secrets that callbacks are signed with."""
        text = "" if self.callback_secrets is None else self.callback_secrets.get_secret_value()
        return tuple(secret.encode() for secret in _listed(text))

    def callbacks(self) -> CallbackRules | None:
        """Return how callbacks come in; None without a secret to verify them by."""
        secrets = self.secrets()
        return callback_rules(secrets=secrets, networks=_listed(self.callback_networks)) if secrets else None


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
