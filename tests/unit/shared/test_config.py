"""Settings: a process that does not mean what its operator wrote must not start."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from shared.config import BadConfig, StoreSettings, load
from shared.sealing import BadKeyRing, generate

REDIS = "redis://:redis-password@127.0.0.1:6379/0"
DATABASE = "postgresql://paymesh:database-password@127.0.0.1/paymesh"


class EdgeSettings(StoreSettings):
    """A service with two fields of its own."""

    model_config = SettingsConfigDict(env_prefix="EDGE_")

    port: int = Field(default=8080, ge=0, le=65535)
    wait_max_s: float = 30.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the two variables that every service needs, and none of anybody else's."""
    for name in list(os.environ):
        if name.upper().startswith(("PAYMESH_", "EDGE_", "TIGERBEETLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("REDIS_URL", REDIS)
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    return monkeypatch


def test_shared_names_and_own_names_are_read(environment: pytest.MonkeyPatch) -> None:
    """The stores' variables carry no prefix of a service."""
    environment.setenv("EDGE_PORT", "9000")
    settings = load(EdgeSettings)
    assert (settings.redis_url, settings.database_url, settings.port) == (REDIS, DATABASE, 9000)
    assert settings.environment == "production", "the careful one is the default"


@pytest.mark.parametrize("name", ["EDGE_PROT", "edge_prot", "PAYMESH_LOGS", "EDGE_", "EDGE_PORT_"])
def test_an_unknown_prefixed_variable_stops_the_start(environment: pytest.MonkeyPatch, name: str) -> None:
    """A misspelt limit is a limit that does not hold."""
    environment.setenv(name, "1")
    with pytest.raises(BadConfig, match=f"{name}: there is no such setting"):
        load(EdgeSettings)


def test_variables_of_others_are_left_alone(environment: pytest.MonkeyPatch) -> None:
    """Other prefixes, other services, and house variables that only the command line reads."""
    environment.setenv("GATEWAY_PORT", "1")
    environment.setenv("EDGEWISE", "1")
    environment.setenv("PAYMESH_SERVICE_SECRET", "s")
    assert load(EdgeSettings).port == 8080


def test_every_fault_is_reported_at_once_by_the_variables_name(environment: pytest.MonkeyPatch) -> None:
    """One round of mending, not five."""
    environment.delenv("DATABASE_URL")
    environment.setenv("REDIS_URL", "http://127.0.0.1")
    environment.setenv("EDGE_PORT", "many")
    environment.setenv("EDGE_WAIT", "1")
    environment.setenv("TIGERBEETLE_ADDRESSES", "localhost:port")
    with pytest.raises(BadConfig) as refusal:
        load(EdgeSettings)
    for name in ("DATABASE_URL", "REDIS_URL", "EDGE_PORT", "EDGE_WAIT", "TIGERBEETLE_ADDRESSES"):
        assert f"{name}: " in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://:the-secret@x"),
        ("DATABASE_URL", "the-secret"),
        ("EDGE_PORT", "the-secret"),
        ("PAYMESH_LOG", "the-secret"),
        ("PAYMESH_ENVIRONMENT", "the-secret"),
        ("TIGERBEETLE_ADDRESSES", "the-secret"),
    ],
)
def test_a_fault_never_repeats_the_value(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value in the wrong variable may be a password."""
    environment.setenv(name, value)
    with pytest.raises(BadConfig) as refusal:
        load(EdgeSettings)
    assert "the-secret" not in str(refusal.value)
    assert "the-secret" not in repr(refusal.value)


def test_settings_never_show_what_is_secret(environment: pytest.MonkeyPatch) -> None:
    """URLs carry passwords; a key ring is nothing else."""
    ring = generate("k1")
    environment.setenv("PAYMESH_KEYRING", ring)
    shown = repr(load(EdgeSettings)) + str(load(EdgeSettings))
    for secret in ("redis-password", "database-password", ring[3:]):
        assert secret not in shown


def test_settings_are_frozen() -> None:
    """Read once; nobody changes them under way."""
    settings: Any = load(EdgeSettings)
    with pytest.raises(ValidationError):
        settings.port = 1


def test_an_empty_address_means_no_tigerbeetle(environment: pytest.MonkeyPatch) -> None:
    """Compose files pass empty variables."""
    environment.setenv("TIGERBEETLE_ADDRESSES", "")
    settings = load(EdgeSettings)
    assert settings.tigerbeetle_addresses is None
    assert settings.ledger_kind == "postgres"


@pytest.mark.parametrize("addresses", ["3000", "127.0.0.1:3000", "10.0.0.1:3000,10.0.0.2:3000,10.0.0.3:3000"])
def test_addresses_ask_for_tigerbeetle(environment: pytest.MonkeyPatch, addresses: str) -> None:
    """As its own client takes them."""
    environment.setenv("TIGERBEETLE_ADDRESSES", addresses)
    assert load(EdgeSettings).ledger_kind == "tigerbeetle"


@pytest.mark.parametrize("addresses", ["127.0.0.1", "127.0.0.1:", ":0", "127.0.0.1:3000,", "127.0.0.1:99999"])
def test_broken_addresses_stop_the_start(environment: pytest.MonkeyPatch, addresses: str) -> None:
    """Before a client waits for a server for ever."""
    environment.setenv("TIGERBEETLE_ADDRESSES", addresses)
    with pytest.raises(BadConfig, match="TIGERBEETLE_ADDRESSES: should be ip:port"):
        load(EdgeSettings)


def test_the_key_ring_comes_from_the_variable(environment: pytest.MonkeyPatch) -> None:
    """The first key writes."""
    environment.setenv("PAYMESH_KEYRING", f"{generate('k2')},{generate('k1')}")
    assert load(EdgeSettings).keyring().keys[0].id == "k2"


def test_the_key_ring_comes_from_the_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a mounted secret."""
    path = tmp_path / "ring"
    path.write_text(generate("k1"))
    path.chmod(0o600)
    environment.setenv("PAYMESH_KEYRING_FILE", str(path))
    assert load(EdgeSettings).keyring().keys[0].id == "k1"
    path.chmod(0o644)
    with pytest.raises(BadKeyRing, match="chmod 600"):
        load(EdgeSettings).keyring()


def test_two_key_rings_are_one_too_many(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which one wrote yesterday's names would be a guess."""
    environment.setenv("PAYMESH_KEYRING", generate("k1"))
    environment.setenv("PAYMESH_KEYRING_FILE", str(tmp_path / "ring"))
    with pytest.raises(BadConfig, match="unset one"):
        load(EdgeSettings)


def test_there_is_no_default_key_ring() -> None:
    """A default secret is a published secret."""
    with pytest.raises(BadConfig, match="PAYMESH_KEYRING_FILE"):
        load(EdgeSettings).keyring()
