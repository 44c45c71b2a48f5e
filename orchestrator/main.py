"""The orchestrator process: the one place that reads its settings and opens its connections.

::

    intents.{iN} → Intake ─┬→ CarryOut → ledger, log          results.{psp} → Results → resolutions, ledger, log
                           └→ outbox → Relay → jobs.{psp}     Poller → jobs.{psp}, results.{psp}
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from orchestrator.accounts import OpenAccounts, open_beneficiaries
from orchestrator.carry_out import CarryOut
from orchestrator.intake import Intake
from orchestrator.metrics import IntakeMetrics, ResultMetrics
from orchestrator.outbound_metrics import OutboundMetrics
from orchestrator.poller import Poller
from orchestrator.psp_register import PspRegister
from orchestrator.relay import Relay
from orchestrator.results import Results
from orchestrator.settings import OrchestratorSettings
from orchestrator.workers import Workers
from shared import log, process
from shared.clock import new_intent_id
from shared.config import load
from shared.db.notices import Notices
from shared.db.pool import Pool, close_pool, open_pool
from shared.health import Check, Health, serve_health
from shared.ledger.mesh_mark import TickingLedger
from shared.ledger.open import open_ledger
from shared.ledger.port import Ledger
from shared.mesh import MeshIdentity, verify
from shared.metrics import open_registry
from shared.rules.load import RuleRegister
from shared.streams.client import connect
from shared.streams.feed import publish
from shared.streams.metrics import StreamMetrics
from shared.streams.permits import Replicas

_log = structlog.get_logger(__name__)

# Every query of the pipeline is a look-up by key, and says so by `= ANY` or by LATERAL. A plan made while the tables
# were empty must not become a sequential scan when they are full. Hash joins stay: they join a batch with itself.
_POINT_LOOK_UPS = {"enable_seqscan": "off", "enable_mergejoin": "off", "jit": "off"}


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
    metrics = OutboundMetrics(registry)
    psps = PspRegister(
        pool=pool,
        redis=redis,
        epoch=mesh.token,
        poll_s=settings.psps_poll_s,
        outbox_max=settings.outbox_max,
        metrics=metrics,
    )
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


def _results(
    pool: Pool, ledger: Ledger, carry_out: CarryOut, outbound: Outbound, metrics: ResultMetrics, psp: str
) -> Results:
    return Results(
        psp=psp,
        pool=pool,
        ledger=ledger,
        carry_out=carry_out,
        manifest=outbound.psps.manifest,
        new_id=new_intent_id,
        metrics=metrics,
        poke=outbound.poller.poke,
    )


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
        known = OpenAccounts(pool=pool)
        notices = Notices(url=settings.database_url, application_name="paymesh-orchestrator-notices")
        rules = RuleRegister(pool=pool, notices=notices, prepare=partial(open_beneficiaries, pool, ledger, known))
        await rules.refresh()
        outbound = _outbound(settings, pool, redis, mesh, registry)
        await outbound.psps.refresh()
        carry_out = CarryOut(
            pool=pool,
            ledger=ledger,
            metrics=IntakeMetrics(registry),
            epoch=outbound.psps.epoch_for,
            manifest=outbound.psps.manifest,
            poke=outbound.relay.poke,
        )
        intake = Intake(
            pool=pool,
            ledger=ledger,
            rules=rules,
            channels=outbound.psps,
            known=known,
            carry_out=carry_out,
            tell=partial(publish, redis),
        )
        results = partial(_results, pool, ledger, carry_out, outbound, ResultMetrics(registry))
        async with asyncio.TaskGroup() as tasks:
            workers = Workers(
                settings=settings,
                pool=pool,
                intake=intake,
                results=results,
                psps=lambda: outbound.psps.psps,
                metrics=StreamMetrics(registry),
                stop=stop,
                tasks=tasks,
            )
            checks: dict[str, Check] = {"postgres": lambda: pool.fetchval("SELECT 1"), "redis": redis.ping}
            health = Health(registry, lambda: workers.healthy, checks)
            async with AsyncExitStack() as stack:
                if settings.health_port:
                    await stack.enter_async_context(serve_health(health, port=settings.health_port))
                workers.read(mesh.partitions)
                tasks.create_task(notices.run(stop), name="notices")
                tasks.create_task(rules.run(stop), name="rules")
                tasks.create_task(workers.watch(), name="workers")
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
