"""The gateway's composition root: reads the settings, opens the stores, wires the handlers, serves.

Several of these processes run side by side on one port. Stopping has an order: no longer ready, no new connections,
everybody who waits is answered with what is known, what is at the door is let through, and only then are the stores
let go.
"""

import asyncio
import gc
import json
import secrets
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from os import getpid
from typing import Final

import structlog
from aiohttp import web
from redis.asyncio import Redis

from gateway.accept import Door
from gateway.accounts import Accounts
from gateway.app import Edge, EdgeServer
from gateway.auth import Authenticator
from gateway.calls import Handler
from gateway.cancelling import Cancellations
from gateway.channels import Channels
from gateway.dry_runs import DryRuns
from gateway.events import Events, Streams
from gateway.intents import Intents
from gateway.keys import KeyRegister
from gateway.metrics import open_metrics
from gateway.openapi import openapi_document
from gateway.probes import Probes
from gateway.rates import Rates
from gateway.reads import Reads
from gateway.settings import GatewaySettings
from gateway.timeline import Timelines
from gateway.vitals import Vitals
from gateway.waiting import Hints
from shared import log, process
from shared.clock import new_intent_id
from shared.config import load
from shared.db.failures import database
from shared.db.notices import Notices
from shared.db.pool import Pool, close_pool, open_pool
from shared.mesh import verify
from shared.metrics import open_registry
from shared.rules.load import RuleRegister
from shared.sealing import KeyRing
from shared.streams.client import connect
from shared.streams.rate import RateLimit

STATEMENT_TIMEOUT_S: Final = 5.0
"""A client waits for every statement here; a slow answer is a wrong one."""
POINT_LOOK_UPS: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""Every read is by key, whatever the tables looked like when its plan was made."""
DRAIN_TIMEOUT_S: Final = 10.0
CANCEL_AGAIN_S: Final = 0.5
BACKLOG: Final = 1024
GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Requests leave hardly any cycles behind; looking for them every 700 objects costs a quarter of the processor."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """The open connections of one process."""

    pool: Pool
    redis: Redis
    listener: Redis


def new_instance() -> str:
    """Return a name for this process that no other has or will have."""
    return f"{socket.gethostname()}-{getpid()}-{secrets.token_hex(4)}"


async def open_stores(settings: GatewaySettings, stack: AsyncExitStack) -> Stores:
    """Open the connections; the stack closes them."""
    with database():
        pool = await open_pool(
            settings.database_url,
            max_size=settings.pool_max,
            application_name="paymesh-gateway",
            statement_timeout_s=STATEMENT_TIMEOUT_S,
            server_settings=POINT_LOOK_UPS,
        )
    stack.push_async_callback(close_pool, pool)
    redis = connect(settings.redis_url)
    stack.push_async_callback(redis.aclose)
    listener = connect(settings.redis_url, blocking=True, connections_max=2)
    stack.push_async_callback(listener.aclose)
    return Stores(pool, redis, listener)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A wired gateway: its server, and what keeps its knowledge fresh."""

    server: EdgeServer
    door: Door
    hints: Hints
    keys: KeyRegister
    vitals: Vitals
    channels: Channels
    rules: RuleRegister
    notices: Notices
    violation: "asyncio.Future[None]"
    """Fails with the first `InvariantViolation`, and the process with it."""


def wire(*, settings: GatewaySettings, stores: Stores, vitals: Vitals, ring: KeyRing, stop: asyncio.Event) -> Gateway:
    """Put the parts together; nothing is opened or started here."""
    registry = open_registry()
    metrics = open_metrics(registry)
    hints = Hints(client=stores.listener, instance=new_instance())
    keys = KeyRegister(pool=stores.pool, ring=ring, stale_max_s=settings.keys_stale_max_s)
    reads = Reads(stores.pool)
    authenticator = Authenticator(
        keys=keys,
        rates=Rates(
            client=stores.redis, default=RateLimit(settings.rate_requests, settings.rate_per_s), metrics=metrics
        ),
        trusted_proxies=settings.trusted_proxies,
        now_unix_s=time.time,
    )
    door = Door(
        client=stores.redis,
        vitals=vitals,
        metrics=metrics,
        replicas_min=settings.replicas_min,
        replica_timeout_ms=settings.replica_timeout_ms,
    )
    notices = Notices(url=settings.database_url, application_name="paymesh-gateway-notices")
    rules = RuleRegister(pool=stores.pool, notices=notices)
    channels = Channels(
        pool=stores.pool, redis=stores.redis, rules=rules, notices=notices, outbox_max=settings.outbox_max
    )
    intents = Intents(
        authenticator=authenticator,
        door=door,
        channels=channels,
        cancellations=Cancellations(stores.pool),
        hints=hints,
        reads=reads,
        redis=stores.redis,
        ring=ring,
        vitals=vitals,
        new_intent_id=new_intent_id,
        wait_max_s=settings.wait_max_s,
        test_scenarios=settings.environment != "production",
    )
    accounts = _accounts(intents, rules)
    probes = Probes(
        vitals=vitals,
        registry=registry,
        openapi=json.dumps(openapi_document(version=version("paymesh"))).encode(),
        stopping=stop.is_set,
    )
    events = Events(
        intents=intents,
        streams=Streams(streams_max=settings.event_streams_max, per_key_max=settings.event_streams_per_key_max),
    )
    dry_runs = DryRuns(intents=intents, rules=rules, reads=reads, new_intent_id=new_intent_id)
    timelines = Timelines(intents=intents, reads=reads, redis=stores.redis)
    violation: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    edge = Edge(
        handlers=handlers(
            intents=intents, events=events, timelines=timelines, dry_runs=dry_runs, accounts=accounts, probes=probes
        ),
        metrics=metrics,
        on_violation=lambda error: None if violation.done() else violation.set_exception(error),
    )
    return Gateway(EdgeServer(edge), door, hints, keys, vitals, channels, rules, notices, violation)


