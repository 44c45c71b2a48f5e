"""One mesh with its PSPs as real processes: an orchestrator, both sandboxes, and adapters that come and go.

A stack has a database and a Valkey database of its own on the session's servers. The first adapter of a PSP may be
told to strike at a step (see `adapters.runtime.steps`); the second is the other consumer, and the one that callbacks
go to, since nobody else can listen where a stopped process does.
"""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import psutil
from aiohttp import ClientSession, TCPConnector
from redis.asyncio import Redis

from adapters.ipps.manifest import Terms, manifest_of
from adapters.qp.manifest import MANIFEST as QP_MANIFEST
from adapters.sandbox.client import SandboxControl
from ops.embedded.ports import leased_ports
from ops.embedded.server import Server
from ops.install import install
from ops.psps import register
from ops.stores import OpenStores, open_stores
from shared.config import StoreSettings
from shared.psp import FenceKind, Manifest, PollSchedule
from shared.sealing import KeyRing
from tests.waiting import until

ROOT: Final = Path(__file__).parents[2]
RING_TEXT: Final = "k2:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
API_KEY, SECRET = "key-of-the-matrix", "callback-secret-of-the-matrix"
LOOKUP_TTL_S, MARGIN_S, JOB_TTL_S = 3, 1, 60
START_TIMEOUT_S: Final = 60.0
_GATHER_MS: Final = {
    "permit_taken": 300,
    "before_send": 300,
    "request_sent": 300,
    "answer_received": 700,
    "before_append": 1500,
}
_POLL: Final = PollSchedule(first_s=1, factor=1.0, max_s=1, until_s=3_600)
_QUICK_ADAPTER: Final = {
    "CONCURRENCY": "64",
    "BUDGET_S": "4",
    "CALL_TIMEOUT_S": "1",
    "LEASE_S": "1",
    "BLOCK_MS": "50",
    "RECLAIM_IDLE_MS": "800",
    "RETRY_FIRST_MS": "50",
    "RETRY_MAX_MS": "200",
    "WATCH_MS": "50",
    "BREAKER_OPEN_MS_MIN": "100",
    "BREAKER_OPEN_MS_MAX": "150",
    "FORWARD_TEST_SCENARIO": "true",
    "API_KEY": API_KEY,
    "CALLBACK_HOST": "127.0.0.1",
    "CALLBACK_NETWORKS": "127.0.0.0/8",
    "CALLBACK_SECRETS": SECRET,
}
_QUICK_ORCHESTRATOR: Final = {
    "ORCHESTRATOR_RECLAIM_IDLE_MS": "2000",
    "ORCHESTRATOR_PSPS_POLL_S": "0.1",
    "ORCHESTRATOR_RELAY_POLL_S": "0.2",
    "ORCHESTRATOR_DUE_POLL_S": "0.2",
    "ORCHESTRATOR_PARTITIONS_POLL_S": "0.2",
}


@dataclass(frozen=True, slots=True)
class Strike:
    """Where the first adapters strike, and how: killed, stopped until others have decided, or just for a nap."""

    step: str
    how: Literal["kill", "stop", "nap"]

    def __str__(self) -> str:
        return f"{self.how} at {self.step}"


@dataclass(slots=True)
class Adapter:
    """One adapter process."""

    server: Server
    pause_file: Path

    @property
    def ready(self) -> bool:
        """Whether it reads jobs."""
        assert self.server.running, f"{self.server.name} ended: {self.server.log_tail()}"
        return b"adapter_ready" in self.server.log.read_bytes()

    @property
    def struck(self) -> bool:
        """Whether it has come to its step, and has stopped or died of it."""
        if not self.pause_file.with_name(f"{self.pause_file.name}.claimed").exists():
            return False
        return not self.server.running or psutil.Process(self.server.pid).status() == psutil.STATUS_STOPPED


@dataclass(slots=True)
class Stack:
    """Everything of one run."""

    folder: Path
    fence: FenceKind
    stores: OpenStores
    redis: Redis
    ring: KeyRing
    control: dict[str, SandboxControl]
    environ: dict[str, dict[str, str]]
    """By PSP: the variables of its adapters."""
    callback_ports: dict[str, int]
    servers: list[Server] = field(default_factory=list)

    def start_adapter(self, psp: str, number: int, strike: Strike | None = None) -> Adapter:
        """Start an adapter; only the second of a PSP receives callbacks."""
        name = f"{psp}-{number}"
        pause_file = self.folder / f"{name}.pause"
        if strike is not None:
            how = "kill" if strike.how == "kill" else "stop"
            pause_file.write_text(f"{strike.step} {how} {_GATHER_MS[strike.step]}")
        environ = self.environ[psp] | {"ADAPTER_PAUSE_FILE": str(pause_file)}
        environ["ADAPTER_CALLBACK_PORT"] = str(self.callback_ports[psp] if number > 1 else 0)
        server = _server(self.folder, name, f"adapters.{psp}.main", environ, b"adapter_ready")
        self.servers.append(server)
        server.spawn()
        return Adapter(server, pause_file)

    def log_of(self, name: str) -> str:
        """Return what a process has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")


def manifest_for(psp: str, fence: FenceKind) -> Manifest:
    """Return a PSP's promises with short times: those of its adapter, asked about every second."""
    if psp == "qp":
        plain = QP_MANIFEST
    else:
        plain = manifest_of(
            Terms(submit_fence=fence, lookup_ttl_s=LOOKUP_TTL_S, fence_margin_s=MARGIN_S, job_ttl_s=JOB_TTL_S)
        )
    operations = {name: replace(rules, deadline_s=1) for name, rules in plain.operations.items()}
    return replace(plain, operations=operations, poll=_POLL)


