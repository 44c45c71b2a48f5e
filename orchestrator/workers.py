"""The workers of an orchestrator: one per partition of the intents, one per PSP's results.

Partitions only grow and PSPs are only added; what appears while we run is read within `partitions_poll_s`.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Iterable

import structlog

from orchestrator.intake import Intake
from orchestrator.results import Results
from orchestrator.settings import OrchestratorSettings
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from shared.streams import keys
from shared.streams.events import wait_up_to
from shared.streams.metrics import StreamMetrics
from shared.streams.verdicts import Handler
from shared.streams.worker import Worker, WorkerClients, WorkerSettings

_log = structlog.get_logger(__name__)


class Workers:
    """Starts a worker for every stream that this process reads."""

    def __init__(
        self,
        *,
        settings: OrchestratorSettings,
        pool: Pool,
        intake: Intake,
        results: Callable[[str], Results],
        psps: Callable[[], Iterable[str]],
        metrics: StreamMetrics,
        stop: asyncio.Event,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Put it together.

        Args:
            settings: limits and pauses.
            pool: where the number of partitions stands.
            intake: the handler of every partition.
            results: makes the handler of a PSP's results.
            psps: the PSPs there are at the moment.
            metrics: of the streams.
            stop: when to drain.
            tasks: where the workers run.
        """
        self._settings = settings
        self._pool = pool
        self._intake = intake
        self._results = results
        self._psps = psps
        self._metrics = metrics
        self._stop = stop
        self._tasks = tasks
        self._alone = asyncio.Lock()
        self._consumer = f"orchestrator-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._workers: dict[str, Worker] = {}

    @property
    def healthy(self) -> bool:
        """Whether no worker holds a batch for too long."""
        return all(worker.healthy for worker in self._workers.values())

    def read(self, partitions: int) -> None:
        """Start a worker for each partition and each PSP that has none."""
        for partition in range(partitions):
            self._start(keys.intents(partition), lambda: self._intake)
        for psp in self._psps():
            self._start(keys.results(psp), lambda psp=psp: self._results(psp))  # type: ignore[misc]

    async def watch(self) -> None:
        """Read what is added while we run."""
        while not self._stop.is_set():
            await wait_up_to(self._stop, self._settings.partitions_poll_s)
            if self._stop.is_set():
                return
            try:
                with database():
                    self.read(await self._pool.fetchval("SELECT partitions FROM pm.mesh"))
            except (Transient, OutcomeUnknown) as error:
                _log.warning("partitions_not_read", error=error.code)

    def _start(self, stream: str, handler: Callable[[], Handler]) -> None:
        if stream in self._workers:
            return
        clients = WorkerClients.open(self._settings.redis_url)
        worker = Worker(
            clients=clients,
            stream=stream,
            group=keys.ORCHESTRATOR_GROUP,
            consumer=self._consumer,
            handler=handler(),
            settings=_worker_settings(self._settings),
            metrics=self._metrics,
            alone=self._alone,
        )
        self._workers[stream] = worker
        self._tasks.create_task(self._run(worker, clients), name=stream)

    async def _run(self, worker: Worker, clients: WorkerClients) -> None:
        try:
            await worker.run(self._stop)
        finally:
            await clients.aclose()


def _worker_settings(settings: OrchestratorSettings) -> WorkerSettings:
    return WorkerSettings(
        batch_max=settings.batch_max,
        batches_in_flight=settings.batches_in_flight,
        idle_ms=settings.reclaim_idle_ms,
        hold_max_ms=settings.hold_max_s * 1000,
        drain_timeout_ms=settings.drain_s * 1000,
    )
