"""Every service of the compose files runs: its command, in what its image holds, told what it is told, to its health.

There is no Docker here. Processes see the files and requirements of their image and nothing else, their environment is
the one that the compose file gives them, and they are healthy when the check of the compose file says so.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis as redis_sync

from ops.embedded.server import Server, stop_together
from ops.embedded.valkey import _program
from shared.sealing import generate
from tests.conftest import running_tigerbeetle
from tests.integration.compose.machine import Machine
from tests.ports import Lease
from tests.unit.compose.cases import OURS
from tests.unit.compose.reading import ADAPTERS, FILES, MESH, ComposeFile


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Whatever is started ends with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def keyring_file(tmp_path: Path) -> Path:
    """A key ring that nobody but its owner may read."""
    path = tmp_path / "keyring"
    path.touch(mode=0o600)
    path.write_text(generate("k1") + "\n")
    return path


@pytest.fixture
def valkey_port(tmp_path: Path, lease: Lease, closing: ExitStack) -> int:
    """Where Valkey listens, started with the command of the compose file, its password included."""
    words = list(MESH.services()["valkey"]["command"])
    port, data = lease(), tmp_path / "valkey"
    data.mkdir()
    words[0] = str(_program())
    words[words.index("--port") + 1] = str(port)
    words[words.index("--dir") + 1] = str(data)
    password = MESH.services()["valkey"]["environment"]["REDISCLI_AUTH"]

    def answers() -> bool:
        try:
            with redis_sync.Redis(port=port, password=password) as client:
                return bool(client.ping())
        except redis_sync.ConnectionError:
            return False

    server = Server(name="valkey", argv=words, log=tmp_path / "valkey.log", ready=answers)
    closing.callback(server.stop)
    server.start()
    return port


@pytest.fixture
def mesh(
    ledger: str, tmp_path: Path, keyring_file: Path, valkey_port: int, database: str, lease: Lease, closing: ExitStack
) -> Machine:
    """The mesh's services over real stores."""
    addresses = closing.enter_context(running_tigerbeetle()) if ledger == "tigerbeetle" else ""
    places = {
        "valkey:6379": f"127.0.0.1:{valkey_port}",
        "DATABASE_URL": database,
        "TIGERBEETLE_ADDRESSES": addresses,
        "TIGERBEETLE_CLUSTER_ID": "0",
        "/run/secrets/keyring": str(keyring_file),
    }
    return Machine(MESH, tmp_path / "mesh", places, lease)


@pytest.fixture
def adapters(tmp_path: Path, keyring_file: Path, valkey_port: int, lease: Lease) -> Machine:
    """The adapters and sandboxes, with the mesh's Valkey and nothing else of it."""
    books = tmp_path / "books"
    books.mkdir()
    places = {
        "valkey:6379": f"127.0.0.1:{valkey_port}",
        "/run/secrets/keyring": str(keyring_file),
        "/books/": f"{books}/",
    }
    return Machine(ADAPTERS, tmp_path / "adapters", places, lease)


def test_every_service_of_ours_is_run_here() -> None:
    """So that a new one is not forgotten."""
    assert {name for _, name in OURS} == {
        "migrate", "ops", "gateway", "orchestrator", "reconciler",
        "adapter-ipps", "adapter-qp", "sandbox-ipps", "sandbox-qp",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("ledger", ["postgres", pytest.param("tigerbeetle", marks=pytest.mark.tigerbeetle)])
def test_the_mesh_comes_up_healthy_and_stops_as_asked(mesh: Machine, closing: ExitStack) -> None:
    """Installed twice, given a key, then everybody ready at once; each ends in time and with 0."""
    for _ in range(2):
        installed = mesh.run("migrate")
        assert installed.returncode == 0, installed.stderr
    made = mesh.run("ops", "keys", "create", "shop", "--owner", "Shop", "--operation", "P2P_TRANSFER")
    assert made.returncode == 0, made.stderr
    running = [mesh.start(name, closing) for name in ("orchestrator", "reconciler", "gateway")]
    stop_together(running)
    assert {server.name: server.exit_code for server in running} == {server.name: 0 for server in running}


@pytest.mark.parametrize("ledger", ["postgres"])
@pytest.mark.parametrize("psp", ["ipps", "qp"])
def test_an_adapter_comes_up_healthy_with_its_sandbox_and_stops_as_asked(
    mesh: Machine, adapters: Machine, closing: ExitStack, psp: str
) -> None:
    """Once the mesh has registered its provider; the two have Valkey in common and nothing else."""
    for words in ((), ("psp", "register", psp)):
        done = mesh.run("ops" if words else "migrate", *words)
        assert done.returncode == 0, done.stderr
    running = [adapters.start(name, closing) for name in (f"sandbox-{psp}", f"adapter-{psp}")]
    stop_together(running)
    assert {server.name: server.exit_code for server in running} == {server.name: 0 for server in running}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path.stem)
def test_valkey_asks_for_the_password_that_services_are_given(file: ComposeFile, valkey_port: int) -> None:
    """The same in both files' URLs, and without it nothing is said."""
    with redis_sync.Redis(port=valkey_port) as stranger, pytest.raises(redis_sync.AuthenticationError):
        stranger.ping()
    urls = {
        env["REDIS_URL"]
        for service in file.services().values()
        if "REDIS_URL" in (env := service.get("environment", {}))
    }
    (url,) = urls
    with redis_sync.Redis.from_url(url.replace("valkey:6379", f"127.0.0.1:{valkey_port}")) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
