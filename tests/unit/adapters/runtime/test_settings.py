"""Settings of an adapter: it knows Redis and its PSP, and what is for tests stays in tests."""

from pathlib import Path

import pytest

from adapters.runtime.settings import AdapterSettings
from shared.config import BadConfig, load
from shared.sealing import generate


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("PAYMESH_KEYRING", generate("k1"))


def test_an_adapter_starts_with_redis_and_a_key_ring() -> None:
    """No database, no ledger."""
    settings = load(AdapterSettings)
    assert (settings.tries, settings.budget_s, settings.hold_max_s) == (3, 8.0, 60)
    assert settings.keyring().keys[0].id == "k1"
    assert not {"database_url", "tigerbeetle_addresses"} & set(AdapterSettings.model_fields)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("ADAPTER_TRIES", "0", "ADAPTER_TRIES"),
        ("ADAPTER_CONCURENCY", "4", "there is no such setting"),
        ("ADAPTER_HOLD_MAX_S", "15", "must exceed"),
        ("ADAPTER_BREAKER_OPEN_MS_MIN", "40000", "is above"),
        ("ADAPTER_PAUSE_FILE", "pause", "PAYMESH_ENVIRONMENT=test only"),
        ("ADAPTER_FORWARD_TEST_SCENARIO", "true", "does not go with"),
        ("ADAPTER_CALLBACK_PROXIES", "10.0.0.0/99", "ADAPTER_CALLBACK_PROXIES"),
    ],
)
def test_a_wrong_setting_stops_the_start_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, fault: str
) -> None:
    """Above all what must never be on in production."""
    monkeypatch.setenv(name, value)
    with pytest.raises(BadConfig, match=fault):
        load(AdapterSettings)


def test_tests_may_pause_an_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their own environment."""
    monkeypatch.setenv("PAYMESH_ENVIRONMENT", "test")
    monkeypatch.setenv("ADAPTER_PAUSE_FILE", "pause")
    assert load(AdapterSettings).pause_file == Path("pause")
