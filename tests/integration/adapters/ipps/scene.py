"""IPPS's sandbox, its slot of a real Valkey, and the whole IPPS adapter between them, in this process."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, TCPConnector
from pydantic import SecretStr
from redis.asyncio import Redis

from adapters.ipps.callbacks import PATH
from adapters.ipps.emvco import encode
from adapters.ipps.main import open_ipps
from adapters.ipps.manifest import MANIFEST, PSP, QR_PAY, WITHDRAWAL
from adapters.ipps.payees import Bill
from adapters.ipps.settings import IppsSettings
from adapters.runtime.main import serve
from adapters.sandbox.client import SandboxControl
from adapters.sandbox.ipps.api import PROFILE, build
from adapters.sandbox.serve import open_sandbox
from adapters.sandbox.settings import SandboxSettings
from adapters.sandbox.terms import SubmitFence
from ops.embedded.ports import leased_ports
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
from shared.streams import group, keys, permits
from shared.streams.permits import PermitFor, PermitState
from tests.waiting import until

MESH_ID = "6f1f8a52-9f4f-4b5a-8c88-2f7c0a1f3c11"
RING_TEXT = "k2:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=,k1:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
RING = KeyRing.parse(RING_TEXT)
JOBS, RESULTS = keys.jobs(PSP), keys.results(PSP)
API_KEY, SECRET, OLDER_SECRET = "key-of-the-tests", "callback-secret-of-the-tests", "callback-secret-of-last-year"
AMOUNT = 12_345
MOBILE, NAME, COMMENT = "080-123-4567", "Somchai Prasert", "rent for May"
TO_MOBILE = {"proxy_type": "MOBILE", "proxy": MOBILE, "recipient_name": NAME, "comment": COMMENT}
BILL = Bill("099400016550100", "CUSTOMER77", "INVOICE42")
PLAIN = {"proxy_type", "bank_code"}
LOOKUP_TTL_S = 2
FENCES = list(FenceKind)
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
    "lookup_ttl_s": LOOKUP_TTL_S,
    "fence_margin_s": 1,
    "callback_host": "127.0.0.1",
    "callback_networks": "127.0.0.0/8",
    "callback_secrets": f"{OLDER_SECRET},{SECRET}",
    "api_key": API_KEY,
}
"""Settings under which a test need not wait."""


def a_job(destination: Mapping[str, str] | None = None, *, scenario: str | None = None, **changes: Any) -> JobMessage:
    """Return a withdrawal, or the payment of a code where the destination is one, under a reference of its own."""
    intent = str(intent_id(time.time_ns() // 1000, 0, random.getrandbits(38)))
    opened = dict(destination or TO_MOBILE)
    sealed = {
        name: text if name in PLAIN else seal(RING, context=intent, field=name, text=text)
        for name, text in opened.items()
    }
    return JobMessage(
        **{
            "psp": PSP,
            "intent_id": intent,
            "attempt": 1,
            "operation": QR_PAY if "qr" in opened else WITHDRAWAL,
            "action": Action.SUBMIT,
            "reference": "".join(random.choices(MANIFEST.reference.alphabet, k=MANIFEST.reference.length)),
            "amount_minor": AMOUNT,
            "currency": "THB",
            "created_ms": time.time_ns() // 1_000_000,
            "epoch": f"{MESH_ID}:1",
            "destination": sealed,
            "test_scenario": scenario,
            **changes,
        }
    )


def to_code(amount_satang: int | None = AMOUNT) -> dict[str, str]:
    """Return the destination of a bill's code."""
    return {"qr": encode(BILL, amount_satang=amount_satang), "comment": COMMENT}


