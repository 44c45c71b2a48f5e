"""QP's sandbox, its slot of a real Valkey, and its adapter between them, callbacks included."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis

from adapters.qp import callbacks
from adapters.qp.main import open_qp
from adapters.qp.manifest import MANIFEST, TOPUP
from adapters.qp.settings import QpSettings
from adapters.runtime.http import open_session
from adapters.runtime.main import wire
from adapters.sandbox.client import SandboxControl
from adapters.sandbox.qp.api import PROFILE, build
from adapters.sandbox.serve import open_sandbox
from adapters.sandbox.settings import SandboxSettings
from ops.embedded.ports import leased_port
from shared.contracts import (
    Action,
    JobMessage,
    Kind,
    Outcome,
    ResultMessage,
    job_envelope,
    read_envelope,
    read_result,
)
from shared.ids import intent_id
from shared.sealing import seal
from shared.streams import group as calls
from shared.streams import keys
from shared.streams.client import connect
from shared.streams.worker import WorkerClients
from tests.integration.adapters.runtime.scene import EPOCH, MESH_ID, QUICK, RING, now_ms
from tests.waiting import until

JOBS, RESULTS = keys.jobs(MANIFEST.psp), keys.results(MANIFEST.psp)
SECRET, KEY = "agreed with the tests", "key of the tests"
Say = tuple[str, ResultMessage]


def a_topup(scenario: str | None = None, *, amount_minor: int = 30_510, **destination: str) -> JobMessage:
    """Return the submission of a top-up, under a reference of its own."""
    intent = str(intent_id(time.time_ns() // 1000, 0, random.getrandbits(38)))
    comment = seal(RING, context=intent, field="comment", text="for the trip")
    return JobMessage(
        psp=MANIFEST.psp,
        intent_id=intent,
        attempt=1,
        operation=TOPUP,
        action=Action.SUBMIT,
        reference="".join(random.choices(MANIFEST.reference.alphabet, k=MANIFEST.reference.length)),
        amount_minor=amount_minor,
        currency="RUB",
        created_ms=now_ms(),
        epoch=EPOCH,
        destination={"comment": comment, **destination},
        test_scenario=scenario,
    )


@dataclass
class World:
    """An adapter at work, what stands in its results, and control over QP."""

    client: Redis
    control: SandboxControl
    settings: QpSettings
    sandbox_url: str
    http: ClientSession

    async def ask(self, job: JobMessage, action: Action = Action.INQUIRE, **changes: Any) -> list[Say]:
        """Put a job on the stream; return what came of it: the result, then what was said beside it."""
        before = len(await self.said(job))
        asked = job.model_copy(update={"action": action, **changes})
        flat = job_envelope(asked).fields()
        await self.client.execute_command("XADD", JOBS, "*", *[word for pair in flat.items() for word in pair])

        async def answered() -> list[Say]:
            return [] if await self.client.xlen(JOBS) else (await self.said(job))[before:]

        return await until(answered, f"an answer to {action}")

    async def submit(self, job: JobMessage) -> ResultMessage:
        """Submit a job; return its one result."""
        ((kind, result),) = await self.ask(job, Action.SUBMIT)
        assert kind == Kind.RESULT
        return result

    async def said(self, job: JobMessage) -> list[Say]:
        """Return everything that stands in the results about a job, callbacks aside."""
        return [(kind, result) for kind, result in await self._all() if result.intent_id == job.intent_id]

    async def heard(self, job: JobMessage, count: int = 1) -> list[ResultMessage]:
        """Wait for so many callbacks about a job."""

        async def enough() -> list[ResultMessage]:
            came = [said for _, said in await self._all() if said.intent_id is None and said.reference == job.reference]
            return came if len(came) >= count else []

        return await until(enough, f"{count} callbacks")

    async def pay(self, job: JobMessage, **wish: Any) -> list[str]:
        """Have somebody pay; return the ids of the payments."""
        made = await self.control.call("POST", "/control/pay", {"order": job.reference, **wish})
        return [payment["paymentId"] for payment in made["payments"]]

    async def judge(self, payment_id: str, verdict: str, **wish: Any) -> None:
        """Accept, decline or reverse a payment."""
        await self.control.call("POST", f"/control/payments/{payment_id}/{verdict}", wish)

    async def refund(self, body: dict[str, Any]) -> None:
        """Give a payment back, as a person would on QP's own pages."""
        headers = {"Authorization": f"Bearer {KEY}"}
        async with self.http.post(f"{self.sandbox_url}/qp/v1/refunds", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()

    async def books(self, job: JobMessage) -> dict[str, Any]:
        """Return what really happened at QP."""
        return await self.control.books(job.reference)

    async def _all(self) -> list[Say]:
        rows = await self.client.execute_command("XRANGE", RESULTS, "-", "+")
        envelopes = [read_envelope(fields) for _, fields in rows]
        return [(envelope.kind, read_result(envelope)) for envelope in envelopes]


def facts(said: list[Say]) -> list[tuple[str, Outcome, str | None]]:
    """Return what was said in short."""
    return [(kind, result.outcome, result.psp_transaction_id) for kind, result in said]


@asynccontextmanager
async def at_work(redis_url: str, *, adapter: bool = True) -> AsyncIterator[World]:
    """Open a sandbox of QP, and have an adapter work for it until the block ends."""
    async with AsyncExitStack() as stack:
        port = stack.enter_context(leased_port())
        terms = SandboxSettings(
            api_key=SecretStr(KEY),
            callback_url=f"http://127.0.0.1:{port}{callbacks.PATH}",
            callback_secret=SecretStr(SECRET),
            callback_retry_ms=10,
        )
        sandbox = await stack.enter_async_context(open_sandbox(PROFILE, build, terms))
        http = await stack.enter_async_context(ClientSession())
        client = connect(redis_url)
        stack.push_async_callback(client.aclose)
        await client.hset(keys.mesh(MANIFEST.psp), mapping={"id": MESH_ID, "epoch": "1"})
        await calls.ensure_group(client, JOBS, keys.ADAPTER_GROUP)
        settings = QpSettings(
            **QUICK
            | {
                "redis_url": redis_url,
                "base_url": sandbox.url,
                "api_key": KEY,
                "callback_port": port,
                "callback_secrets": f"an older one,{SECRET}",
                "callback_networks": "127.0.0.0/8",
            }
        )
        world = World(client, SandboxControl(http=http, control_url=sandbox.control_url), settings, sandbox.url, http)
        if adapter:
            await stack.enter_async_context(_running(world, redis_url))
        yield world


@asynccontextmanager
async def _running(world: World, redis_url: str) -> AsyncIterator[None]:
    settings = world.settings
    async with AsyncExitStack() as stack:
        clients = WorkerClients.open(redis_url)
        stack.push_async_callback(clients.aclose)
        session = await stack.enter_async_context(open_session(connections_max=16, timeout_s=settings.call_timeout_s))
        psp = await stack.enter_async_context(open_qp(settings, session))
        adapter = wire(
            psp=psp,
            settings=settings,
            keyring=RING,
            client=world.client,
            clients=clients,
            registry=CollectorRegistry(),
        )
        assert adapter.receiver is not None
        runner = web.AppRunner(adapter.receiver.application(), access_log=None, handle_signals=False)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", settings.callback_port).start()
        stop, ended = asyncio.Event(), asyncio.Event()
        watch = asyncio.create_task(adapter.conditions.watch(ended))
        work = asyncio.create_task(adapter.worker.run(stop))
        try:
            yield
        finally:
            stop.set()
            ended.set()
            await asyncio.gather(work, watch)
