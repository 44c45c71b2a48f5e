"""Health: ``/livez``, ``/readyz`` and ``/metrics`` on a port, for processes that otherwise serve nobody.

Alive means: restarting would not help. Ready means: every named check passes just now. A check that fails does not
make the process dead, since restarting a worker never repaired a database. This module must never answer with more
than the names of checks and errors.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from shared.metrics import CONTENT_TYPE, exposition

CHECK_TIMEOUT_S: Final = 2.0

Check = Callable[[], Awaitable[object]]
"""Raises when what it looks at is out of order; what it returns is ignored."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a process knows about itself.

    `alive` answers at once and without I/O; `checks` are awaited together, each for two seconds at most.
    """

    registry: CollectorRegistry
    alive: Callable[[], bool] = lambda: True
    checks: Mapping[str, Check] = field(default_factory=dict)

    async def failures(self) -> dict[str, str]:
        """Run every check; return the names of those that failed with the names of their errors."""
        outcomes = await asyncio.gather(*(_outcome(check) for check in self.checks.values()))
        return {name: fault for name, fault in zip(self.checks, outcomes, strict=True) if fault is not None}


async def _outcome(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    # The boundary of readiness: whatever a check dies of is its answer, and the name alone gives nothing away.
    except Exception as error:  # noqa: BLE001
        return type(error).__name__
    return None


def add_routes(app: web.Application, health: Health) -> None:
    """Add ``/livez``, ``/readyz`` and ``/metrics`` to an application."""

    async def livez(_request: web.Request) -> web.Response:
        alive = health.alive()
        return web.json_response({"status": "ok" if alive else "failed"}, status=200 if alive else 503)

    async def readyz(_request: web.Request) -> web.Response:
        failed = await health.failures()
        checks = {name: failed.get(name, "ok") for name in health.checks}
        status = "failed" if failed else "ok"
        return web.json_response({"status": status, "checks": checks}, status=503 if failed else 200)

    async def metrics(_request: web.Request) -> web.Response:
        body = await asyncio.to_thread(exposition, health.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)


@asynccontextmanager
async def serve_health(health: Health, *, port: int, host: str = "0.0.0.0") -> AsyncIterator[int]:  # noqa: S104
    """Serve the three paths for the length of a block; give the port, which is chosen for `port` 0.

    It listens on every address, since probes and scrapers come from outside the container; it answers nothing secret.
    """
    app = web.Application()
    add_routes(app, health)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound: int = runner.addresses[0][1]
        yield bound
    finally:
        await runner.cleanup()
