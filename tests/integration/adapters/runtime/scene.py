"""The tests' bank, its slot of a real Valkey, and an adapter between them, in this process."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from adapters.runtime.http import open_session
from adapters.runtime.main import Adapter, wire
from adapters.runtime.psp import CallbackRules
from adapters.runtime.steps import Steps, pass_by
from shared.contracts import (
    Action,
    JobMessage,
    Kind,
    ResultMessage,
    job_envelope,
    read_envelope,
    read_result,
)
from shared.ids import intent_id
from shared.psp import FenceKind
from shared.sealing import KeyRing, seal
from shared.streams import group as calls
from shared.streams import keys, permits
from shared.streams.client import connect
from shared.streams.permits import PermitFor, Seen
from shared.streams.worker import WorkerClients
from tests.contract.psp.bank import Bank
from tests.contract.psp.bank_psp import PAYOUT, PSP, BankPsp, BankSettings, manifest_of
from tests.waiting import until

MESH_ID = "6f1f8a52-9f4f-4b5a-8c88-2f7c0a1f3c11"
EPOCH = f"{MESH_ID}:1"
RING_TEXT = "k2:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=,k1:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
RING = KeyRing.parse(RING_TEXT)
JOBS, RESULTS = keys.jobs(PSP), keys.results(PSP)
HOUR_MS = 3_600_000
PERSON = "0801234567"
QUICK: dict[str, Any] = {
    "concurrency": 8,
    "budget_s": 2.0,
    "call_timeout_s": 0.4,
    "lease_s": 0.3,
    "hold_max_s": 30,
    "block_ms": 30,
    "reclaim_idle_ms": 600,
    "retry_first_ms": 20,
    "retry_max_ms": 50,
    "watch_ms": 20,
    "breaker_open_ms_min": 300,
    "breaker_open_ms_max": 400,
    "environment": "test",
    "forward_test_scenario": True,
    "keyring_text": RING_TEXT,
}
"""Settings under which a test need not wait."""


def now_ms() -> int:
    """Return the wall clock, which Redis shares."""
    return time.time_ns() // 1_000_000


async def mark(client: Redis) -> None:
    """Mark the bank's slot as the mesh's."""
    await client.hset(keys.mesh(PSP), mapping={"id": MESH_ID, "epoch": "1"})


def a_job(*, scenario: str = "success", to: str = PERSON, age_ms: int = 0, **changes: Any) -> JobMessage:
    """Return a payout to somebody, under a reference of its own."""
    intent = str(intent_id(time.time_ns() // 1000, 0, random.getrandbits(38)))
    return JobMessage(
        **{
            "psp": PSP,
            "intent_id": intent,
            "attempt": 1,
            "operation": PAYOUT,
            "action": Action.SUBMIT,
            "reference": "".join(random.choices(manifest_of(FenceKind.NONE).reference.alphabet, k=15)),
            "amount_minor": 12_345,
            "currency": "THB",
            "created_ms": now_ms() - age_ms,
            "epoch": EPOCH,
            "destination": {"to": seal(RING, context=intent, field="to", text=to)},
            "test_scenario": scenario,
            **changes,
        }
    )


def asking(job: JobMessage, action: Action = Action.INQUIRE) -> JobMessage:
    """Return the inquiry about a job, as the poller makes it."""
    return job.model_copy(update={"action": action})


async def add(client: Redis, job: JobMessage, *, attempt: int = 0, **fields: bytes) -> bytes:
    """Put a job on the stream, past admission."""
    flat = job_envelope(job, attempt=attempt).fields() | {name.encode(): value for name, value in fields.items()}
    entry: bytes = await client.execute_command("XADD", JOBS, "*", *[word for pair in flat.items() for word in pair])
    return entry


async def told(client: Redis, job: JobMessage | None = None) -> list[tuple[str, ResultMessage]]:
    """Return what stands in the results, about one job or all, each with its kind."""
    rows = await client.execute_command("XRANGE", RESULTS, "-", "+")
    envelopes = [read_envelope(fields) for _, fields in rows]
    return [
        (envelope.kind, read_result(envelope)) for envelope in envelopes if job is None or envelope.id == job.intent_id
    ]


async def results_of(client: Redis, job: JobMessage, count: int = 1, *, timeout_s: float = 15) -> list[ResultMessage]:
    """Wait until so many results about a job stand there; return them."""

    async def enough() -> list[ResultMessage]:
        found = [result for kind, result in await told(client, job) if kind == Kind.RESULT]
        return found if len(found) >= count else []

    return await until(enough, f"{count} results", timeout_s=timeout_s)


async def result_of(client: Redis, job: JobMessage, *, timeout_s: float = 15) -> ResultMessage:
    """Wait for the one result of a job."""
    (result,) = await results_of(client, job, timeout_s=timeout_s)
    return result


def permit_for(job: JobMessage) -> PermitFor:
    """Return a job's permit."""
    key = keys.permit(job.psp, job.intent_id, job.attempt, job.operation)
    return PermitFor(key, job.created_ms, job.epoch)


