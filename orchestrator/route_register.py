"""The routes in force: `pm.payment_route`, reloaded within a poll of any change."""

import asyncio

import structlog

from orchestrator.routing import Route
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient

_log = structlog.get_logger(__name__)


async def load_routes(pool: Pool) -> tuple[Route, ...]:
    """Read the active routes, in the order in which they are tried."""
    rows = await pool.fetch(
        "SELECT id, version, operation_type, currency, amount_min, amount_max, channel"
        " FROM pm.payment_route WHERE active ORDER BY priority, id"
    )
    return tuple(Route(**dict(row)) for row in rows)


class RouteRegister:
    """The routes in force, reloaded within `poll_s` of a change."""

    def __init__(self, *, pool: Pool, poll_s: float = 0.5) -> None:
        self._pool = pool
        self._poll_s = poll_s
        self._version = -1
        self.routes: tuple[Route, ...] = ()

    async def refresh(self) -> None:
        """Reload the routes if their register has moved."""
        with database():
            version = await self._pool.fetchval("SELECT version FROM pm.register_version WHERE name = 'payment_route'")
            if version == self._version:
                return
            self.routes = await load_routes(self._pool)
        self._version = version
        _log.info("routes_loaded", routes=len(self.routes), version=version)

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop`; while the database is away the routes last known stay in force."""
        while not stop.is_set():
            try:
                await self.refresh()
            except (Transient, OutcomeUnknown) as error:
                _log.warning("routes_not_refreshed", error=error.code)
            try:
                await asyncio.wait_for(stop.wait(), self._poll_s)
            except TimeoutError:
                continue