@dataclass
class World:
    """A sandbox, and Redis on the other side of the adapter that calls it."""

    control: SandboxControl
    client: Redis
    http: ClientSession
    callback_url: str
    variables: Mapping[str, Any]
    """The settings of an adapter that fits."""

    async def add(self, job: JobMessage) -> JobMessage:
        """Put a job on the stream, past admission."""
        flat = job_envelope(job).fields()
        await self.client.execute_command("XADD", JOBS, "*", *[word for pair in flat.items() for word in pair])
        return job

    async def told(self, job: JobMessage) -> list[tuple[str, ResultMessage]]:
        """Return what stands in the results about a job, callbacks included, each with its kind."""
        rows = await self.client.execute_command("XRANGE", RESULTS, "-", "+")
        envelopes = [read_envelope(fields) for _, fields in rows]
        read = [(envelope.kind, read_result(envelope)) for envelope in envelopes]
        return [(kind, result) for kind, result in read if result.reference == job.reference]

    async def result(self, job: JobMessage, number: int = 1) -> ResultMessage:
        """Wait for a job's result, or the one of so many that comes last; there must not be more."""

        async def enough() -> list[ResultMessage]:
            found = [result for kind, result in await self.told(job) if kind == Kind.RESULT]
            return found if len(found) >= number else []

        results = await until(enough, f"{number} results", timeout_s=15)
        assert len(results) == number
        return results[-1]

    async def observations(self, job: JobMessage, number: int = 1) -> list[ResultMessage]:
        """Wait for so many observations about a job."""

        async def enough() -> list[ResultMessage]:
            found = [result for kind, result in await self.told(job) if kind == Kind.OBSERVATION]
            return found if len(found) >= number else []

        return await until(enough, f"{number} observations", timeout_s=15)

    async def carried_out(self, job: JobMessage) -> ResultMessage:
        """Add a job and wait for its result."""
        return await self.result(await self.add(job))

    async def asked(self, job: JobMessage, number: int = 2) -> ResultMessage:
        """Ask about a job as the poller does; return the result, the so-many-th of the job."""
        await self.add(job.model_copy(update={"action": Action.INQUIRE}))
        return await self.result(job, number)

    async def payouts(self, job: JobMessage) -> int:
        """Return how often the PSP's books say that it was paid."""
        return int((await self.control.books(job.reference))["payouts"])

    async def calls(self) -> list[str]:
        """Return what the sandbox was asked to do, in order."""
        return [call["operation"] for call in await self.control.calls()]

    async def permit(self, job: JobMessage) -> PermitState:
        """Return how the job's permit stands."""
        key = keys.permit(job.psp, job.intent_id, job.attempt, job.operation)
        return (await permits.look(self.client, permit=PermitFor(key, job.created_ms, job.epoch))).state


@asynccontextmanager
async def open_psp(redis_url: str, fence: FenceKind = FenceKind.RESUBMIT) -> AsyncIterator[World]:
    """Run a sandbox with that fence; nobody calls it yet."""
    async with AsyncExitStack() as stack:
        ports = stack.enter_context(leased_ports(["callbacks", "api"]))
        callback_url = f"http://127.0.0.1:{ports['callbacks']}{PATH}"
        dealt = SandboxSettings(
            port=ports["api"],
            api_key=SecretStr(API_KEY),
            callback_url=callback_url,
            callback_secret=SecretStr(SECRET),
            callback_retry_ms=10,
            submit_fence=SubmitFence(fence),
            lookup_ttl_ms=LOOKUP_TTL_S * 1000,
        )
        client = await stack.enter_async_context(Redis.from_url(redis_url))
        await client.hset(keys.mesh(PSP), mapping={"id": MESH_ID, "epoch": "1"})
        await group.ensure_group(client, JOBS, keys.ADAPTER_GROUP)
        sandbox = await stack.enter_async_context(open_sandbox(PROFILE, build, dealt))
        http = await stack.enter_async_context(ClientSession(connector=TCPConnector(force_close=True)))
        control = SandboxControl(http=http, control_url=sandbox.control_url)
        variables = QUICK | {
            "redis_url": redis_url,
            "base_url": sandbox.url,
            "submit_fence": fence,
            "callback_port": ports["callbacks"],
        }
        yield World(control, client, http, callback_url, variables)


@asynccontextmanager
async def open_world(redis_url: str, fence: FenceKind = FenceKind.RESUBMIT, **changes: Any) -> AsyncIterator[World]:
    """Run a sandbox with that fence and the adapter's whole process, but for its signals, until the block ends."""
    async with open_psp(redis_url, fence) as world:
        settings = IppsSettings(**{**world.variables, **changes})
        stop = asyncio.Event()
        adapter = asyncio.create_task(serve(settings, open_ipps, stop))
        try:
            yield world
        finally:
            stop.set()
            await adapter
