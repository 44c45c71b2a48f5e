"""The reconciler process: the one place that reads its settings and opens its connections.

Several may run at once; everything it does may be done twice.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.asyncio import Redis
from redis.exceptions import RedisError

from reconciler.account_map import fixed
from reconciler.breaks import open_breaks
from reconciler.catch_up import CatchUp
from reconciler.consumers import groups, retire_silent
from reconciler.dead_letters import Pause, sweep_dead_letters
from reconciler.metrics import ReconciliationMetrics
from reconciler.reconcile import Pace, Reconciliation
from reconciler.reports.rounds import ReportRounds
from reconciler.settings import ReconcilerSettings
from reconciler.settlement.rounds import SettlementRounds
from reconciler.status import read_status
from reconciler.stuck import resume, take_stuck
from reconciler.upkeep import (
    create_partitions,
    prune_keys,
    prune_limits,
    prune_lines,
    prune_outbox,
    prune_results,
    prune_velocity,
)
from shared import log, process
from shared.clock import wall_ms
from shared.config import load
from shared.db.failures import database
from shared.db.pool import Pool, close_pool, open_pool
from shared.errors import OutcomeUnknown, Transient
from shared.health import Check, Health, serve_health
from shared.ids import is_intent_id
from shared.ledger.mesh_mark import TickingLedger
from shared.ledger.open import open_ledger
from shared.ledger.port import Ledger
from shared.mesh import TICK_S, tick, verify
from shared.metrics import open_registry
from shared.streams import keys
from shared.streams.client import connect, refused, unreachable
from shared.streams.permits import Replicas

_CATCH_UP_S = 2.0
_NICE = 10
"""What is reconciled can wait; who pays on the same machine goes first."""
_log = structlog.get_logger(__name__)


class Comparisons:
    """The rounds of reconciliation, and what is said of them."""

    def __init__(
        self, *, settings: ReconcilerSettings, pool: Pool, ledger: Ledger, registry: CollectorRegistry
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._metrics = ReconciliationMetrics(registry)
        self._reconciliation = Reconciliation(
            ledger=ledger,
            pool=pool,
            pace=Pace(
                settle_s=settings.reconcile_settle_s,
                grace_s=settings.reconcile_grace_s,
                share=settings.reconcile_share,
                stale_s=settings.reconcile_stale_s,
                job_s=settings.reconcile_job_s,
            ),
        )
        self._begun = False

    async def round(self) -> None:
        """Compare what is new, and say how things stand; before the first round, every account of the house."""
        if not self._begun:
            await self._verify_fixed()
            self._begun = True
        found = await self._reconciliation.round()
        if found is not None:
            self._metrics.round(found)
            if found.opened or found.closed:
                _log.warning("breaks_changed", opened=found.opened, closed=found.closed)
        self._metrics.status(await read_status(self._pool, self._reconciliation.walks))

    async def _verify_fixed(self) -> None:
        wrong, count = await fixed(self._ledger, self._pool)
        noted = await open_breaks(self._pool, wrong)
        if wrong:
            _log.error("fixed_accounts_wrong", wrong=len(wrong), opened=len(noted.opened), one=wrong[0].subject)
        _log.info("fixed_accounts_verified", accounts=count)


class Sweeps:
    """The reconciler's rounds over real stores, and what they count."""

    def __init__(
        self, *, settings: ReconcilerSettings, pool: Pool, redis: Redis, ledger: Ledger, registry: CollectorRegistry
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._redis = redis
        self._mark = TickingLedger(ledger)
        self._pause = Pause(settings.redrive_first_s, settings.redrive_max_s)
        self._redriven = Counter("paymesh_dead_letters_redriven", "Dead letters put back.", registry=registry)
        self._resumed = Counter("paymesh_intents_resumed", "Stuck intents resumed.", registry=registry)
        self._for_people = Gauge(
            "paymesh_dead_letters_for_people", "Dead letters that wait for an operator.", registry=registry
        )

    async def tick(self) -> None:
        """Advance the mesh's counter in all three stores."""
        await tick(pool=self._pool, redis=self._redis, ledger=self._mark)

    async def sweep(self) -> None:
        """Put back dead letters that have rested, and resume intents that are stuck."""
        for_people = 0
        quarantined: set[UUID] = set()
        for partition in range(await self._partitions()):
            swept = await sweep_dead_letters(
                self._redis, keys.intents(partition), now_ms=time.time_ns() // 1_000_000, pause=self._pause
            )
            for_people += swept.for_people
            quarantined |= {UUID(text) for text in swept.quarantined if is_intent_id(text)}
            if swept.redriven:
                self._redriven.inc(swept.redriven)
                _log.warning("dead_letters_redriven", partition=partition, redriven=swept.redriven)
        self._for_people.set(for_people)
        stuck = await take_stuck(self._pool, after_s=self._settings.stuck_after_s, quarantined=quarantined)
        if stuck:
            resumed = await resume(self._redis, stuck, reason="stuck")
            self._resumed.inc(resumed)
            _log.warning("stuck_intents_resumed", stuck=len(stuck), resumed=resumed, one=str(stuck[0]))

    async def upkeep(self) -> None:
        """Create partitions, prune what is out of its window, and forget consumers that are gone and idle."""
        created = await create_partitions(self._pool)
        window_days = self._settings.window_days
        pruned = {
            "keys": await prune_keys(self._pool, retention_days=self._settings.key_retention_days),
            "jobs": await prune_outbox(self._pool, window_days=window_days),
            "results": await prune_results(self._pool, window_days=window_days),
            "settlement_lines": await prune_lines(self._pool, window_days=window_days),
            "attempts": await prune_velocity(self._pool, window_days=window_days),
            "allowances": await prune_limits(self._pool, window_days=window_days),
        }
        retired = 0
        for stream, group in groups(await self._partitions(), await self._psps()):
            retired += await retire_silent(self._redis, stream, group)
        _log.info(
            "upkeep_done",
            partitions_created=created,
            consumers_retired=retired,
            **{f"{what}_pruned": count for what, count in pruned.items()},
        )

    async def _partitions(self) -> int:
        with database():
            count: int = await self._pool.fetchval("SELECT partitions FROM pm.mesh")
        return count

    async def _psps(self) -> list[str]:
        with database():
            rows = await self._pool.fetch("SELECT psp FROM pm.psp ORDER BY psp")
        return [row["psp"] for row in rows]


async def every(period_s: float, name: str, job: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    """Do a job now and every `period_s` until `stop`; a store out of reach costs one round, else the process ends."""
    while not stop.is_set():
        try:
            await job()
        except (Transient, OutcomeUnknown) as error:
            _log.warning("round_skipped", round=name, error=error.code)
        except (RedisError, OSError) as error:
            if not (unreachable(error) or refused(error)):
                raise
            _log.warning("round_skipped", round=name, error=type(error).__name__)
        try:
            await asyncio.wait_for(stop.wait(), period_s)
        except TimeoutError:
            continue


@asynccontextmanager
async def _stores(settings: ReconcilerSettings) -> AsyncIterator[tuple[Pool, Redis, Ledger]]:
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings.database_url, max_size=6, application_name="paymesh-reconciler")
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


def _settlement(
    settings: ReconcilerSettings, pool: Pool, redis: Redis, registry: CollectorRegistry
) -> list[tuple[float, str, Callable[[], Awaitable[object]]]]:
    """Return the rounds over settlement files, each with its period and name."""
    rounds = SettlementRounds(
        pool=pool,
        redis=redis,
        sources=settings.settlement_sources,
        # Without sources nothing is copied.
        spool=settings.settlement_spool or Path(),
        now_ms=wall_ms,
        registry=registry,
        replicas=Replicas(settings.replicas_min, settings.replicas_timeout_ms),
    )
    return [
        (settings.settlement_s, "settlement_files", rounds.files),
        (settings.settlement_words_s, "settlement_words", rounds.words),
        (settings.settlement_words_s, "settlement_due", rounds.due),
    ]


async def serve(settings: ReconcilerSettings, stop: asyncio.Event) -> None:
    """Run a reconciler until `stop` is set."""
    registry = open_registry()
    async with _stores(settings) as (pool, redis, ledger):
        mesh = await verify(pool=pool, redis=redis, ledger=TickingLedger(ledger), ledger_kind=settings.ledger_kind)
        sweeps = Sweeps(settings=settings, pool=pool, redis=redis, ledger=ledger, registry=registry)
        comparisons = Comparisons(settings=settings, pool=pool, ledger=ledger, registry=registry)
        catch_up = CatchUp(pool=pool, ledger=ledger)
        reports = ReportRounds(pool=pool, ledger=ledger, registry=registry, share=settings.reconcile_share)
        checks: dict[str, Check] = {"postgres": lambda: pool.fetchval("SELECT 1"), "redis": redis.ping}
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            if settings.health_port:
                health = Health(registry, checks=checks)
                await stack.enter_async_context(serve_health(health, port=settings.health_port))
            tasks.create_task(every(TICK_S, "tick", sweeps.tick, stop), name="tick")
            tasks.create_task(every(_CATCH_UP_S, "catch_up", catch_up.round, stop), name="catch_up")
            tasks.create_task(every(settings.reconcile_s, "reconcile", comparisons.round, stop), name="reconcile")
            tasks.create_task(every(settings.digest_s, "digest", reports.digest, stop), name="digest")
            tasks.create_task(every(settings.report_s, "report", reports.keep, stop), name="report")
            tasks.create_task(every(settings.sweep_s, "sweep", sweeps.sweep, stop), name="sweep")
            tasks.create_task(every(settings.upkeep_s, "upkeep", sweeps.upkeep, stop), name="upkeep")
            for period_s, name, job in _settlement(settings, pool, redis, registry):
                tasks.create_task(every(period_s, name, job, stop), name=name)
            _log.info("reconciler_ready", mesh=str(mesh.id), epoch=mesh.epoch)


def main() -> int:
    """Run the process; see `shared.process` for the exit codes."""
    os.nice(_NICE)

    async def wired(stop: asyncio.Event, _tasks: asyncio.TaskGroup) -> None:
        settings = load(ReconcilerSettings)
        log.configure("reconciler", mode=settings.log, level=settings.log_level)
        await serve(settings, stop)

    return process.run(wired)


if __name__ == "__main__":
    sys.exit(main())
