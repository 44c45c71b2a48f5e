"""Health: alive and ready are two questions, and neither answer gives anything away."""

import asyncio
from typing import Any

import aiohttp
import pytest
from prometheus_client import Counter

from shared.health import Health, serve_health
from shared.metrics import open_registry


async def ask(health: Health, path: str) -> tuple[int, Any]:
    """Serve health, ask one path, return status and body."""
    async with (
        serve_health(health, port=0, host="127.0.0.1") as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        is_json = answer.content_type == "application/json"
        return answer.status, await (answer.json() if is_json else answer.text())


async def fine() -> None:
    """Pass."""


async def broken() -> None:
    """Fail with words that nobody outside may read."""
    raise ConnectionRefusedError("postgresql://paymesh:password@db")


async def hung() -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def test_a_process_is_alive_unless_it_says_otherwise() -> None:
    """Restarting is for what restarting repairs."""
    registry = open_registry()
    assert await ask(Health(registry), "/livez") == (200, {"status": "ok"})
    assert await ask(Health(registry, alive=lambda: False), "/livez") == (503, {"status": "failed"})


async def test_a_broken_dependency_makes_a_process_unready_not_dead() -> None:
    """The answer names the check and the kind of error, no more."""
    health = Health(open_registry(), checks={"redis": fine, "database": broken})
    assert await ask(health, "/livez") == (200, {"status": "ok"})
    status, body = await ask(health, "/readyz")
    assert status == 503
    assert body == {"status": "failed", "checks": {"redis": "ok", "database": "ConnectionRefusedError"}}


async def test_a_process_is_ready_when_every_check_passes() -> None:
    """All of them, asked together."""
    health = Health(open_registry(), checks={"redis": fine, "database": fine})
    assert (await ask(health, "/readyz"))[0] == 200


async def test_a_check_that_hangs_counts_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe must get its answer in time."""
    monkeypatch.setattr("shared.health.CHECK_TIMEOUT_S", 0.01)
    assert await Health(open_registry(), checks={"ledger": hung}).failures() == {"ledger": "TimeoutError"}


async def test_metrics_are_served_beside() -> None:
    """In Prometheus' text format."""
    registry = open_registry()
    Counter("paymesh_seen", "Seen.", registry=registry).inc()
    status, body = await ask(Health(registry), "/metrics")
    assert status == 200
    assert "paymesh_seen_total 1.0" in body


async def test_nothing_else_is_served() -> None:
    """A port of three paths."""
    assert (await ask(Health(open_registry()), "/"))[0] == 404
