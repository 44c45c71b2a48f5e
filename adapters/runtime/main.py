"""Composition of an adapter process: what a PSP's own `main.py` calls, and the one place where all of it is wired.

::

    jobs.{psp} → Worker → JobHandler → Submission | Inquiry → Psp ─HTTP→ the PSP
                   │                                                        │
                   └──────────── results.{psp} ←── Receiver ←──callbacks────┘

A PSP's main reads ``return run_adapter(IppsSettings, open_ipps)``, where `open_ipps` is an asynchronous context manager
that takes the settings and a session-opener and gives the `Psp`. This module must never open a database.
"""

import asyncio
import os
import random
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog
from aiohttp import ClientSession, web
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from adapters.runtime.callbacks import Receiver
from adapters.runtime.calls import Calls
from adapters.runtime.conditions import Conditions
from adapters.runtime.dead_letters import Verdicts
from adapters.runtime.handler import JobHandler, JobLimits
from adapters.runtime.http import open_session
from adapters.runtime.inquiry import Inquiry
from adapters.runtime.metrics import AdapterMetrics
from adapters.runtime.psp import Psp
from adapters.runtime.settings import AdapterSettings
from adapters.runtime.steps import Steps, pass_by, paused_by
from adapters.runtime.submission import Pace, Submission
from adapters.runtime.work import Teller
from shared import log, process
from shared.clock import wall_ms
from shared.config import load
from shared.errors import Misconfigured
from shared.health import Check, Health, serve_health
from shared.metrics import open_registry
from shared.psp import check_manifest
from shared.sealing import KeyRing
from shared.streams import keys
from shared.streams.breaker import BreakerRules
from shared.streams.client import connect
from shared.streams.metrics import StreamMetrics
from shared.streams.permits import Replicas
from shared.streams.verdicts import Member
from shared.streams.worker import Worker, WorkerClients, WorkerSettings

SettingsT = TypeVar("SettingsT", bound=AdapterSettings)
Opener = Callable[[SettingsT, ClientSession], AbstractAsyncContextManager[Psp]]
"""Makes a PSP out of its settings and an HTTP session that is closed after it."""

_VERDICTS_PAUSE_S = 1.0
_BUDGET_KEPT = 4
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Adapter:
    """Everything that one process runs for its PSP."""

    worker: Worker
    conditions: Conditions
    verdicts: Verdicts
    receiver: Receiver | None


def consumer_name(psp: str) -> str:
    """Return a name that no other process has, or will have."""
    return f"adapter-{psp}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def wire(
    *,
    psp: Psp,
    settings: AdapterSettings,
    keyring: KeyRing,
    client: Redis,
    clients: WorkerClients,
    registry: CollectorRegistry,
    steps: Steps = pass_by,
    jitter: Callable[[], float] = random.random,
) -> Adapter:
    """Put an adapter together."""
    manifest = check_manifest(psp.manifest)
    member = Member(keys.jobs(manifest.psp), keys.ADAPTER_GROUP, consumer_name(manifest.psp))
    metrics = AdapterMetrics(registry)
    replicas = Replicas(settings.replicas_min, settings.replicas_timeout_ms)
    teller = Teller(manifest, wall_ms)
    conditions = _conditions(manifest.psp, settings, client, metrics, jitter)
    keep_s = settings.budget_s / _BUDGET_KEPT
    calls = Calls(psp=psp, conditions=conditions, metrics=metrics, timeout_s=settings.call_timeout_s, keep_s=keep_s)
    inquiry = Inquiry(
        client=client,
        manifest=manifest,
        calls=calls,
        teller=teller,
        replicas=replicas,
        lease_s=settings.lease_s,
        steps=steps,
    )
    submission = Submission(
        client=client,
        member=member,
        manifest=manifest,
        calls=calls,
        conditions=conditions,
        inquiry=inquiry,
        teller=teller,
        metrics=metrics,
        replicas=replicas,
        lease_s=settings.lease_s,
        pace=Pace(settings.retry_first_ms, settings.retry_max_ms),
        steps=steps,
    )
    handler = JobHandler(
        manifest=manifest,
        consumer=member.consumer,
        keyring=keyring,
        submission=submission,
        inquiry=inquiry,
        metrics=metrics,
        limits=JobLimits(settings.budget_s, settings.tries, settings.forward_test_scenario, jitter),
        steps=steps,
    )
    worker = Worker(
        clients=clients,
        stream=member.stream,
        group=member.group,
        consumer=member.consumer,
        handler=handler,
        settings=worker_settings(settings),
        metrics=StreamMetrics(registry),
        gate=conditions.gate,
        jitter=jitter,
    )
    verdicts = Verdicts(
        client=client, psp=manifest.psp, teller=teller, replicas=replicas, metrics=metrics, pause_s=_VERDICTS_PAUSE_S
    )
    return Adapter(worker, conditions, verdicts, _receiver(psp, settings, keyring, client, teller, replicas, metrics))


