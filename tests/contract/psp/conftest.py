"""Every adapter with its sandbox: the tests' bank with each kind of fence, and every PSP folder there is."""

import importlib
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio

from shared.psp import FenceKind
from tests.contract.psp import bank_stand
from tests.contract.psp.stand import Stand

ADAPTERS = Path(__file__).parents[3] / "adapters"
FOLDERS = sorted(manifest.parent.name for manifest in ADAPTERS.glob("*/manifest.py"))
BANKS = [f"bank_{kind}" for kind in FenceKind]


@pytest_asyncio.fixture(params=[*BANKS, *FOLDERS])
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    """One adapter with its sandbox."""
    name: str = request.param
    if name in BANKS:
        async with bank_stand.open_stand(FenceKind(name.removeprefix("bank_"))) as bank:
            yield bank
        return
    module = f"tests.contract.psp.{name}_stand"
    if find_spec(module) is None:
        pytest.fail(f"adapters/{name} has a manifest, but no stand: write {module.replace('.', '/')}.py")
    async with importlib.import_module(module).open_stand() as opened:
        yield opened
