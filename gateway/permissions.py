"""Permissions: what a service key may do, as stored beside it, checked when it is loaded.

::

    {"operations": ["P2P_TRANSFER"],              which operation types it may post
     "accounts": ["user:*", "merchant:shop1:*"],  which accounts it may debit, open and read; a star only at the end
     "addresses": ["10.0.0.0/8"],                 from where; absent or null: from anywhere, empty: from nowhere
     "open_accounts": true,
     "timeline": true,                            read how its intents came to be, operators' reasons included
     "adjustment": {"max_minor": 1000000,         the largest adjustment
                    "alone_max_minor": 10000},    the largest one without a second key's signature
     "rate": {"requests": 100, "per_s": 10,       how many requests it may send in any 10 seconds; absent or null: as
              "per_user_requests": 20}}           many as the gateway is set to; and of them for each user; absent or
                                                  null: any number

What is not granted is refused. This module must never read a permission generously: a document that it does not
understand makes the key unusable.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import BadInput
from shared.money import AMOUNT_MINOR_MAX
from shared.streams.rate import PER_S_MAX, REQUESTS_MAX, RateLimit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _checked_pattern(pattern: str) -> str:
    if "*" in pattern[:-1] or not pattern:
        raise ValueError("a star stands only at the end")
    return pattern


def _checked_network(text: str) -> str:
    ip_network(text)
    return text


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class AdjustmentLimits(_Document):
    """How much a key may adjust, in minor units of whatever currency."""

    max_minor: int = Field(ge=1, le=AMOUNT_MINOR_MAX)
    alone_max_minor: int = Field(ge=0, le=AMOUNT_MINOR_MAX)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.alone_max_minor > self.max_minor:
            raise ValueError("alone_max_minor is above max_minor")
        return self


class Rate(_Document):
    """How often a key, and each user on whose behalf it speaks, may ask."""

    requests: int = Field(ge=1, le=REQUESTS_MAX)
    per_s: int = Field(ge=1, le=PER_S_MAX)
    per_user_requests: int | None = Field(default=None, ge=1, le=REQUESTS_MAX)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.per_user_requests is not None and self.per_user_requests > self.requests:
            raise ValueError("per_user_requests is above requests")
        return self


class PermissionsDocument(_Document):
    """The JSON document in `pm.service_key.permissions`."""

    operations: list[str] = []
    accounts: list[Annotated[str, AfterValidator(_checked_pattern)]] = []
    addresses: list[Annotated[str, AfterValidator(_checked_network)]] | None = None
    open_accounts: bool = False
    timeline: bool = False
    adjustment: AdjustmentLimits | None = None
    rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class Permissions:
    """A permission document, ready for quick answers."""

    operations: frozenset[str]
    account_names: frozenset[str]
    account_prefixes: tuple[str, ...]
    networks: tuple[Network, ...] | None
    open_accounts: bool
    timeline: bool
    adjustment: AdjustmentLimits | None
    rate: RateLimit | None
    """None is the gateway's own."""

    def allows_account(self, name: str) -> bool:
        """Say whether the key may debit, open or read the account."""
        return name in self.account_names or name.startswith(self.account_prefixes)

    def allows_address(self, address: Address | None) -> bool:
        """Say whether the key may be used from the address; None is an address that could not be told."""
        if self.networks is None:
            return True
        return address is not None and any(address in network for network in self.networks)


def parse_permissions(document: str) -> Permissions:
    """Read a permission document from its JSON text.

    Raises:
        BadInput: with code ``bad_permissions``, naming the field at fault.
    """
    try:
        granted = PermissionsDocument.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{place}: {first['msg']}", code="bad_permissions") from None
    return Permissions(
        operations=frozenset(granted.operations),
        account_names=frozenset(name for name in granted.accounts if not name.endswith("*")),
        account_prefixes=tuple(name[:-1] for name in granted.accounts if name.endswith("*")),
        networks=None if granted.addresses is None else tuple(ip_network(text) for text in granted.addresses),
        open_accounts=granted.open_accounts,
        timeline=granted.timeline,
        adjustment=granted.adjustment,
        rate=None
        if granted.rate is None
        else RateLimit(granted.rate.requests, granted.rate.per_s, granted.rate.per_user_requests),
    )
