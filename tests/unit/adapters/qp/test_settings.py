"""Settings of the QP adapter: one fault, one sentence, and no default for a secret."""

import pytest

from adapters.qp.main import open_qp
from adapters.qp.settings import QpSettings
from adapters.runtime.http import open_session
from shared.config import BadConfig, load
from shared.sealing import generate

READY = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "PAYMESH_KEYRING": generate("k1"),
    "ADAPTER_BASE_URL": "https://api.qp.example/",
    "ADAPTER_API_KEY": "key",
    "ADAPTER_CALLBACK_PORT": "8080",
    "ADAPTER_CALLBACK_SECRETS": "now, soon",
    "ADAPTER_CALLBACK_NETWORKS": "10.0.0.0/8,192.0.2.7",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in READY.items():
        monkeypatch.setenv(name, value)


async def test_the_adapter_is_made_of_its_settings() -> None:
    """Both secrets count, the slash does not."""
    settings = load(QpSettings)
    assert settings.base_url == "https://api.qp.example"
    async with open_session(connections_max=1, timeout_s=1.0) as session, open_qp(settings, session) as psp:
        assert psp.callbacks is not None
        assert psp.callbacks.secrets == (b"now", b"soon")
        assert psp.callbacks.networks == ("10.0.0.0/8", "192.0.2.7")
        assert psp.callbacks.path == "/callbacks/qp"
        assert "soon" not in repr(psp.callbacks)
    assert "soon" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("ADAPTER_BASE_URL", "api.qp.example", "http or https"),
        ("ADAPTER_BASE_URL", "https://user:pass@api.qp.example", "without user"),
        ("ADAPTER_BASE_URL", "http://api.qp.example", "https://"),
        ("ADAPTER_API_KEY", None, "ADAPTER_API_KEY is needed"),
        ("ADAPTER_CALLBACK_SECRETS", " , ", "needs ADAPTER_CALLBACK_SECRETS"),
        ("ADAPTER_CALLBACK_NETWORKS", "", "needs ADAPTER_CALLBACK_NETWORKS"),
        ("ADAPTER_CALLBACK_NETWORKS", "10.0.0.0/99", "ADAPTER_CALLBACK_NETWORKS"),
        ("ADAPTER_BASE_URI", "x", "there is no such setting"),
    ],
)
def test_a_wrong_setting_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, fault: str
) -> None:
    """In production, where nothing else is said."""
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(BadConfig, match=fault) as refused:
        load(QpSettings)
    assert "pass" not in str(refused.value)


@pytest.mark.parametrize(("url", "environment"), [("http://127.0.0.1:9", "production"), ("http://qp:9", "test")])
def test_plain_http_is_for_the_loopback_and_for_tests(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: str
) -> None:
    """A proxy may speak TLS for us; a sandbox needs none."""
    monkeypatch.setenv("ADAPTER_BASE_URL", url)
    monkeypatch.setenv("PAYMESH_ENVIRONMENT", environment)
    assert load(QpSettings).base_url == url
