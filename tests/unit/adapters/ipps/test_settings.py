"""The settings of the IPPS adapter: what is missing or contradicts itself stops the start, by name."""

import re

import pytest

from adapters.ipps import settings as module
from adapters.ipps.manifest import MANIFEST
from adapters.ipps.settings import IppsSettings
from adapters.runtime.settings import AdapterSettings
from shared.config import BadConfig, load
from shared.psp import FenceKind
from shared.sealing import generate

CALLED_BACK = {
    "ADAPTER_CALLBACK_PORT": "8080",
    "ADAPTER_CALLBACK_SECRETS": "hush, husk",
    "ADAPTER_CALLBACK_NETWORKS": "10.0.0.0/8,::1/128",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("PAYMESH_KEYRING", generate("k1"))
    monkeypatch.setenv("ADAPTER_BASE_URL", "https://api.ipps.example/")
    monkeypatch.setenv("ADAPTER_API_KEY", "sesame")


def test_an_address_and_a_key_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is ordinary; nothing is received without a secret."""
    settings = load(IppsSettings)
    assert settings.base_url == "https://api.ipps.example"
    assert settings.manifest() == MANIFEST
    assert settings.callbacks() is None
    monkeypatch.delenv("ADAPTER_BASE_URL")
    with pytest.raises(BadConfig, match="ADAPTER_BASE_URL"):
        load(IppsSettings)


@pytest.mark.parametrize("kind", list(FenceKind))
def test_the_fence_is_chosen_by_a_variable(monkeypatch: pytest.MonkeyPatch, kind: FenceKind) -> None:
    """As the agreement says."""
    monkeypatch.setenv("ADAPTER_SUBMIT_FENCE", kind)
    assert load(IppsSettings).manifest().submit_fence.kind is kind


def test_callbacks_are_verified_by_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them while one is being replaced."""
    for name, value in CALLED_BACK.items():
        monkeypatch.setenv(name, value)
    rules = load(IppsSettings).callbacks()
    assert rules is not None
    assert rules.secrets == (b"hush", b"husk")
    assert rules.networks == ("10.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ADAPTER_BASE_URL": "ftp://api.ipps.example"}, "ADAPTER_BASE_URL"),
        ({"ADAPTER_BASE_URL": "https://user:hush@api.ipps.example"}, "ADAPTER_BASE_URL"),
        ({"ADAPTER_BASE_URL": "https://api.ipps.example?key=hush"}, "ADAPTER_BASE_URL"),
        ({"ADAPTER_BASE_URL": "http://api.ipps.example"}, "ADAPTER_BASE_URL should start with https"),
        ({"ADAPTER_API_KEY": None}, "ADAPTER_API_KEY is required"),
        ({"ADAPTER_SUBMIT_FENCE": "barbed_wire"}, "ADAPTER_SUBMIT_FENCE"),
        ({"ADAPTER_SUBMIT_FENCE": "reference_ttl", "ADAPTER_LOOKUP_TTL_S": "30"}, "period longer than its margin"),
        ({"ADAPTER_JOB_TTL_S": "43200"}, "ADAPTER_JOB_TTL_S"),
        ({"ADAPTER_IPPS_FENCE": "cancel"}, "there is no such setting"),
        (CALLED_BACK | {"ADAPTER_CALLBACK_SECRETS": None}, "needs ADAPTER_CALLBACK_SECRETS"),
        (CALLED_BACK | {"ADAPTER_CALLBACK_NETWORKS": " "}, "needs ADAPTER_CALLBACK_NETWORKS"),
        (CALLED_BACK | {"ADAPTER_CALLBACK_NETWORKS": "10.0.0.1/8"}, "ADAPTER_CALLBACK_NETWORKS"),
    ],
)
def test_a_wrong_setting_stops_the_start_by_name(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], fault: str
) -> None:
    """And no value is printed."""
    for name, value in changes.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(BadConfig, match=re.escape(fault)) as caught:
        load(IppsSettings)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8443", "http://[::1]:8443", "http://localhost:8443"])
def test_a_proxy_beside_the_process_may_speak_https_for_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Even in production."""
    monkeypatch.setenv("ADAPTER_BASE_URL", url)
    assert load(IppsSettings).base_url == url


def test_outside_production_a_sandbox_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, over HTTP."""
    monkeypatch.delenv("ADAPTER_API_KEY")
    monkeypatch.setenv("PAYMESH_ENVIRONMENT", "development")
    monkeypatch.setenv("ADAPTER_BASE_URL", "http://sandbox:8080")
    assert load(IppsSettings).api_key is None


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings turn up in tracebacks."""
    monkeypatch.setenv("ADAPTER_CALLBACK_SECRETS", "hush")
    shown = repr(load(IppsSettings))
    assert "hush" not in shown
    assert "sesame" not in shown


def test_every_variable_of_its_own_is_in_the_table() -> None:
    """Whoever writes a compose file reads it there; with the default, where there is one."""
    own = IppsSettings.model_fields.keys() - AdapterSettings.model_fields.keys()
    listed = re.findall(r"^(ADAPTER_[A-Z_]+)  ", module.__doc__ or "", re.MULTILINE)
    assert sorted(listed) == sorted(f"ADAPTER_{name.upper()}" for name in own)