def _accounts(intents: Intents, rules: RuleRegister) -> Accounts:
    """Return the handlers of accounts, which come in by the same door as intents."""
    return Accounts(
        authenticator=intents.authenticator,
        door=intents.door,
        hints=intents.hints,
        reads=intents.reads,
        ring=intents.ring,
        rules=rules,
        vitals=intents.vitals,
        new_intent_id=intents.new_intent_id,
        wait_max_s=intents.wait_max_s,
    )


def handlers(
    *, intents: Intents, events: Events, timelines: Timelines, dry_runs: DryRuns, accounts: Accounts, probes: Probes
) -> dict[str, Handler]:
    """Return the handler of each route by its name."""
    return {
        "post_intent": intents.post,
        "get_intent": intents.get,
        "cancel_intent": intents.cancel,
        "follow_intent": events.follow,
        "get_timeline": timelines.read,
        "open_account": accounts.open,
        "get_balance": accounts.balance,
        "get_history": accounts.history,
        "get_limits": accounts.limits,
        "dry_run": dry_runs.answer,
        "livez": probes.livez,
        "readyz": probes.readyz,
        "metrics": probes.metrics,
        "openapi": probes.document,
    }


async def serve(
    settings: GatewaySettings,
    stop: asyncio.Event,
    tasks: asyncio.TaskGroup,
    *,
    listening: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve until `stop`; `listening` is told the port once requests are welcome.

    Raises:
        StoreMismatch: the stores do not belong together.
        Transient, OutcomeUnknown: a store is out of reach at the start.
    """
    async with AsyncExitStack() as stack:
        stores = await open_stores(settings, stack)
        vitals = Vitals(
            pool=stores.pool,
            redis=stores.redis,
            identity=await verify(pool=stores.pool, redis=stores.redis, ledger=None, ledger_kind=None),
            length_max=settings.admission_limit,
            dedupe_ttl_s=settings.dedupe_ttl_s,
        )
        gateway = wire(settings=settings, stores=stores, vitals=vitals, ring=settings.keyring(), stop=stop)
        await gateway.keys.refresh()
        await gateway.vitals.look()
        await gateway.rules.refresh()
        await gateway.channels.look()
        loops = [
            tasks.create_task(gateway.hints.run()),
            tasks.create_task(gateway.keys.run(stop)),
            tasks.create_task(gateway.vitals.run(stop)),
            tasks.create_task(gateway.channels.run(stop)),
            tasks.create_task(gateway.rules.run(stop)),
            tasks.create_task(gateway.notices.run(stop)),
            tasks.create_task(_fail_with(gateway.violation)),
        ]
        await _listen(gateway, settings, stop, listening)
        await _end(loops)


async def _listen(
    gateway: Gateway, settings: GatewaySettings, stop: asyncio.Event, listening: Callable[[int], None]
) -> None:
    runner = web.ServerRunner(gateway.server, handle_signals=False, shutdown_timeout=DRAIN_TIMEOUT_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG, reuse_port=True)
        await site.start()
        port = int(runner.addresses[0][1])
        _log.info("listening", host=settings.host, port=port, instance=gateway.hints.instance)
        listening(port)
        await stop.wait()
    finally:
        gateway.hints.close()
        await runner.cleanup()
        await gateway.door.drain()
    _log.info("stopped", instance=gateway.hints.instance)


async def _end(loops: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel until they have ended: a library may swallow a cancellation that comes together with its result."""
    pending = set(loops)
    while pending:
        for loop in pending:
            loop.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)


async def _fail_with(violation: "asyncio.Future[None]") -> None:
    await violation


async def main(stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
    """Run the gateway of this environment."""
    settings = load(GatewaySettings)
    log.configure("gateway", mode=settings.log, level=settings.log_level)
    await serve(settings, stop, tasks, listening=_settle_memory)


def _settle_memory(_port: int) -> None:
    """Take what start-up has made out of the collector's sight."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


if __name__ == "__main__":
    sys.exit(process.run(main))
