"""Commands as they are typed, on the mesh of a test."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from ops.cli import app
from tests.integration.ops.conftest import Mesh

NOBODY = "127.0.0.1:1"
"""Where no server listens."""
Invoke = Callable[..., Result]


def commands_on(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Return a function that runs one command with the mesh in its environment."""
    ring = mesh.settings.keyring_text
    assert ring is not None
    monkeypatch.setenv("REDIS_URL", mesh.settings.redis_url)
    monkeypatch.setenv("DATABASE_URL", mesh.settings.database_url)
    monkeypatch.setenv("PAYMESH_KEYRING", ring.get_secret_value())
    monkeypatch.delenv("TIGERBEETLE_ADDRESSES", raising=False)
    return lambda *arguments: CliRunner().invoke(app, [*arguments])
