"""What the chaos tests share: a seed that is always printed, one mesh per ledger, a journal and a load per test.

A mesh ends with the last of its tests: it would go on polling beside everybody else's.
"""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

import pytest
import pytest_asyncio

from ops.embedded.tigerbeetle import tigerbeetle_binary
from tests.chaos import length
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.mesh import LedgerKind, Mesh, running_mesh
from tests.sharing import FIGURES, SEED

TIMEOUT_S: Final = 240
ROUND_TIMEOUT_S: Final = 120

_tags: Final = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the chaos tests time for their rounds, and their mark."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S + ROUND_TIMEOUT_S * (length.rounds() - 1)))
            item.add_marker(pytest.mark.slow)


class Meshes:
    """At most one mesh at a time; a new one whenever a test has left the last one's books in doubt."""

    def __init__(self, kind: LedgerKind) -> None:
        self._kind = kind
        self._mesh: Mesh | None = None
        self._closing = AsyncExitStack()

    async def sound(self) -> Mesh:
        """Return a mesh whose books were right when it was last looked at."""
        if self._mesh is None or not self._mesh.sound:
            await self.close()
            self._mesh = await self._closing.enter_async_context(running_mesh(self._kind))
        self._mesh.begin()
        return self._mesh

    async def close(self) -> None:
        """Stop the mesh, if one runs."""
        self._mesh = None
        await self._closing.aclose()


@pytest.fixture(
    scope="package",
    params=[length.on("postgres"), length.on("tigerbeetle")],
)
def ledger_kind(request: pytest.FixtureRequest) -> LedgerKind:
    """Each ledger in turn."""
    kind: LedgerKind = request.param
    if kind == "tigerbeetle" and tigerbeetle_binary() is None:
        pytest.skip("no TigerBeetle server on PATH or in TIGERBEETLE_BIN")
    return kind


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def meshes(ledger_kind: LedgerKind) -> AsyncIterator[Meshes]:
    """The meshes of one ledger kind."""
    pool = Meshes(ledger_kind)
    yield pool
    await pool.close()


@pytest_asyncio.fixture(loop_scope="package")
async def mesh(meshes: Meshes) -> Mesh:
    """A running mesh that no earlier test has left in doubt."""
    return await meshes.sound()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    """The test's source of choices: the session's seed and the test's name."""
    return Random(f"{request.config.stash[SEED]} {request.node.name}")


@pytest.fixture(scope="package")
def rounds() -> int:
    """How often a test repeats its faults: 1 by default, PAYMESH_CHAOS_ROUNDS for the long version."""
    return length.rounds()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Keep a line for the end of the session."""
    return lambda line: request.node.user_properties.append((FIGURES, f"{request.node.name}: {line}"))


@pytest.fixture
def journal() -> Journal:
    """The client's side of the story; its tag keeps keys and wallets apart from those of other tests."""
    return Journal(f"t{next(_tags)}")


@pytest_asyncio.fixture(loop_scope="package")
async def load(mesh: Mesh, journal: Journal, rng: Random) -> Load:
    """A client whose wallets are open and funded."""
    client = Load(mesh, journal, rng)
    await client.open_wallets()
    return client
