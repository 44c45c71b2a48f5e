"""What the QP adapter needs to know besides `AdapterSettings`; read in `main` and nowhere else.

===============================  ===================================================================================
ADAPTER_BASE_URL                 where QP's API is, without ``/qp/v1``, such as ``https://api.qp.example``; required
ADAPTER_API_KEY                  sent as ``Authorization: Bearer …``; needed in production
ADAPTER_CALLBACK_SECRETS         what callbacks are signed with; two, by commas, while one is being replaced
ADAPTER_CALLBACK_NETWORKS        CIDR blocks, by commas, that callbacks come from
===============================  ===================================================================================

Callbacks are received where ADAPTER_CALLBACK_PORT is set, at ``/callbacks/qp``; then secrets and networks are
needed. This module must never hold a default for a secret.
"""

from ipaddress import ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator

from adapters.runtime.settings import AdapterSettings


class QpSettings(AdapterSettings):
    """The settings of one QP adapter."""

    base_url: str
    """Where QP's API is; https in production, except on the loopback, where a proxy may speak it for us."""
    api_key: SecretStr | None = None
    """Our key at QP."""
    callback_secrets: SecretStr | None = None
    """The secrets agreed for callbacks, by commas; any of them will do."""
    callback_networks: str = ""
    """CIDR blocks, by commas, that QP calls from."""

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise ValueError("should be an http or https address without user, query and fragment")
        return value.rstrip("/")

    @field_validator("callback_networks")
    @classmethod
    def _blocks(cls, value: str) -> str:
        for block in _parts(value):
            ip_network(block)
        return value

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        if self.environment != "production":
            return self
        if urlsplit(self.base_url).scheme != "https" and not _loopback(urlsplit(self.base_url).hostname or ""):
            raise ValueError("ADAPTER_BASE_URL starts with https:// where PAYMESH_ENVIRONMENT is production")
        if self.api_key is None:
            raise ValueError("ADAPTER_API_KEY is needed where PAYMESH_ENVIRONMENT is production")
        return self

    @model_validator(mode="after")
    def _callbacks_are_verified(self) -> Self:
        if self.callback_port and not self.secrets():
            raise ValueError("ADAPTER_CALLBACK_PORT needs ADAPTER_CALLBACK_SECRETS: callbacks are signed")
        if self.callback_port and not self.networks():
            raise ValueError("ADAPTER_CALLBACK_PORT needs ADAPTER_CALLBACK_NETWORKS: nobody else may call")
        return self

    def secrets(self) -> tuple[bytes, ...]:
        """Return the secrets that callbacks may be signed with."""
        text = "" if self.callback_secrets is None else self.callback_secrets.get_secret_value()
        return tuple(part.encode() for part in _parts(text))

    def networks(self) -> tuple[str, ...]:
        """Return the blocks that callbacks may come from."""
        return tuple(_parts(self.callback_networks))


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
