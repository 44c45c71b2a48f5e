"""The orchestrator process: the one place that reads its settings and opens its connections.

One worker per intents partition, all over the same intake. The number of partitions only grows; one that is added
while we run is read within `partitions_poll_s`.
"""

import asyncio
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from orchestrator.accounts import OpenAccounts
from orchestrator.intake import Intake
from orchestrator.metrics import IntakeMetrics
from orchestrator.outbound_metrics import OutboundMetrics
from orchestrator.poller import Poller
from orchestrator.psp_register import PspRegister
from orchestrator.relay import Relay
from orchestrator.route_register import RouteRegister
from orchestrator.settings import OrchestratorSettings
from shared import log, process
from shared.config import load
from shared.db.failures import database
from shared.db.pool import Pool, close_pool, open_pool
from shared.errors import OutcomeUnknown, Transient
from shared.health import Check, Health, serve_health
from shared.ledger.mesh_mark import TickingLedger
from shared.ledger.open import open_ledger
from shared.ledger.port import Ledger
from shared.mesh import MeshIdentity, verify
from shared.metrics import open_registry
from shared.streams import keys
from shared.streams.client import connect
from shared.streams.metrics import StreamMetrics
from shared.streams.permits import Replicas
from shared.streams.worker import Worker, WorkerClients, WorkerSettings

_log = structlog.get_logger(__name__)

# Every query of the pipeline is a look-up by key, and says so by `= ANY` or by LATERAL. A plan made while the tables
# were empty must not become a sequential scan when they are full. Hash joins stay: they join a batch with itself.
_POINT_LOOK_UPS = {"enable_seqscan": "off", "enable_mergejoin": "off", "jit": "off"}


