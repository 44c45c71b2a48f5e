"""The stage: real servers in a temporary folder, a mesh on them, wallets that hold money; nothing left behind.

It always starts servers of its own, whatever the environment names: a benchmark belongs on no mesh that somebody uses.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits
from typing import Final
from urllib.parse import urlsplit

from bench.events import BenchFailed
from bench.options import Options
from bench.workload import Section, account
from ops.accounts import ask_to_open, wait_open
from ops.embedded.ports import leased_ports
from ops.embedded.postgres import remove_cluster
from ops.embedded.server import Server, stop_together
from ops.embedded.services import Stores, service
from ops.embedded.stack import Stack, StackPlan, running_stack
from ops.install import install
from ops.keys import NewSecret, create_key
from ops.stores import OpenStores, open_stores
from shared.contracts import Envelope, Kind
from shared.ids import intent_id
from shared.mesh import MeshIdentity
from shared.streams import keys
from shared.streams.accept import AcceptEntry, AcceptStatus, Admission, accept
from shared.streams.verdicts import ENTRIES_MAX

GATEWAY_ADMISSION_LIMIT: Final = 2000
"""Per partition; the load over HTTP runs into it, so that what it measures is what the whole mesh sustains."""
DRAIN_TIMEOUT_S: Final = 60.0
_OPEN_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02
_EAGER: Final = {"RECONCILER_RECONCILE_S": "0.5", "RECONCILER_RECONCILE_SETTLE_S": "1.0"}
"""A reconciler compares what is being paid, and not what was paid before anything was measured."""
PERMISSIONS: Final = {"operations": ["P2P_TRANSFER"], "accounts": ["user:*"]}
_FOREIGN: Final = ("PAYMESH_", "GATEWAY_", "ORCHESTRATOR_", "RECONCILER_", "PROMETHEUS_MULTIPROC_DIR")
_STORES: Final = ("REDIS_URL", "DATABASE_URL", "TIGERBEETLE_ADDRESSES")
_COUNT_SETTLED: Final = "SELECT count(*) FROM pm.intent WHERE state = 'SETTLED'"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """A mesh without services, ready to be measured."""

    options: Options
    stack: Stack
    stores: OpenStores
    mesh: MeshIdentity
    key: NewSecret
    environ: Mapping[str, str]

    @property
    def gateway_port(self) -> int:
        """Where gateways listen."""
        return urlsplit(self.stack.url).port or 0

    @property
    def logs(self) -> Path:
        """Where processes write what they have to say."""
        return self.stack.folder / "logs"

    @property
    def servers(self) -> dict[str, list[int]]:
        """The process id of each server by its name."""
        return {server.name: [server.pid] for server in self.stack.servers}

    async def unfinished(self) -> int:
        """Return how many entries stand in the streams."""
        return sum([await self.stores.redis.xlen(keys.intents(number)) for number in range(self.mesh.partitions)])

    async def drained(self) -> None:
        """Wait until nothing stands in the streams.

        Raises:
            BenchFailed: something still did when time was up.
        """
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while left := await self.unfinished():
            if time.monotonic() > deadline:
                raise BenchFailed(f"{left} entries were not finished within {DRAIN_TIMEOUT_S:.0f} s")
            await asyncio.sleep(_POLL_S)

    @asynccontextmanager
    async def services(self, role: str, count: int) -> AsyncIterator[list[int]]:
        """Run processes of a service for the length of the block; give their ids.

        Raises:
            BenchFailed: one of them ended within the block.
        """
        with leased_ports([f"{role}-{number}" for number in range(count)]) as ports:
            servers = self._describe(role, [self.gateway_port] * count if role == "gateway" else [*ports.values()])
            try:
                for server in servers:
                    server.spawn()
                for server in servers:
                    await asyncio.to_thread(server.wait_ready)
                yield [server.pid for server in servers]
                for server in servers:
                    if not server.running:
                        raise BenchFailed(f"{server.name} ended with exit code {server.exit_code}\n{server.log_tail()}")
            finally:
                await asyncio.to_thread(stop_together, servers)

    def _describe(self, role: str, ports: Sequence[int]) -> list[Server]:
        return [
            service(
                role,
                number,
                port=port,
                own=self._own(role, port),
                stores=self.stack.stores,
                base=self.environ,
                logs=self.logs,
            )
            for number, port in enumerate(ports, start=1)
        ]

    def _own(self, role: str, port: int) -> dict[str, str]:
        if role == "reconciler":
            return {"RECONCILER_HEALTH_PORT": str(port)} | _EAGER
        if role != "gateway":
            return {f"{role.upper()}_HEALTH_PORT": str(port)}
        metrics = self.stack.folder / "gateway-metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir()
        return {
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "GATEWAY_ADMISSION_LIMIT": str(GATEWAY_ADMISSION_LIMIT),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        }


@asynccontextmanager
async def stage(options: Options, *, environ: Mapping[str, str], say: Say) -> AsyncIterator[Stage]:
    """Set the stage for the length of the block."""
    own = {name: value for name, value in environ.items() if name not in _STORES and not name.startswith(_FOREIGN)}
    folder = Path(tempfile.mkdtemp(prefix="paymesh-bench-"))
    plan = StackPlan(
        folder=folder / "stack",
        environ=own,
        ledger=options.ledger,
        gateways=0,
        orchestrators=0,
        reconcilers=0,
        supervised=False,
    )
    meshes: list[MeshIdentity] = []

    async def prepare(stores: Stores) -> None:
        meshes.append((await install(stores.settings(), partitions=options.partitions)).mesh)

    try:
        async with running_stack(plan, prepare=prepare, say=say) as stack:
            settings = stack.stores.settings()
            async with open_stores(settings) as stores:
                key = await create_key(
                    stores.pool,
                    settings.keyring(),
                    key="bench",
                    owner="the benchmark",
                    permissions=PERMISSIONS,
                    actor="bench",
                )
                ready = Stage(options, stack, stores, meshes[0], key, own)
                await _furnish(ready, say)
                yield ready
    finally:
        remove_cluster(folder / "stack" / "postgres")
        shutil.rmtree(folder, ignore_errors=True)


async def _furnish(ready: Stage, say: Say) -> None:
    """Open and fund the wallets that pay each other, by the mesh's own means."""
    async with ready.services("orchestrator", 1):
        await open_wallets(ready, range(ready.options.wallets), say)


