"""Running a sandbox: the composition root of both providers.

``open_sandbox`` serves for the length of a block, in a test's own process; ``main`` is a process that prints one line
of JSON once it listens::

    {"event": "sandbox_ready", "psp": "ipps", "url": "http://127.0.0.1:40001", "control_url": "http://127.0.0.1:40002"}

This module must never start a sandbox whose books it cannot read.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import structlog
from aiohttp import ClientSession, web

from adapters.sandbox.agenda import Action, Agenda
from adapters.sandbox.answers import BODY_BYTES_MAX, Refused
from adapters.sandbox.books import Books
from adapters.sandbox.callbacks import ACTION, Callbacks
from adapters.sandbox.clock import Clock
from adapters.sandbox.control import Control
from adapters.sandbox.desk import Desk
from adapters.sandbox.gates import callers, durable, out_of_order, refusals
from adapters.sandbox.journal import Journal
from adapters.sandbox.outage import Door, Outage
from adapters.sandbox.parts import Build, Parts, Profile, Provider
from adapters.sandbox.settings import SandboxSettings
from adapters.sandbox.stage import Stage
from adapters.sandbox.terms import Contract
from shared import log, process
from shared.config import load

_SHUTDOWN_S = 1.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that is being served: where, and the task that fails if its background work does."""

    url: str
    control_url: str
    background: "asyncio.Task[None]"


@asynccontextmanager
async def open_sandbox(profile: Profile, build: Build, settings: SandboxSettings) -> AsyncIterator[Sandbox]:
    """Serve a provider's sandbox for the length of a block.

    Raises:
        Misconfigured: the file of the books belongs to somebody else, or is damaged.
    """
    async with AsyncExitStack() as stack:
        journal = Journal(settings.books)
        stack.push_async_callback(journal.close)
        parts = _parts(profile, settings, journal)
        provider = build(parts)
        lines = parts.books.restore()
        parts.agenda.restore()
        _log.info("books_opened", psp=profile.name, lines=lines)
        http = await stack.enter_async_context(ClientSession())
        door = await _serve_api(parts, provider, settings, stack)
        control_port = await _serve_control(parts, provider, settings, stack)
        actions: dict[str, Action] = {ACTION: partial(parts.callbacks.deliver, http=http), **provider.actions()}
        background = asyncio.create_task(parts.agenda.run(actions))
        stack.push_async_callback(_stop, background)
        yield Sandbox(f"http://{settings.host}:{door.port}", f"http://{settings.host}:{control_port}", background)


def main(profile: Profile, build: Build) -> int:
    """Run a sandbox as a process until it is told to stop; return the exit code."""

    async def serve(stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        settings = load(SandboxSettings)
        log.configure(f"sandbox-{profile.name}", mode=settings.log, level=settings.log_level, stream=sys.stderr)
        async with open_sandbox(profile, build, settings) as sandbox:
            ready = {"event": "sandbox_ready", "psp": profile.name}
            ready |= {"url": sandbox.url, "control_url": sandbox.control_url}
            sys.stdout.write(json.dumps(ready) + "\n")
            sys.stdout.flush()
            stopped = tasks.create_task(stop.wait())
            await asyncio.wait({stopped, sandbox.background}, return_when=asyncio.FIRST_COMPLETED)
            stop.set()

    return process.run(serve)


def _parts(profile: Profile, settings: SandboxSettings, journal: Journal) -> Parts:
    books = Books(journal)
    clock = Clock(books=books, wall_ms=lambda: time.time_ns() // 1_000_000)
    agenda = Agenda(books=books, clock=clock)
    contract = Contract(settings.terms(amount_max_minor=profile.amount_max_minor))
    stage = Stage(main=profile.main_operation, operations=profile.operations)
    return Parts(
        books=books,
        clock=clock,
        agenda=agenda,
        stage=stage,
        contract=contract,
        callbacks=Callbacks(psp=profile.name, agenda=agenda, contract=contract, clock=clock, journal=journal),
        outage=Outage(),
        desk=Desk(stage=stage, journal=journal, clock=clock),
    )


async def _serve_api(parts: Parts, provider: Provider, settings: SandboxSettings, stack: AsyncExitStack) -> Door:
    app = web.Application(
        middlewares=[refusals(provider.refusal), out_of_order(parts.outage), callers(settings.api_key)],
        client_max_size=BODY_BYTES_MAX,
    )
    app.add_routes(provider.routes())
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    door = Door(runner=runner, host=settings.host, port=settings.port)
    stack.callback(door.let_go)
    await door.open()
    parts.outage.guard(door)
    stack.push_async_callback(parts.outage.stop)
    return door


async def _serve_control(parts: Parts, provider: Provider, settings: SandboxSettings, stack: AsyncExitStack) -> int:
    def words(refused: Refused) -> dict[str, object]:
        return {"code": refused.code, "detail": refused.detail}

    app = web.Application(middlewares=[refusals(words), durable(parts.books.journal)], client_max_size=BODY_BYTES_MAX)
    app.add_routes(Control(parts=parts, provider=provider).routes())
    app.add_routes(provider.control_routes())
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, settings.host, settings.control_port)
    await site.start()
    return site.port


async def _stop(background: "asyncio.Task[None]") -> None:
    """End the background work, or raise what it died of."""
    background.cancel()
    with suppress(asyncio.CancelledError):
        await background