async def permit(client: Redis, job: JobMessage) -> Seen:
    """Look at a job's permit."""
    return await permits.look(client, permit=permit_for(job))


async def drained(client: Redis) -> bool:
    """Say whether every job has been dealt with."""
    return not (await client.xlen(JOBS) or await client.zcard(keys.delay(JOBS)))


@dataclass
class Running:
    """An adapter at work."""

    adapter: Adapter
    registry: CollectorRegistry
    psp: BankPsp
    stop: asyncio.Event
    task: asyncio.Task[None]

    def counted(self, name: str, **labels: str) -> float:
        """Return a counter's value, summed over the labels not given."""
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def leave(self) -> None:
        """Ask it to stop, and wait until it has."""
        self.stop.set()
        await self.task


def settings_of(redis_url: str, bank: Bank, **changes: Any) -> BankSettings:
    """Return an adapter's settings."""
    return BankSettings(**{"redis_url": redis_url, "bank_url": bank.url, "bank_fence": bank.fence} | QUICK | changes)


@asynccontextmanager
async def running(
    redis_url: str,
    bank: Bank,
    *,
    steps: Steps = pass_by,
    verdicts: bool = True,
    callbacks: CallbackRules | None = None,
    **changes: Any,
) -> AsyncIterator[Running]:
    """Run an adapter of the bank until the block ends."""
    settings = settings_of(redis_url, bank, **changes)
    client, clients, registry = connect(redis_url), WorkerClients.open(redis_url), CollectorRegistry()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose)
        stack.push_async_callback(clients.aclose)
        await mark_group(client)
        session = await stack.enter_async_context(
            open_session(connections_max=64, timeout_s=settings.call_timeout_s, steps=steps)
        )
        manifest = manifest_of(bank.fence, job_ttl_s=settings.bank_job_ttl_s)
        psp = BankPsp(manifest, url=bank.url, session=session, callbacks=callbacks)
        adapter = wire(
            psp=psp,
            settings=settings,
            keyring=RING,
            client=client,
            clients=clients,
            registry=registry,
            steps=steps,
        )
        stop, ended = asyncio.Event(), asyncio.Event()
        keepers = [asyncio.create_task(adapter.conditions.watch(ended))]
        if verdicts:
            keepers.append(asyncio.create_task(adapter.verdicts.run(ended)))
        crew = Running(adapter, registry, psp, stop, asyncio.create_task(adapter.worker.run(stop)))
        try:
            yield crew
            if not crew.task.done():
                await crew.leave()
        finally:
            ended.set()
            crew.task.cancel()
            await asyncio.wait({crew.task, *keepers})
        await asyncio.gather(*keepers)


async def mark_group(client: Redis) -> None:
    """Create the job stream's group."""
    await calls.ensure_group(client, JOBS, keys.ADAPTER_GROUP)