async def open_wallets(ready: Stage, wallets: range, say: Say) -> None:
    """Open wallets and fund them; an orchestrator must be at work.

    Raises:
        BenchFailed: not all of them were opened and funded.
    """
    stores, began = ready.stores, time.monotonic()
    names = [account(wallet) for wallet in wallets]
    before = await stores.pool.fetchval(_COUNT_SETTLED)
    await ask_to_open(stores.pool, stores.redis, names=names, actor="bench")
    missing = await wait_open(stores.pool, names, timeout_s=_OPEN_TIMEOUT_S)
    if missing:
        raise BenchFailed(f"{len(missing)} wallets were not opened")
    for first in range(0, len(wallets), ENTRIES_MAX):
        await _fund(ready, wallets[first : first + ENTRIES_MAX])
    await ready.drained()
    settled = await stores.pool.fetchval(_COUNT_SETTLED) - before
    if settled != len(wallets):
        raise BenchFailed(f"{settled} of {len(wallets)} wallets were funded")
    say(f"{len(wallets)} wallets opened and funded in {time.monotonic() - began:.1f} s")


async def _fund(ready: Stage, wallets: Sequence[int]) -> None:
    section = Section("setup", str(ready.options.seed), ready.options.wallets)
    entries = [
        AcceptEntry(
            Envelope(Kind.INTENT, str(intent_id(time.time_ns() // 1000, 0, randbits(38))), section.grant_body(wallet)),
            keys.idem(0, section.name, f"grant-{wallet}"),
            (f"bench:{wallet:064x}",),
            "bench:",
        )
        for wallet in wallets
    ]
    admission = Admission(ready.mesh.token, 1_000_000, memory_full=False, dedupe_ttl_ms=60_000)
    for result in await accept(ready.stores.redis, partition=0, entries=entries, admission=admission):
        if result.status is not AcceptStatus.ACCEPTED:
            raise BenchFailed(f"a wallet could not be funded: {result.status}")
