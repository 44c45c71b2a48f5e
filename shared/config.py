"""Settings: read once from the environment, by each service's `main.py` and nobody else.

A service subclasses `StoreSettings` (an adapter: `StreamSettings`) with its own prefix and calls `load`. A variable
that carries a known prefix but no known name stops the start, since a misspelt limit is a limit that does not hold.
Every fault is reported at once.
This module must never print a value: a URL may carry a password, and a key ring is nothing else.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Self, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from shared.errors import Misconfigured
from shared.sealing import KeyRing

HOUSE_PREFIX: Final = "PAYMESH_"
ELSEWHERE: Final = frozenset(
    {
        "PAYMESH_URL",  # ops: where the gateway listens
        "PAYMESH_SERVICE_KEY",  # ops: who signs
        "PAYMESH_SERVICE_SECRET",  # ops: with what
        "PAYMESH_DATA",  # ops: the folder of the embedded stack
    }
)
"""House variables that a service may find in its environment and has no use for."""

_PORT_MAX: Final = 65_535

Environment = Literal["production", "development", "test"]
"""What something is for; the careful one is the default."""


class BadConfig(Misconfigured):
    """The environment does not describe a process that may start."""

    code = "bad_config"


class StreamSettings(BaseSettings):
    """Where the streams are, and how this process speaks; the fields shared by every service, adapters included."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_by_name=True, hide_input_in_errors=True)

    redis_url: str = Field(validation_alias="REDIS_URL", repr=False)
    """Valkey or Redis: ``redis://``, ``rediss://`` or ``unix://``."""
    keyring_text: SecretStr | None = Field(default=None, validation_alias="PAYMESH_KEYRING")
    """The key ring itself, ``kid:base64,…``; first key writes."""
    keyring_file: Path | None = Field(default=None, validation_alias="PAYMESH_KEYRING_FILE")
    """A file that holds the key ring and that only its owner may read."""
    log: Literal["auto", "json", "pretty"] = Field(default="auto", validation_alias="PAYMESH_LOG")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", validation_alias="PAYMESH_LOG_LEVEL"
    )
    environment: Environment = Field(default="production", validation_alias="PAYMESH_ENVIRONMENT")
    """What this process runs for; what its mesh is for stands in the database."""

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str) -> str:
        return _with_scheme(value, ("redis://", "rediss://", "unix://"))

    @model_validator(mode="after")
    def _one_keyring(self) -> Self:
        if self.keyring_text is not None and self.keyring_file is not None:
            raise ValueError("PAYMESH_KEYRING and PAYMESH_KEYRING_FILE are both set; unset one")
        return self

    def keyring(self) -> KeyRing:
        """Return the key ring.

        Raises:
            BadKeyRing: it cannot be read.
            BadConfig: neither variable is set.
        """
        if self.keyring_file is not None:
            return KeyRing.read(self.keyring_file)
        if self.keyring_text is not None:
            return KeyRing.parse(self.keyring_text.get_secret_value())
        raise BadConfig("set PAYMESH_KEYRING_FILE (or PAYMESH_KEYRING); `paymesh keys generate` makes a key")


class StoreSettings(StreamSettings):
    """Where all three stores are; for services that work on database and ledger."""

    database_url: str = Field(validation_alias="DATABASE_URL", repr=False)
    """PostgreSQL: a libpq URL."""
    tigerbeetle_addresses: str | None = Field(default=None, validation_alias="TIGERBEETLE_ADDRESSES")
    """TigerBeetle replicas, ``ip:port`` by commas; unset means the ledger in PostgreSQL."""
    tigerbeetle_cluster_id: int = Field(default=0, ge=0, validation_alias="TIGERBEETLE_CLUSTER_ID")

    @field_validator("database_url")
    @classmethod
    def _database_scheme(cls, value: str) -> str:
        return _with_scheme(value, ("postgresql://", "postgres://"))

    @field_validator("tigerbeetle_addresses")
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        return _checked_addresses(value) if value else None

    @property
    def ledger_kind(self) -> Literal["tigerbeetle", "postgres"]:
        """Which ledger this environment asks for; the mesh identity says whether it is the right one."""
        return "tigerbeetle" if self.tigerbeetle_addresses else "postgres"


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(settings: type[SettingsT]) -> SettingsT:
    """Read a settings class from the environment; names under its prefix or the house's must be known.

    Raises:
        BadConfig: naming every fault at once, and no value.
    """
    faults = _unknown_names(settings, os.environ)
    try:
        loaded = settings()
    except ValidationError as error:
        faults += [_fault(settings, details["loc"], details["msg"]) for details in error.errors(include_input=False)]
    except SettingsError as error:
        faults.append(str(error))
    else:
        if not faults:
            return loaded
    raise BadConfig("; ".join(faults))


def _with_scheme(value: str, schemes: tuple[str, ...]) -> str:
    if not value.startswith(schemes):
        raise ValueError("should start with " + ", ".join(schemes[:-1]) + " or " + schemes[-1])
    return value


def _checked_addresses(value: str) -> str:
    for address in value.split(","):
        port = address.rpartition(":")[2]
        if not (port.isascii() and port.isdigit() and 0 < int(port) <= _PORT_MAX):
            raise ValueError("should be ip:port addresses by commas, such as 127.0.0.1:3000")
    return value


def _names(settings: type[BaseSettings], name: str, info: FieldInfo) -> list[str]:
    """Return the variables a field is read from."""
    match info.validation_alias:
        case str() as alias:
            return [alias]
        case AliasChoices() as choices:
            return [choice for choice in choices.choices if isinstance(choice, str)]
        case _:
            return [settings.model_config.get("env_prefix", "").upper() + name.upper()]


def _unknown_names(settings: type[BaseSettings], environ: Mapping[str, str]) -> list[str]:
    own = settings.model_config.get("env_prefix", "").upper()
    prefixes = tuple(prefix for prefix in (own, HOUSE_PREFIX) if prefix)
    known = {alias for name, info in settings.model_fields.items() for alias in _names(settings, name, info)}
    known |= ELSEWHERE
    return [
        f"{name}: there is no such setting"
        for name in sorted(environ)
        if name.upper().startswith(prefixes) and name.upper() not in known
    ]


def _fault(settings: type[BaseSettings], place: tuple[int | str, ...], message: str) -> str:
    name = str(place[0]) if place else ""
    info = settings.model_fields.get(name)
    if info is not None:
        name = _names(settings, name, info)[0]
    text = message.removeprefix("Value error, ")
    return f"{name}: {text}" if name else text
