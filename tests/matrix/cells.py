"""The cells of the matrix, fence by strike, and how several are played at a time.

What a run costs is mostly the start of its processes, so QP, whose one fence is `resubmit`, takes part in the runs of
that fence only.
"""

import asyncio
import os
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from ops.embedded.ports import leased_port
from ops.embedded.tigerbeetle import tigerbeetle, tigerbeetle_binary
from shared.psp import FenceKind
from tests.databases import Databases
from tests.matrix.reckoning import Reckoning
from tests.matrix.run import play
from tests.matrix.scenarios import PAYOUTS, TOPUPS
from tests.matrix.stack import Strike, end, running_stack
from tests.waiting import until

_AT_ONCE_MAX: Final = 12
"""Valkey has sixteen databases; the first is everybody's."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: the fence of the PSP that pays out, and where its first adapter is struck, if it is."""

    fence: FenceKind
    strike: Strike | None = None
    ledger: Literal["postgres", "tigerbeetle"] = "postgres"

    @property
    def psps(self) -> tuple[str, ...]:
        """The PSPs that take part."""
        return ("ipps", "qp") if self.fence is FenceKind.RESUBMIT else ("ipps",)

    def __str__(self) -> str:
        return str(self.fence)


def cells(strike: Strike | None = None) -> list[Cell]:
    """Return the cells of a strike: one for each fence in the whole product, otherwise for two of them by turns."""
    fences = list(FenceKind)
    if strike is not None and os.environ.get("PAYMESH_MATRIX") != "whole":
        turn = zlib.crc32(str(strike).encode())
        fences = [fences[turn % 4], fences[(turn + 2) % 4]]
    return [Cell(fence, strike) for fence in fences]


class Matrix:
    """Plays cells, as many at a time as the cores carry."""

    def __init__(self, *, cells: Sequence[Cell], databases: Databases, valkey_url: str, folder: Path) -> None:
        self._databases = databases
        self._valkey = valkey_url.rpartition("/")[0]
        self._folder = folder
        self._slots: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(1, 1 + at_once()):
            self._slots.put_nowait(slot)
        self._turn = asyncio.Lock()
        self._cells = cells
        self._runs: dict[Cell, asyncio.Task[Reckoning]] = {}

    async def __aenter__(self) -> Self:
        for number, cell in enumerate(self._cells):
            self._runs[cell] = asyncio.create_task(self._run(number, cell))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in self._runs.values():
            run.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)

    async def verdict(self, cell: Cell) -> Reckoning:
        """Wait for a cell's verdict, and print its table."""
        verdict = await self._runs[cell]
        print(f"fence {cell.fence}, {cell.strike or 'undisturbed'}\n{verdict.table()}")  # noqa: T201
        return verdict

    async def _run(self, number: int, cell: Cell) -> Reckoning:
        slot = await self._slots.get()
        async with self._turn:
            database = await asyncio.to_thread(self._databases.fresh)
        folder = self._folder / str(number)
        folder.mkdir()
        try:
            async with (
                _ledger(cell, folder) as tigerbeetle_address,
                running_stack(
                    folder,
                    database_url=database,
                    redis_url=f"{self._valkey}/{slot}",
                    fence=cell.fence,
                    psps=cell.psps,
                    tigerbeetle=tigerbeetle_address,
                ) as stack,
            ):
                return await play(stack, PAYOUTS, TOPUPS if "qp" in cell.psps else (), cell.strike)
        finally:
            self._databases.drop(database)
            self._slots.put_nowait(slot)


@asynccontextmanager
async def _ledger(cell: Cell, folder: Path) -> AsyncIterator[str | None]:
    """Run a ledger of the cell's own, if it is not PostgreSQL; on disk, since memory has no Direct I/O."""
    if cell.ledger == "postgres":
        yield None
        return
    data = Path(tempfile.mkdtemp(prefix=f"paymesh-{folder.name}-"))
    with leased_port() as port:
        server = tigerbeetle(tigerbeetle_binary() or Path("tigerbeetle"), data, port)
        try:
            server.spawn()
            await until(server.ready, "TigerBeetle", timeout_s=60)
            yield f"127.0.0.1:{port}"
        finally:
            await end([server])
            shutil.rmtree(data, ignore_errors=True)


def at_once() -> int:
    """Return how many runs go on at a time; they wait more than they work."""
    return min(_AT_ONCE_MAX, int(os.environ.get("PAYMESH_MATRIX_AT_ONCE", os.cpu_count() or 1)))