class Orchestrator:
    """The workers of this process, one per partition."""

    def __init__(
        self,
        *,
        settings: OrchestratorSettings,
        pool: Pool,
        intake: Intake,
        metrics: StreamMetrics,
        stop: asyncio.Event,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._intake = intake
        self._metrics = metrics
        self._stop = stop
        self._tasks = tasks
        self._alone = asyncio.Lock()
        self._consumer = f"orchestrator-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.workers: list[Worker] = []

    @property
    def healthy(self) -> bool:
        """Whether no worker holds a batch for too long."""
        return all(worker.healthy for worker in self.workers)

    def read_partitions(self, count: int) -> None:
        """Start a worker for each partition up to `count` that has none."""
        for partition in range(len(self.workers), count):
            clients = WorkerClients.open(self._settings.redis_url)
            worker = Worker(
                clients=clients,
                stream=keys.intents(partition),
                group=keys.ORCHESTRATOR_GROUP,
                consumer=self._consumer,
                handler=self._intake,
                settings=_worker_settings(self._settings),
                metrics=self._metrics,
                alone=self._alone,
            )
            self.workers.append(worker)
            self._tasks.create_task(self._run(worker, clients), name=f"intents-{partition}")

    async def _run(self, worker: Worker, clients: WorkerClients) -> None:
        try:
            await worker.run(self._stop)
        finally:
            await clients.aclose()

    async def watch_partitions(self) -> None:
        """Read partitions that are added while we run."""
        while not self._stop.is_set():
            try:
                await asyncio.wait_for(self._stop.wait(), self._settings.partitions_poll_s)
            except TimeoutError:
                try:
                    with database():
                        self.read_partitions(await self._pool.fetchval("SELECT partitions FROM pm.mesh"))
                except (Transient, OutcomeUnknown) as error:
                    _log.warning("partitions_not_read", error=error.code)


def _worker_settings(settings: OrchestratorSettings) -> WorkerSettings:
    return WorkerSettings(
        batch_max=settings.batch_max,
        batches_in_flight=settings.batches_in_flight,
        idle_ms=settings.reclaim_idle_ms,
        hold_max_ms=settings.hold_max_s * 1000,
        drain_timeout_ms=settings.drain_s * 1000,
    )


@dataclass(frozen=True, slots=True)
class Outbound:
    """The half of the saga that speaks to PSPs: who they are, what they are sent, and when they are asked."""

    psps: PspRegister
    relay: Relay
    poller: Poller

    def start(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Run until `stop`."""
        tasks.create_task(self.psps.run(stop), name="psps")
        tasks.create_task(self.relay.run(stop), name="relay")
        tasks.create_task(self.poller.run(stop), name="poller")


def _outbound(
    settings: OrchestratorSettings, pool: Pool, redis: Redis, mesh: MeshIdentity, registry: CollectorRegistry
) -> Outbound:
    psps = PspRegister(
        pool=pool,
        redis=redis,
        epoch=mesh.token,
        poll_s=settings.psps_poll_s,
        outbox_max=settings.outbox_max,
    )
    metrics = OutboundMetrics(registry)
    relay = Relay(
        pool=pool,
        redis=redis,
        psps=psps,
        metrics=metrics,
        jobs_max=settings.jobs_max,
        poll_s=settings.relay_poll_s,
    )
    poller = Poller(
        pool=pool,
        redis=redis,
        psps=psps,
        metrics=metrics,
        replicas=Replicas(settings.replicas_min, settings.replicas_timeout_ms),
        jobs_max=settings.jobs_max,
        poll_s=settings.due_poll_s,
    )
    return Outbound(psps, relay, poller)


@asynccontextmanager
async def _stores(settings: OrchestratorSettings) -> AsyncIterator[tuple[Pool, Redis, Ledger]]:
    async with AsyncExitStack() as stack:
        pool = await open_pool(
            settings.database_url,
            max_size=4 * settings.batches_in_flight + 8,
            application_name="paymesh-orchestrator",
            server_settings=_POINT_LOOK_UPS,
        )
        stack.push_async_callback(close_pool, pool)
        redis = connect(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        ledger = open_ledger(
            tigerbeetle_addresses=settings.tigerbeetle_addresses,
            tigerbeetle_cluster_id=settings.tigerbeetle_cluster_id,
            pool=pool,
            timeout_s=settings.ledger_timeout_s,
        )
        stack.push_async_callback(ledger.close)
        yield pool, redis, ledger


async def serve(settings: OrchestratorSettings, stop: asyncio.Event) -> None:
    """Run an orchestrator until `stop` is set and what it holds has been drained or handed back."""
    registry = open_registry()
    async with _stores(settings) as (pool, redis, ledger):
        mesh = await verify(pool=pool, redis=redis, ledger=TickingLedger(ledger), ledger_kind=settings.ledger_kind)
        routes = RouteRegister(pool=pool)
        await routes.refresh()
        outbound = _outbound(settings, pool, redis, mesh, registry)
        await outbound.psps.refresh()
        intake = Intake(
            pool=pool,
            ledger=ledger,
            routes=routes,
            known=OpenAccounts(pool=pool),
            metrics=IntakeMetrics(registry),
        )
        async with asyncio.TaskGroup() as tasks:
            orchestrator = Orchestrator(
                settings=settings,
                pool=pool,
                intake=intake,
                metrics=StreamMetrics(registry),
                stop=stop,
                tasks=tasks,
            )
            checks: dict[str, Check] = {"postgres": lambda: pool.fetchval("SELECT 1"), "redis": redis.ping}
            health = Health(registry, lambda: orchestrator.healthy, checks)
            async with AsyncExitStack() as stack:
                if settings.health_port:
                    await stack.enter_async_context(serve_health(health, port=settings.health_port))
                orchestrator.read_partitions(mesh.partitions)
                tasks.create_task(routes.run(stop), name="routes")
                tasks.create_task(orchestrator.watch_partitions(), name="partitions")
                outbound.start(tasks, stop)
                _log.info("orchestrator_ready", mesh=str(mesh.id), epoch=mesh.epoch, partitions=mesh.partitions)
                await stop.wait()


def main() -> int:
    """Run the process; see `shared.process` for the exit codes."""

    async def wired(stop: asyncio.Event, _tasks: asyncio.TaskGroup) -> None:
        settings = load(OrchestratorSettings)
        log.configure("orchestrator", mode=settings.log, level=settings.log_level)
        await serve(settings, stop)

    return process.run(wired)


if __name__ == "__main__":
    sys.exit(main())
