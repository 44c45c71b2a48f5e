"""The embedded stack as one object: real servers, our services, one data folder, nothing left behind.

::

    data folder owned → servers → schema and mesh identity → PSPs registered → sandboxes, services → (the block)
    → services, sandboxes, servers stopped

What the environment names by REDIS_URL, DATABASE_URL or TIGERBEETLE_ADDRESSES is used instead of an embedded
server. This module must never start a kept data folder on another ledger than the one its money is in.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ops.embedded.folder import DataFolder, StackState, owned
from ops.embedded.ports import hold, leased_ports
from ops.embedded.postgres import postgres, postgres_url, remove_cluster, remove_sockets
from ops.embedded.psps import (
    BOOKS,
    PspPlace,
    adapter,
    forget_sandboxes,
    places,
    port_names,
    refuse_company,
    register_psps,
    sandbox,
    settlement_folders,
)
from ops.embedded.server import Server, ServerFailed, stop_together
from ops.embedded.services import Stores, processes_default, service
from ops.embedded.supervisor import Say, Supervisor
from ops.embedded.tigerbeetle import tigerbeetle, tigerbeetle_binary
from ops.embedded.valkey import valkey, valkey_url
from shared.config import Environment

_STORES = ("REDIS_URL", "DATABASE_URL", "TIGERBEETLE_ADDRESSES")

LedgerChoice = Literal["auto", "tigerbeetle", "postgres"]
Prepare = Callable[[Stores], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What to start, and from where."""

    folder: Path
    environ: Mapping[str, str]
    """The environment of whoever starts the stack; services inherit it."""
    clean: bool = False
    """Delete what earlier runs left in the folder."""
    ledger: LedgerChoice = "auto"
    gateways: int = field(default_factory=processes_default)
    orchestrators: int = 1
    reconcilers: int = 1
    gateway_port: int | None = None
    psps: tuple[str, ...] = ()
    """The PSPs that are registered and served by a sandbox and an adapter of their own."""
    fsync: bool = True
    supervised: bool = True
    """Start again what dies; off where a test wants to see it stay dead."""

    @property
    def external(self) -> bool:
        """Whether any store is somebody else's: then nothing is deleted, here or there, lest the rest lag behind."""
        return any(self.environ.get(name) for name in _STORES)

    @property
    def environment(self) -> Environment | None:
        """What the mesh is for, where all of its servers are ours; None: whoever installed it has said so."""
        if self.external:
            return None
        return "production" if self.environ.get("PAYMESH_ENVIRONMENT") == "production" else "development"


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack."""

    url: str
    """Where the gateways listen."""
    stores: Stores
    servers: tuple[Server, ...]
    services: tuple[Server, ...]
    psps: tuple[PspPlace, ...]
    """Where the sandboxes are, and the adapters."""
    folder: Path
    environ: dict[str, str]
    """The environment by which another process finds the same stores."""

    def psp(self, name: str) -> PspPlace:
        """Return where a PSP is, by its id."""
        return next(place for place in self.psps if place.psp == name)

    def child(self, name: str) -> Server:
        """Return a child by its name: ``valkey``, ``postgres``, ``gateway-1``, ``sandbox-qp``, ``adapter-qp`` …."""
        return next(child for child in (*self.servers, *self.services) if child.name == name)


@asynccontextmanager
async def running_stack(plan: StackPlan, *, prepare: Prepare, say: Say) -> AsyncIterator[Stack]:
    """Run the stack for the length of the block.

    Args:
        plan: what to start.
        prepare: called once the servers are up and before the services are: schema, identity, keys.
        say: told, in one line each, what happens.

    Raises:
        AlreadyRuns: another process runs from the folder.
        ServerFailed: something did not start, or the folder's money is in another ledger.
    """
    with owned(plan.folder) as folder, contextlib.ExitStack() as closing:
        if plan.clean:
            # What stands for the PSPs is always this run's; the stores may be somebody's, and their ledger is here.
            forget_sandboxes(folder.path)
            if not plan.external:
                clean(folder)
        kept = folder.state()
        ports = closing.enter_context(leased_ports(_port_names(plan), kept.ports if kept else {}))
        layout = _lay_out(plan, folder, kept, ports)
        children: list[Server] = []
        closing.callback(remove_sockets, folder.path / "postgres")
        closing.callback(_stop_all, layout, children)
        closing.callback(say, "stopping")  # a callback of its own: a closed terminal must not keep us from stopping
        _start(layout.servers, children, folder)
        await _all_ready(layout.servers)
        say(_servers_line(layout))
        await prepare(layout.stores)
        if plan.psps:
            if plan.external:
                await refuse_company(layout.stores, plan.psps)
            await register_psps(layout.stores, plan.psps)
        closing.enter_context(hold(layout.gateway_port))
        _start(layout.services, children, folder)
        await _all_ready(layout.services)
        stack = layout.stack(plan)
        folder.record_answers(_urls(stack), stack.stores.environ({}))
        async with _supervised(plan, children, folder, say):
            yield stack


def discard(path: Path) -> None:
    """Delete what a stopped stack left in its folder.

    Raises:
        AlreadyRuns: it runs again.
    """
    with owned(path) as folder:
        clean(folder)


def clean(folder: DataFolder) -> None:
    """Delete what stopped servers left in the folder."""
    remove_cluster(folder.path / "postgres")
    folder.wipe()


@dataclass(frozen=True, slots=True)
class _Layout:
    stores: Stores
    servers: tuple[Server, ...]
    services: tuple[Server, ...]
    psps: tuple[PspPlace, ...]
    gateway_port: int

    def stack(self, plan: StackPlan) -> Stack:
        return Stack(
            url=f"http://127.0.0.1:{self.gateway_port}",
            stores=self.stores,
            servers=self.servers,
            services=self.services,
            psps=self.psps,
            folder=plan.folder,
            environ=self.stores.environ(plan.environ),
        )


def _port_names(plan: StackPlan) -> list[str]:
    names = [f"orchestrator-{n}" for n in range(1, plan.orchestrators + 1)]
    names += [f"reconciler-{n}" for n in range(1, plan.reconcilers + 1)]
    return [*names, "valkey", "tigerbeetle", "gateway", *port_names(plan.psps)]


def _lay_out(plan: StackPlan, folder: DataFolder, kept: StackState | None, leased: Mapping[str, int]) -> _Layout:
    """Decide on ledger and ports, and describe every child; nothing is started yet."""
    binary = _ledger_binary(plan, kept)
    ports = dict(leased)
    if plan.gateway_port is not None:
        ports["gateway"] = plan.gateway_port
    stores, servers = _stores(plan, folder, binary, ports)
    folder.record_state(StackState(ledger=stores.ledger, ports=ports))
    psps = places(plan.psps, ports)
    services = (*_psps(plan, folder, stores, psps), *_services(plan, folder, stores, ports))
    return _Layout(stores, tuple(servers), services, psps, ports["gateway"])


def _ledger_binary(plan: StackPlan, kept: StackState | None) -> Path | None:
    """Return the TigerBeetle binary to run, or None where the ledger is elsewhere.

    Raises:
        ServerFailed: the kept money is in another ledger, or TigerBeetle is asked for and not found.
    """
    given = plan.environ.get("TIGERBEETLE_ADDRESSES")
    binary = None if given or plan.ledger == "postgres" else tigerbeetle_binary(plan.environ)
    if plan.ledger == "tigerbeetle" and not given and binary is None:
        raise ServerFailed("no tigerbeetle binary on PATH; set TIGERBEETLE_BIN, or ask for --ledger postgres")
    found = "tigerbeetle" if given or binary else "postgres"
    if kept is not None and kept.ledger != found:
        raise ServerFailed(_ledger_changed(plan.folder, kept.ledger, found))
    return binary


def _ledger_changed(folder: Path, kept: str, found: str) -> str:
    back = (
        "keep that ledger: start with --ledger postgres"
        if kept == "postgres"
        else "keep that ledger: put the tigerbeetle binary on PATH or name it in TIGERBEETLE_BIN"
    )
    return (
        f"the money in {folder} is in the {kept} ledger, but this start would use {found}.\n"
        f"A mesh never changes its ledger. Either {back};\n"
        f"or begin anew without what is there: start with --fresh."
    )


def _stores(
    plan: StackPlan, folder: DataFolder, binary: Path | None, ports: Mapping[str, int]
) -> tuple[Stores, list[Server]]:
    env = plan.environ
    path = folder.path
    servers: list[Server] = []
    redis_url, database_url = env.get("REDIS_URL"), env.get("DATABASE_URL")
    addresses = env.get("TIGERBEETLE_ADDRESSES") or None
    if not redis_url:
        servers.append(valkey(path / "valkey", ports["valkey"]))
        redis_url = valkey_url(ports["valkey"])
    if not database_url:
        servers.append(postgres(path / "postgres", fsync=plan.fsync))
        database_url = postgres_url(path / "postgres")
    if binary is not None:
        servers.append(tigerbeetle(binary, path / "tigerbeetle", ports["tigerbeetle"]))
        addresses = f"127.0.0.1:{ports['tigerbeetle']}"
    ring = env.get("PAYMESH_KEYRING_FILE")
    if ring:
        ring_file: Path | None = Path(ring)
    else:
        ring_file = None if env.get("PAYMESH_KEYRING") else folder.key_ring()
    return Stores(redis_url, database_url, addresses if plan.ledger != "postgres" else None, ring_file), servers


def _services(plan: StackPlan, folder: DataFolder, stores: Stores, ports: Mapping[str, int]) -> list[Server]:
    """Describe the processes of the mesh, in the order in which they start."""
    logs = _logs(folder)
    metrics = folder.path / "gateway-metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir()
    found: list[Server] = []
    for role, count in (("orchestrator", plan.orchestrators), ("reconciler", plan.reconcilers)):
        for number in range(1, count + 1):
            port = ports[f"{role}-{number}"]
            own = {f"{role.upper()}_HEALTH_PORT": str(port)}
            if role == "reconciler" and plan.psps:
                own |= settlement_folders(folder.path, plan.psps, number)
            found.append(service(role, number, port=port, own=own, stores=stores, base=plan.environ, logs=logs))
    for number in range(1, plan.gateways + 1):
        own = {
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(ports["gateway"]),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics.resolve()),
        }
        found.append(
            service("gateway", number, port=ports["gateway"], own=own, stores=stores, base=plan.environ, logs=logs)
        )
    return found


def _psps(plan: StackPlan, folder: DataFolder, stores: Stores, psps: Sequence[PspPlace]) -> list[Server]:
    """Describe what stands for the PSPs: sandboxes first, since adapters call them."""
    logs, books = _logs(folder), folder.path / BOOKS
    found = [sandbox(place, base=plan.environ, logs=logs, books=books) for place in psps]
    return found + [adapter(place, stores=stores, base=plan.environ, logs=logs) for place in psps]


def _logs(folder: DataFolder) -> Path:
    logs = folder.path / "logs"
    logs.mkdir(exist_ok=True)
    return logs


def _start(servers: Sequence[Server], children: list[Server], folder: DataFolder) -> None:
    for server in servers:
        _set_aside(server.log)
        server.spawn()
        children.append(server)
    folder.record_children(children)


def _set_aside(log: Path) -> None:
    """Keep the log of the run before, and no older one."""
    if log.exists():
        log.rename(log.with_name(f"{log.name}.1"))


async def _all_ready(servers: Sequence[Server]) -> None:
    for server in servers:
        await asyncio.to_thread(server.wait_ready)


@asynccontextmanager
async def _supervised(plan: StackPlan, children: list[Server], folder: DataFolder, say: Say) -> AsyncIterator[None]:
    """Watch the children during the block; when watching fails, the block is cancelled and the reason raised."""
    if not plan.supervised:
        yield
        return
    supervisor = Supervisor(children, say, lambda: folder.record_children(children))
    block = asyncio.current_task()
    watching = asyncio.create_task(supervisor.run())
    watching.add_done_callback(lambda task: block.cancel() if block and _failure(task) else None)
    try:
        yield
    except asyncio.CancelledError:
        failure = _failure(watching)
        if block is None or failure is None:
            raise
        block.uncancel()
        raise failure from None
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


def _stop_all(layout: _Layout, children: Sequence[Server]) -> None:
    """Stop what was started: gateways take no more, workers and adapters finish, then sandboxes and stores go."""
    started = {child.name for child in children}
    gateways = [child for child in layout.services if child.name.startswith("gateway-")]
    sandboxes = [child for child in layout.services if child.name.startswith("sandbox-")]
    workers = [child for child in layout.services if child not in gateways and child not in sandboxes]
    for group in (gateways, workers, sandboxes, layout.servers):
        stop_together([child for child in group if child.name in started])


def _urls(stack: Stack) -> dict[str, str]:
    urls = {"gateway": stack.url, "redis": stack.stores.redis_url, "database": stack.stores.database_url}
    if stack.stores.tigerbeetle_addresses:
        urls["ledger"] = stack.stores.tigerbeetle_addresses
    urls |= {f"sandbox-{place.psp}": place.control_url for place in stack.psps}
    return urls


def _servers_line(layout: _Layout) -> str:
    names = ", ".join(server.name for server in layout.servers) or "none"
    return f"servers: {names} · ledger: {layout.stores.ledger}"
