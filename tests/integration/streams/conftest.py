"""Clients as the services open them, on the session's empty Valkey or on a server of the test's own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from ops.embedded.server import Server
from ops.embedded.valkey import valkey, valkey_url
from shared.streams import group as calls
from shared.streams import keys
from shared.streams.client import connect
from tests.integration.streams.scene import EPOCH, GROUP, MESH_ID, STREAM
from tests.ports import Lease


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty server whose slot i0 belongs to the mesh and whose group stands."""
    client = connect(redis_url)
    await client.hset(keys.mesh("i0"), mapping={"id": MESH_ID, "epoch": EPOCH})
    await calls.ensure_group(client, STREAM, GROUP)
    yield client
    await client.aclose()


@pytest.fixture
def own_server(tmp_path: Path, lease: Lease) -> Iterator[Server]:
    """A Valkey that the test may kill and start again on its own data."""
    server = valkey(tmp_path / "valkey", lease())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_url(own_server: Server) -> str:
    """The URL of the test's own Valkey."""
    return valkey_url(int(own_server.argv[list(own_server.argv).index("--port") + 1]))
