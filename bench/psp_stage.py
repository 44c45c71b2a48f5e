"""A PSP for the stage: an IPPS sandbox that can be told to be slow or dead, its adapter, and wallets that pay out.

Both are processes as in `paymesh dev`, and told as much. What the sandbox has written down is held against database
and orders at the end: a benchmark that loses a withdrawal, or pays one twice, fails.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp

from adapters.sandbox.client import SandboxControl
from bench.events import BenchFailed
from bench.stage import Say, Stage, open_wallets
from ops.embedded.ports import leased_ports
from ops.embedded.psps import CALL_TIMEOUT_S, PspPlace, adapter, places, port_names, register_psps, sandbox
from ops.embedded.server import Server, stop_together
from shared.streams.breaker import BreakerState, read_breaker

PSP: Final = "ipps"
WALLETS: Final = 50
"""Wallets that pay out; those that pay each other are others."""
_SLOW_MS: Final = CALL_TIMEOUT_S * 1000 * 2
_SETTLE_TIMEOUT_S: Final = 240.0
_POLL_S: Final = 0.25
_QUICK: Final = {
    "ADAPTER_CALL_TIMEOUT_S": "0.5",
    "ADAPTER_BUDGET_S": "2",
    "ADAPTER_RETRY_FIRST_MS": "200",
    "ADAPTER_BREAKER_OPEN_MS_MIN": "300",
    "ADAPTER_BREAKER_OPEN_MS_MAX": "600",
}
"""The smoke version waits for no time-outs and no breaker."""
_SQL: Final = Path(__file__).parent / "sql"
_OPEN: Final = frozenset({"VALIDATED", "AUTHORIZED", "IN_DOUBT"})


@dataclass(frozen=True, slots=True)
class PspStand:
    """A running PSP, and how it is told to be unwell."""

    stage: Stage
    servers: tuple[Server, ...]
    control: SandboxControl
    first_wallet: int

    @property
    def roles(self) -> dict[str, list[int]]:
        """Their process ids by role."""
        return {name: [server.pid] for name, server in zip(("sandbox", "adapter"), self.servers, strict=True)}

    async def be_slow(self) -> None:
        """Answer everything after twice the adapter's time-out."""
        await self.control.play(f"slow:{_SLOW_MS}")

    async def be_dead(self, seconds: float) -> None:
        """Refuse connections for so long."""
        await self.control.begin_outage(seconds=seconds, mode="refuse")

    async def be_well(self) -> None:
        """Answer at once again."""
        await self.control.play_nothing()
        await self.control.end_outage()

    async def withdrawals(self, since: UUID) -> dict[str, int]:
        """Return what became of the withdrawals since an id: how many by state, with the reason where there is one."""
        rows = await self.stage.stores.pool.fetch((_SQL / "withdrawals.sql").read_text(), since)
        return {row["state"]: row["withdrawals"] for row in rows}

    async def decided(self, since: UUID) -> None:
        """Wait until every withdrawal since an id has its end, and the breaker lets new ones through.

        Raises:
            BenchFailed: some had none when time was up.
        """
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        while not await self._calm(since):
            if time.monotonic() > deadline:
                found = await self.withdrawals(since)
                raise BenchFailed(f"withdrawals without an end after {_SETTLE_TIMEOUT_S:.0f} s: {found}")
            await asyncio.sleep(_POLL_S)

    async def _calm(self, since: UUID) -> bool:
        if _OPEN & (await self.withdrawals(since)).keys():
            return False
        return (await read_breaker(self.stage.stores.redis, PSP)).state is not BreakerState.OPEN

    async def verify(self) -> None:
        """Hold the PSP's books against the database, once everything is decided.

        Raises:
            BenchFailed: naming what differs.
        """
        rows = await self.stage.stores.pool.fetch((_SQL / "settled_withdrawals.sql").read_text())
        due = Counter({row["reference"]: int(row["amount_minor"]) for row in rows})
        movements = (await self.control.books())["movements"]
        if faults := paid_faults(due, movements):
            raise BenchFailed("the PSP's books are wrong:\n" + "\n".join(faults[:5]))


def paid_faults(due: Mapping[str, int], movements: list[dict[str, Any]]) -> list[str]:
    """Name every reference that was not paid as the database says it was; pure."""
    paid: dict[str, list[int]] = {}
    for row in movements:
        sign = 1 if row["kind"] == "PAYOUT" else -1
        paid.setdefault(row["partnerTxnUid"], []).append(sign * int(row["amountSatang"]))
    return [
        f"{reference}: settled {due.get(reference)}, paid {paid.get(reference)}"
        for reference in sorted(due.keys() | paid.keys())
        if paid.get(reference) != [due.get(reference)]
    ]


@asynccontextmanager
async def psp_stand(stage: Stage, say: Say) -> AsyncIterator[PspStand]:
    """Run the PSP for the length of the block."""
    first = stage.options.wallets
    await open_wallets(stage, range(first, first + WALLETS), say)
    await register_psps(stage.stack.stores, (PSP,))
    with leased_ports(port_names((PSP,))) as ports:
        async with _standing(stage, places((PSP,), ports)[0]) as stand:
            yield stand


@asynccontextmanager
async def _standing(stage: Stage, place: PspPlace) -> AsyncIterator[PspStand]:
    books = stage.stack.folder / "sandboxes"
    servers = (
        sandbox(place, base=stage.environ, logs=stage.logs, books=books),
        _paced(adapter(place, stores=stage.stack.stores, base=stage.environ, logs=stage.logs), stage),
    )
    try:
        for server in servers:
            server.spawn()
            await asyncio.to_thread(server.wait_ready)
        async with aiohttp.ClientSession() as http:
            control = SandboxControl(http=http, control_url=place.control_url)
            yield PspStand(stage, servers, control, stage.options.wallets)
    finally:
        await asyncio.to_thread(stop_together, servers)


def _paced(server: Server, stage: Stage) -> Server:
    return replace(server, env={**(server.env or {}), **_QUICK}) if stage.options.quick else server