def _conditions(
    psp: str, settings: AdapterSettings, client: Redis, metrics: AdapterMetrics, jitter: Callable[[], float]
) -> Conditions:
    rules = BreakerRules(open_ms_min=settings.breaker_open_ms_min, open_ms_max=settings.breaker_open_ms_max)
    return Conditions(
        client=client,
        psp=psp,
        results_max=settings.results_max,
        watch_ms=settings.watch_ms,
        rules=rules,
        metrics=metrics,
        jitter=jitter,
    )


def worker_settings(settings: AdapterSettings) -> WorkerSettings:
    """Return the limits of an adapter's worker: one job a time per slot, and as many slots as the bulkhead has."""
    return WorkerSettings(
        batch_max=1,
        batches_in_flight=settings.concurrency,
        idle_ms=settings.reclaim_idle_ms,
        hold_max_ms=settings.hold_max_s * 1000,
        block_ms=settings.block_ms,
        drain_timeout_ms=settings.drain_s * 1000,
    )


def _receiver(
    psp: Psp,
    settings: AdapterSettings,
    keyring: KeyRing,
    client: Redis,
    teller: Teller,
    replicas: Replicas,
    metrics: AdapterMetrics,
) -> Receiver | None:
    rules = psp.callbacks
    if rules is None or not settings.callback_port:
        return None
    if not rules.secrets:
        raise Misconfigured("callbacks are received without a secret to verify them by")
    return Receiver(
        client=client,
        psp=psp,
        rules=rules,
        keyring=keyring,
        teller=teller,
        replicas=replicas,
        metrics=metrics,
        proxies=settings.callback_proxies.split(","),
        clock_ms=wall_ms,
    )


@asynccontextmanager
async def _served(receiver: Receiver, *, host: str, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(receiver.application(), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


async def serve(settings: SettingsT, opener: Opener[SettingsT], stop: asyncio.Event) -> None:
    """Run an adapter until `stop` is set and what it holds has been drained or handed back."""
    registry = open_registry()
    keyring = settings.keyring()
    steps = pass_by if settings.pause_file is None else paused_by(settings.pause_file)
    async with AsyncExitStack() as stack:
        client = connect(settings.redis_url, connections_max=2 * settings.concurrency)
        stack.push_async_callback(client.aclose)
        clients = WorkerClients.open(settings.redis_url)
        stack.push_async_callback(clients.aclose)
        session = await stack.enter_async_context(
            open_session(connections_max=2 * settings.concurrency, timeout_s=settings.call_timeout_s, steps=steps)
        )
        psp = await stack.enter_async_context(opener(settings, session))
        adapter = wire(
            psp=psp,
            settings=settings,
            keyring=keyring,
            client=client,
            clients=clients,
            registry=registry,
            steps=steps,
        )
        await _run(adapter, settings, client, registry, stop, stack)


async def _run(
    adapter: Adapter,
    settings: AdapterSettings,
    client: Redis,
    registry: CollectorRegistry,
    stop: asyncio.Event,
    stack: AsyncExitStack,
) -> None:
    checks: dict[str, Check] = {"redis": client.ping, "conditions": adapter.conditions.check}
    if settings.health_port:
        health = Health(registry, lambda: adapter.worker.healthy, checks)
        await stack.enter_async_context(serve_health(health, port=settings.health_port))
    if adapter.receiver is not None:
        await stack.enter_async_context(
            _served(adapter.receiver, host=settings.callback_host, port=settings.callback_port)
        )
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        # These two go on while the worker drains.
        tasks.create_task(adapter.conditions.watch(ended), name="conditions")
        tasks.create_task(adapter.verdicts.run(ended), name="verdicts")
        _log.info("adapter_ready")
        await adapter.worker.run(stop)
        ended.set()


def run_adapter(settings: type[SettingsT], opener: Opener[SettingsT], *, name: str) -> int:
    """Run the process; see `shared.process` for the exit codes."""

    async def wired(stop: asyncio.Event, _tasks: asyncio.TaskGroup) -> None:
        loaded = load(settings)
        log.configure(f"adapter-{name}", mode=loaded.log, level=loaded.log_level)
        await serve(loaded, opener, stop)

    return process.run(wired)
