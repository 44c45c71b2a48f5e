"""A whole mesh of real processes, watched, ended, paused and started again by the tests.

Two gateways share one port, two orchestrators share the streams, a reconciler sweeps with short periods; Valkey
fsyncs before every reply. PostgreSQL runs without fsync: what a killed process has written is the kernel's, and only
a power cut, which no test here plays, would take it away. Everything lives under private ports in a folder of its own.

Whatever ends is started again at once, as a supervisor would. An end that nobody asked for is noted: a service may
fail to start while a store is away, but one that was ready must outlive every outage.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

from ops.client import Client, open_client
from ops.embedded.postgres import remove_cluster
from ops.embedded.server import Server
from ops.embedded.services import Stores
from ops.embedded.stack import Stack, StackPlan, running_stack
from ops.install import install
from ops.keys import create_key
from ops.stores import OpenStores, open_stores
from shared.process import EXIT_CONFIG, EXIT_INVARIANT
from tests.chaos.clock import lapse
from tests.chaos.processes import KILLED, Exit, family, kill_family, signal_all
from tests.waiting import until

LedgerKind = Literal["tigerbeetle", "postgres"]

PARTITIONS: Final = 2
SERVICE_KEY: Final = "chaos"
GATEWAYS: Final = ("gateway-1", "gateway-2")
ORCHESTRATORS: Final = ("orchestrator-1", "orchestrator-2")
RECONCILERS: Final = ("reconciler-1",)
READY_TIMEOUT_S: Final = 60.0

_LOOK_S: Final = 0.05
_PAUSE_S: Final = 0.2
_READY_LINES: Final = (b'"listening"', b'_ready"')
_GRANT_MAX: Final = 10**12
_PERMISSIONS: Final = {
    "operations": ["P2P_TRANSFER", "ADJUSTMENT"],
    "accounts": ["user:*", "merchant:*"],
    "open_accounts": True,
    "adjustment": {"max_minor": _GRANT_MAX, "alone_max_minor": _GRANT_MAX},
}
SHORT_PERIODS: Final = {
    "ORCHESTRATOR_RECLAIM_IDLE_MS": "1000",
    "ORCHESTRATOR_LEDGER_TIMEOUT_S": "10",
    "RECONCILER_SWEEP_S": "0.5",
    "RECONCILER_STUCK_AFTER_S": "3",
    "RECONCILER_REDRIVE_FIRST_S": "0.5",
    "RECONCILER_REDRIVE_MAX_S": "2",
    "RECONCILER_LEDGER_TIMEOUT_S": "10",
}
_STORES: Final = ("REDIS_URL", "DATABASE_URL", "TIGERBEETLE_ADDRESSES", "PAYMESH_KEYRING", "PAYMESH_KEYRING_FILE")


@dataclass(slots=True)
class _Watch:
    """What is known about one child: where in its log its present life began, and when it is to be started again."""

    server: Server
    log_from: int = 0
    due_s: float | None = None
    asked: bool = False


@dataclass(slots=True)
class Mesh:
    """A running mesh."""

    kind: LedgerKind
    stack: Stack
    stores: OpenStores
    client: Client
    sound: bool = False
    """Whether the last test has proven that the books are right; the next one gets a new mesh where they are not."""
    kills: Counter[str] = field(default_factory=Counter)
    """How often each child that was running has been ended with SIGKILL since the test began."""
    exits: list[Exit] = field(default_factory=list)
    """Every end of a child since the test began."""
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _given_up: set[str] = field(default_factory=set)
    _paused: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for server in (*self.stack.servers, *self.stack.services):
            self._watches[server.name] = _Watch(server)

    def begin(self) -> None:
        """Begin a test: nothing has been proven, nobody has ended."""
        self.sound = False
        self.kills.clear()
        self.exits.clear()

    @property
    def names(self) -> tuple[str, ...]:
        """Every child."""
        return tuple(self._watches)

    def child(self, name: str) -> Server:
        """Return a child by its name."""
        return self._watches[name].server

    @property
    def failures(self) -> list[Exit]:
        """Ends that nobody asked for and that no outage excuses."""
        return [
            end
            for end in self.exits
            if not end.asked and (end.was_ready or end.code in (EXIT_INVARIANT, EXIT_CONFIG) or end.code < 0)
        ]

    def excuse(self, code: int) -> list[Exit]:
        """Take the ends with this exit code off the record, and return them: the test was out for them."""
        excused = [end for end in self.exits if end.code == code]
        self.exits = [end for end in self.exits if end.code != code]
        return excused

    # Faults.

    def kill(self, name: str) -> None:
        """End a child with SIGKILL, PostgreSQL with all its backends; it is started again."""
        watch = self._watches[name]
        was_running = watch.server.running
        watch.asked = True
        self._paused.pop(name, None)
        kill_family(watch.server)
        self.kills[name] += was_running and watch.server.exit_code == KILLED

    def pause(self, name: str, *, head: bool = True) -> None:
        """Stop a child where it stands; without its `head`, only its children (PostgreSQL's backends)."""
        processes = family(self.child(name))[0 if head else 1 :]
        signal_all(processes, signal.SIGSTOP)
        self._paused[name] = [process.pid for process in processes]

    def wake(self, name: str) -> None:
        """Let a paused child go on."""
        for process_id in self._paused.pop(name, []):
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGCONT)

    @contextmanager
    def paused(self, name: str, *, head: bool = True) -> Iterator[None]:
        """Pause a child for the length of the block."""
        self.pause(name, head=head)
        try:
            yield
        finally:
            self.wake(name)

    @asynccontextmanager
    async def ledger_held(self) -> AsyncIterator[None]:
        """Keep the ledger from answering for the length of the block; what it is sent waits."""
        if self.kind == "tigerbeetle":
            with self.paused("tigerbeetle"):
                yield
            return
        async with self.stores.pool.acquire() as connection:
            await connection.execute("SELECT pg_advisory_lock(hashtext('ledger'))")
            try:
                yield
            finally:
                await connection.execute("SELECT pg_advisory_unlock(hashtext('ledger'))")

    async def restart(self, role: str, values: Mapping[str, str]) -> None:
        """Stop a role's processes in the orderly way, and wait until they run again with these variables."""
        names = [name for name in self._watches if name.startswith(f"{role}-")]
        ours = {name: value for name, value in values.items() if name.startswith(f"{role.upper()}_")}
        self.set_environment(role, ours)
        await self.all_up()
        await asyncio.gather(*(self.stop(name) for name in names))
        await self.all_up()

    async def stop(self, name: str) -> int:
        """Ask a child to stop and return its exit code; it is started again."""
        watch = self._watches[name]
        watch.asked = True
        before = len(self.exits)
        watch.server.send(watch.server.stop_signal)
        ends = await until(
            lambda: [end for end in self.exits[before:] if end.name == name], f"the end of {name}", timeout_s=30
        )
        return ends[0].code

    def give_up(self, *names: str) -> None:
        """Start these no more once they have ended: they are expected to stay away."""
        self._given_up |= {*names}

    def set_environment(self, role: str, values: Mapping[str, str]) -> None:
        """Give a role's processes other variables from their next start on."""
        for name, watch in self._watches.items():
            if name.startswith(f"{role}-"):
                watch.server.env = {**(watch.server.env or {}), **values}

    # Watching.

    async def watch(self) -> None:
        """Start again whatever has ended, until cancelled."""
        while True:
            for watch in self._watches.values():
                self._look(watch)
            await lapse(_LOOK_S)

    def _look(self, watch: _Watch) -> None:
        server = watch.server
        if server.running:
            return
        now_s = asyncio.get_running_loop().time()
        if watch.due_s is None:
            code = server.exit_code
            self.exits.append(Exit(server.name, KILLED if code is None else code, watch.asked, self._was_ready(watch)))
            watch.due_s = now_s + _PAUSE_S
        elif now_s >= watch.due_s and server.name not in self._given_up:
            watch.due_s = None
            watch.asked = False
            watch.log_from = server.log.stat().st_size
            server.spawn()

    def _was_ready(self, watch: _Watch) -> bool:
        with watch.server.log.open("rb") as log:
            log.seek(watch.log_from)
            text = log.read()
        return any(line in text for line in _READY_LINES)

    async def all_up(self) -> None:
        """Wait until every child is running and ready."""
        for name, watch in self._watches.items():
            await until(partial(self._is_up, watch), f"{name} to be ready again", timeout_s=READY_TIMEOUT_S)

    def _is_up(self, watch: _Watch) -> bool:
        if not watch.server.running:
            return False
        if watch.server in self.stack.servers:
            return watch.server.ready()
        return self._was_ready(watch)