@asynccontextmanager
async def running_stack(
    folder: Path,
    *,
    database_url: str,
    redis_url: str,
    fence: FenceKind,
    psps: Sequence[str] = ("ipps", "qp"),
    tigerbeetle: str | None = None,
) -> AsyncIterator[Stack]:
    """Run everything but the adapters for the length of the block; the folder is there, and empty."""
    common = {"PATH": os.environ["PATH"], "PAYMESH_LOG": "json", "PAYMESH_ENVIRONMENT": "test"}
    stores_environ = common | {"REDIS_URL": redis_url, "DATABASE_URL": database_url, "PAYMESH_KEYRING": RING_TEXT}
    if tigerbeetle is not None:
        stores_environ["TIGERBEETLE_ADDRESSES"] = tigerbeetle
    settings = StoreSettings(
        redis_url=redis_url, database_url=database_url, keyring_text=RING_TEXT, tigerbeetle_addresses=tigerbeetle
    )
    async with AsyncExitStack() as closing:
        callback_ports = closing.enter_context(leased_ports(psps))
        api_ports = closing.enter_context(leased_ports(psps))
        servers: list[Server] = []
        closing.push_async_callback(end, servers)
        sandboxes = {psp: _sandbox(folder, psp, fence, (api_ports[psp], callback_ports[psp]), common) for psp in psps}
        for server in sandboxes.values():
            servers.append(server)
            server.spawn()
        # Patient, unlike the services' own: a test must not fail because the machine is busy.
        redis = await closing.enter_async_context(Redis.from_url(redis_url))
        await redis.flushdb()
        await install(settings, partitions=1)
        stores = await closing.enter_async_context(open_stores(settings))
        for psp in psps:
            await register(stores, manifest_for(psp, fence), actor="matrix")
        orchestrator = _server(
            folder, "orchestrator", "orchestrator.main", stores_environ | _QUICK_ORCHESTRATOR, b"orchestrator_ready"
        )
        servers.append(orchestrator)
        orchestrator.spawn()
        http = await closing.enter_async_context(ClientSession(connector=TCPConnector(force_close=True)))
        control: dict[str, SandboxControl] = {}
        environ: dict[str, dict[str, str]] = {}
        for psp, server in sandboxes.items():
            await until(server.ready, f"the sandbox of {psp}", timeout_s=START_TIMEOUT_S)
            urls = _urls(server.log)
            control[psp] = SandboxControl(http=http, control_url=urls["control_url"])
            adapter = {f"ADAPTER_{name}": value for name, value in _QUICK_ADAPTER.items()}
            adapter |= {"ADAPTER_BASE_URL": urls["url"]} | (_terms(fence) if psp == "ipps" else {})
            environ[psp] = common | {"REDIS_URL": redis_url, "PAYMESH_KEYRING": RING_TEXT} | adapter
        await until(orchestrator.ready, "the orchestrator", timeout_s=START_TIMEOUT_S)
        yield Stack(folder, fence, stores, redis, KeyRing.parse(RING_TEXT), control, environ, callback_ports, servers)


async def end(servers: Sequence[Server]) -> None:
    """Ask processes to end, wait for them without holding up other runs, and make those end that do not."""
    alive = [server for server in servers if server.running]
    for server in alive:
        server.send(signal.SIGTERM)
        server.send(signal.SIGCONT)
    try:
        await until(lambda: not any(server.running for server in alive), "the ends of processes", timeout_s=30)
    finally:
        for server in alive:
            server.kill()


def _terms(fence: FenceKind) -> dict[str, str]:
    return {
        "ADAPTER_SUBMIT_FENCE": str(fence),
        "ADAPTER_LOOKUP_TTL_S": str(LOOKUP_TTL_S),
        "ADAPTER_FENCE_MARGIN_S": str(MARGIN_S),
        "ADAPTER_JOB_TTL_S": str(JOB_TTL_S),
        "ADAPTER_POLL_FIRST_S": "1",
    }


def _sandbox(folder: Path, psp: str, fence: FenceKind, ports: tuple[int, int], common: dict[str, str]) -> Server:
    environ = common | {
        "SANDBOX_PORT": str(ports[0]),
        "SANDBOX_API_KEY": API_KEY,
        "SANDBOX_CALLBACK_URL": f"http://127.0.0.1:{ports[1]}/callbacks/{psp}",
        "SANDBOX_CALLBACK_SECRET": SECRET,
        "SANDBOX_CALLBACK_RETRY_MS": "150",
        "SANDBOX_SUBMIT_FENCE": str(fence),
        "SANDBOX_LOOKUP_TTL_MS": str(LOOKUP_TTL_S * 1000),
    }
    return _server(folder, f"sandbox-{psp}", f"adapters.sandbox.{psp}", environ, b"sandbox_ready")


def _server(folder: Path, name: str, module: str, environ: dict[str, str], ready: bytes) -> Server:
    log = folder / f"{name}.log"
    return Server(
        name=name,
        argv=[sys.executable, "-m", module],
        log=log,
        ready=lambda: log.exists() and ready in log.read_bytes(),
        env=environ,
        cwd=ROOT,
        stop_timeout_s=20,
    )


def _urls(log: Path) -> dict[str, Any]:
    lines = [line for line in log.read_text().splitlines() if "sandbox_ready" in line]
    found: dict[str, Any] = json.loads(lines[0])
    return found
