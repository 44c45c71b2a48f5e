"""What every test may ask for: real servers for the session, a fresh database and an empty Valkey for each test."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
import redis as redis_sync
from redis.asyncio import Redis

from ops.embedded.ports import leased_port
from ops.embedded.postgres import postgres, postgres_url, remove_cluster
from ops.embedded.tigerbeetle import tigerbeetle, tigerbeetle_binary
from ops.embedded.valkey import valkey, valkey_url
from shared.db.migrations import migrate
from shared.db.pool import Pool, open_pool
from shared.ledger.batcher import TigerBeetleLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import MIGRATIONS, PostgresLedger
from shared.sealing import KeyRing
from tests.databases import Databases
from tests.ports import Lease

pytest_plugins = ["tests.sharing"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores Ctrl-C for what it runs in the background, and children inherit that; the tests that press
    # Ctrl-C mean it all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder made in it has a random name and its own mode
_MEMORY_BYTES_MIN = 4 << 30
_KEYRING = "k2:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=,k1:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="


def _in_memory() -> str | None:
    """Return a folder in memory if there is one with room: making a database there takes 10 ms instead of 400."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _MEMORY_BYTES_MIN:
        return None
    return str(_MEMORY)


@pytest.fixture
def lease() -> Iterator[Lease]:
    """What gives a free port at each call; nobody else is given it before the test is over."""
    with ExitStack() as leases:
        yield lambda: leases.enter_context(leased_port())


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder for the session's servers, reachable by the unprivileged user that PostgreSQL may run as."""
    parent = Path(_in_memory() or tempfile.gettempdir())
    for left in parent.glob("paymesh-test-*-*"):
        # A session that was killed could not clean up after itself.
        if not Path(f"/proc/{left.name.split('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"paymesh-test-{os.getpid()}-", dir=parent))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def databases(server_folder: Path) -> Iterator[Databases]:
    """The session's PostgreSQL; without fsync, since no test cuts the power."""
    data = server_folder / "postgres"
    server = postgres(data, fsync=False)
    server.start()
    try:
        made = Databases(lambda name: postgres_url(data, name))
        yield made
        made.close()
    finally:
        server.stop()
        remove_cluster(data)


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The URL of a migrated database that nobody else uses."""
    url = databases.fresh()
    yield url
    databases.drop(url)


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """A small pool on this test's database."""
    async with await open_pool(database, min_size=1, max_size=8, application_name="test") as opened:
        yield opened


@pytest.fixture(scope="session")
def valkey_server(server_folder: Path) -> Iterator[str]:
    """The URL of the session's Valkey, as durable as in production."""
    with leased_port() as port:
        server = valkey(server_folder / "valkey", port)
        server.start()
        try:
            yield valkey_url(port)
        finally:
            server.stop()


@pytest.fixture
def redis_url(valkey_server: str) -> str:
    """The URL of a Valkey that is empty: no keys, no scripts."""
    with redis_sync.Redis.from_url(valkey_server) as client:
        client.flushall()
        client.script_flush()
    return valkey_server


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the empty Valkey; answers are bytes."""
    async with Redis.from_url(redis_url, decode_responses=False) as client:
        yield client


@pytest.fixture(scope="session")
def keyring() -> KeyRing:
    """A ring of two keys: k2 writes, k1 still reads."""
    return KeyRing.parse(_KEYRING)


@contextmanager
def running_tigerbeetle() -> Iterator[str]:
    """Run a cluster of one's own, for whoever installs a mesh: a ledger belongs to one for ever. Gives its address."""
    binary = tigerbeetle_binary()
    if binary is None:
        pytest.skip("no TigerBeetle server on PATH or in TIGERBEETLE_BIN")
    data = Path(tempfile.mkdtemp(prefix=f"paymesh-test-{os.getpid()}-"))  # on disk: memory has no Direct I/O
    with leased_port() as port:
        server = tigerbeetle(binary, data, port)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop()
            shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="session")
def tigerbeetle_addresses() -> Iterator[str]:
    """The address of a TigerBeetle cluster that lives as long as the session; ids must be the test's own.

    Mark its tests ``@pytest.mark.tigerbeetle``.
    """
    with running_tigerbeetle() as addresses:
        yield addresses


@pytest_asyncio.fixture
async def postgres_ledger(database: str, pool: Pool) -> AsyncIterator[PostgresLedger]:
    """The ledger over PostgreSQL, in the test's database."""
    await migrate(database, directory=MIGRATIONS)
    opened = PostgresLedger(pool)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def tigerbeetle_ledger(tigerbeetle_addresses: str) -> AsyncIterator[TigerBeetleLedger]:
    """The ledger over TigerBeetle, on the session's server: ids have to be the test's own."""
    opened = TigerBeetleLedger(tigerbeetle_addresses)
    yield opened
    await opened.close()


@pytest.fixture(params=["postgres", pytest.param("tigerbeetle", marks=pytest.mark.tigerbeetle)])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """Each ledger in turn."""
    opened: Ledger = request.getfixturevalue(f"{request.param}_ledger")
    return opened