@asynccontextmanager
async def running_mesh(kind: LedgerKind) -> AsyncIterator[Mesh]:
    """Run a mesh on the given ledger for the length of the block; nothing of it is left afterwards."""
    folder = _new_folder()
    secrets: list[str] = []

    async def prepare(stores: Stores) -> None:
        settings = stores.settings()
        await install(settings, partitions=PARTITIONS)
        async with open_stores(settings) as opened:
            made = await create_key(
                opened.pool, settings.keyring(), key=SERVICE_KEY, owner="tests", permissions=_PERMISSIONS, actor="test"
            )
        secrets.append(made.secret)

    plan = StackPlan(
        folder=folder,
        environ=_environ(),
        ledger=kind,
        gateways=len(GATEWAYS),
        orchestrators=len(ORCHESTRATORS),
        reconcilers=len(RECONCILERS),
        fsync=False,
        supervised=False,
    )
    try:
        async with AsyncExitStack() as closing:
            stack = await closing.enter_async_context(running_stack(plan, prepare=prepare, say=lambda _: None))
            stores = await closing.enter_async_context(open_stores(stack.stores.settings()))
            client = await closing.enter_async_context(
                open_client(url=stack.url, key=SERVICE_KEY, secret=secrets[0], connections_max=256)
            )
            mesh = Mesh(kind, stack, stores, client)
            watching = asyncio.create_task(mesh.watch())
            try:
                yield mesh
            finally:
                watching.cancel()
                await asyncio.wait([watching])
    finally:
        _keep_logs(folder)
        remove_cluster(folder / "postgres")
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder() -> Path:
    """Make a folder that the unprivileged user may pass through as whom PostgreSQL runs where the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix=f"paymesh-chaos-{os.getpid()}-"))
    folder.chmod(0o755)
    return folder


def _keep_logs(folder: Path) -> None:
    """Copy every child's log to where PAYMESH_CHAOS_LOGS asks for them."""
    wanted = os.environ.get("PAYMESH_CHAOS_LOGS")
    if wanted:
        kept = Path(wanted) / folder.name
        kept.mkdir(parents=True, exist_ok=True)
        for log in folder.rglob("*.log"):
            shutil.copy(log, kept)


def _environ() -> dict[str, str]:
    """Return our environment without stores and settings of other meshes, with short periods."""
    kept = {name: value for name, value in os.environ.items() if name not in _STORES}
    ours = ("GATEWAY_", "ORCHESTRATOR_", "RECONCILER_", "PAYMESH_")
    return {name: value for name, value in kept.items() if not name.startswith(ours)} | {
        **SHORT_PERIODS,
        "PAYMESH_ENVIRONMENT": "test",
    }
