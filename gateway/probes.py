"""Probes: ``/livez``, ``/readyz``, ``/metrics`` and ``/openapi.json``. Unsigned, so they must never tell a secret.

Alive means that the event loop answers. Ready means that both stores answered within the last seconds and belong to
this mesh; nothing is asked of a store here, so that a flood of probes costs the stores nothing.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.calls import Call
from gateway.views import json_response
from gateway.vitals import Vitals
from shared.metrics import CONTENT_TYPE, exposition


@dataclass(frozen=True, slots=True)
class Probes:
    """The handlers that answer machines."""

    vitals: Vitals
    registry: CollectorRegistry
    openapi: bytes
    stopping: Callable[[], bool]

    async def livez(self, _call: Call) -> web.Response:
        """Say that the event loop is alive."""
        return json_response(200, {"status": "ok"})

    async def readyz(self, _call: Call) -> web.Response:
        """Say whether requests are welcome."""
        checks = self.vitals.checks()
        if self.stopping():
            checks["process"] = "stopping"
        ready = all(outcome == "ok" for outcome in checks.values())
        return json_response(200 if ready else 503, {"status": "ok" if ready else "failed", "checks": checks})

    async def metrics(self, _call: Call) -> web.Response:
        """Expose the metrics."""
        body = await asyncio.to_thread(exposition, self.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE, "Server": "paymesh"})

    async def document(self, _call: Call) -> web.Response:
        """Serve the OpenAPI document."""
        return web.Response(body=self.openapi, headers={"Content-Type": "application/json", "Server": "paymesh"})
