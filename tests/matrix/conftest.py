"""The matrix: every run of the tests that were asked for, several at a time, each on a stack of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.databases import Databases
from tests.matrix.cells import Cell, Matrix


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matrix(
    request: pytest.FixtureRequest, databases: Databases, valkey_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Matrix]:
    """All runs are begun at once, and queue for the few stacks there may be; a test waits for its own."""
    cells = [cell for item in request.session.items if (cell := _cell(item)) is not None]
    folder: Path = tmp_path_factory.mktemp("matrix")
    made = Matrix(cells=cells, databases=databases, valkey_url=valkey_server, folder=folder)
    async with made:
        yield made


def _cell(item: pytest.Item) -> Cell | None:
    found = (
        item.callspec.params.get("cell") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    )
    return found if isinstance(found, Cell) else None
