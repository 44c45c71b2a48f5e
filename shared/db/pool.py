"""The PostgreSQL pool: one way to open it, with every wait bounded. It takes a server of version 17 or later.

Rows give and accept `uuid.UUID` (asyncpg's own UUID is a subclass of it) and json columns stay text, so that a
stored plan is read back byte for byte. This module must never know what a table means.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import asyncpg
import structlog

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Pool = asyncpg.Pool

STATEMENT_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 5.0
_IDLE_IN_TRANSACTION_S = 10.0
_IDLE_CONNECTION_S = 300.0

_log = structlog.get_logger(__name__)


async def open_pool(
    url: str,
    *,
    min_size: int = 1,
    max_size: int = 8,
    application_name: str = "paymesh",
    connect_timeout_s: float = 10.0,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    server_settings: Mapping[str, str] | None = None,
) -> Pool:
    """Connect to PostgreSQL.

    Args:
        url: a libpq URL, unix sockets included (``postgresql://user@/name?host=/folder``).
        min_size: connections opened at once and kept.
        max_size: connections opened at most.
        application_name: what `pg_stat_activity` shows, so that an operator sees whose connection it is.
        connect_timeout_s: how long one connection may take to open.
        statement_timeout_s: how long one statement may take before its outcome is unknown.
        server_settings: parameters of every session, beside those that all of ours have.

    Raises:
        asyncpg.PostgresError, OSError: no server, or no way in; see `shared.db.failures`.
    """
    pool: Pool = await asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=connect_timeout_s,
        command_timeout=statement_timeout_s,
        max_inactive_connection_lifetime=_IDLE_CONNECTION_S,
        server_settings={
            "application_name": application_name,
            "timezone": "UTC",
            # A paused process must not hold row locks over the others for ever.
            "idle_in_transaction_session_timeout": _ms(_IDLE_IN_TRANSACTION_S),
            # Paused between preparing and executing it does not count as idle: only this ends it there.
            "transaction_timeout": _ms(statement_timeout_s + _IDLE_IN_TRANSACTION_S),
            **(server_settings or {}),
        },
    )
    return pool


async def close_pool(pool: Pool, *, patience_s: float = CLOSE_TIMEOUT_S) -> None:
    """Close the pool; connections that are not given back in time are cut.

    Left to itself, closing waits for the server's answer to a statement that was cancelled: a process that ends
    because its database hangs would never get to its end.
    """
    try:
        async with asyncio.timeout(patience_s):
            await pool.close()
    except TimeoutError:
        _log.warning("pool_cut", patience_s=patience_s)


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
