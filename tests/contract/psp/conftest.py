"""Every adapter with its sandbox: the tests' bank with each kind of fence, and every PSP folder there is.

A PSP with whom there may be different agreements has a stand for each: its module lists them in `VARIANTS`.
"""

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


def stand_module(folder: str) -> str:
    """Return the name of the module that holds a folder's stand."""
    return f"tests.contract.psp.{folder}_stand"


def names(folder: str) -> list[str]:
    """Return the folder's stands: ``ipps``, or ``ipps:cancel`` and the like."""
    if find_spec(stand_module(folder)) is None:
        return [folder]
    variants = getattr(importlib.import_module(stand_module(folder)), "VARIANTS", ())
    return [f"{folder}:{variant}" for variant in variants] or [folder]


@pytest_asyncio.fixture(params=[*BANKS, *(name for folder in FOLDERS for name in names(folder))])
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    """One adapter with its sandbox."""
    name: str = request.param
    if name in BANKS:
        async with bank_stand.open_stand(FenceKind(name.removeprefix("bank_"))) as bank:
            yield bank
        return
    folder, _, variant = name.partition(":")
    module = stand_module(folder)
    if find_spec(module) is None:
        pytest.fail(f"adapters/{folder} has a manifest, but no stand: write {module.replace('.', '/')}.py")
    opener = importlib.import_module(module).open_stand
    async with opener(variant) if variant else opener() as opened:
        yield opened
