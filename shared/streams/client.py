"""Connections to Redis or Valkey, set up so that no command is ever sent twice behind our back.

redis-py repeats a command whose reply was lost, which turns one XADD into two payments; here it never does. Replies
stay bytes. Blocking reads and heartbeats get connections of their own from the caller, since a connection that waits
is no use to anybody else. This module must never repeat a command.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from socket import gaierror
from typing import Any, Final, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from shared.errors import OutcomeUnknown, Transient
from shared.streams.connection import CONNECTIONS

BLOCK_MS_MAX: Final = 10_000
"""How long a blocking read may wait; a blocking connection's time-out stands well above it."""

_CONNECT_TIMEOUT_S: Final = 2.0
_REPLY_TIMEOUT_S: Final = 5.0
WAIT_MS_MAX: Final = 4_000
"""How long WAIT may take; the reply's own time-out stands above it."""
_BLOCKING_REPLY_TIMEOUT_S: Final = BLOCK_MS_MAX / 1000 + 5.0
_CONNECTIONS_MAX: Final = 32
_UNREACHABLE: Final = (RedisConnectionError, RedisTimeoutError, ConnectionError, TimeoutError, gaierror)
_REFUSED: Final = (
    BusyLoadingError,
    ReadOnlyError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    OutOfMemoryError,
)
_REFUSED_CODES: Final = frozenset({"MISCONF", "NOREPLICAS", "UNBLOCKED", "BUSY"})
_ANSWERS: Final = (AuthenticationError, NoPermissionError, BusyLoadingError)
"""Kinds of connection error, to redis-py; but the server has answered, and done nothing."""


def connect(url: str, *, blocking: bool = False, connections_max: int = _CONNECTIONS_MAX) -> Redis:
    """Describe a client; it connects with its first command.

    Args:
        url: ``redis://…`` or ``rediss://…``.
        blocking: for XREADGROUP BLOCK up to `BLOCK_MS_MAX`, whose reply may take that long.
        connections_max: beyond it callers wait for a connection of the pool, at most the reply time-out.
    """
    options: dict[str, Any] = dict(parse_url(url))
    options |= {
        "connection_class": CONNECTIONS[options.get("connection_class", Connection)],
        "max_connections": connections_max,
        "timeout": _REPLY_TIMEOUT_S,
        # RESP2: no push messages and no maintenance notifications between a command and its reply.
        "protocol": 2,
        "decode_responses": False,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "socket_timeout": _BLOCKING_REPLY_TIMEOUT_S if blocking else _REPLY_TIMEOUT_S,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), retries=0),
        "health_check_interval": 0,
    }
    return Redis.from_pool(BlockingConnectionPool(**options))


async def command(client: Redis, *words: str | bytes | int) -> Any:
    """Send one command, once, and return its reply (redis-py types this call not at all)."""
    send = cast("Callable[..., Awaitable[Any]]", client.execute_command)
    return await send(*words)


def unreachable(error: BaseException) -> bool:
    """Say whether the connection failed, so that the command may or may not have been carried out."""
    return isinstance(error, _UNREACHABLE) and not isinstance(error, _ANSWERS)


def refused(error: BaseException) -> bool:
    """Say whether the server is up but takes no writes for now; nothing was carried out."""
    if isinstance(error, _REFUSED):
        return True
    return isinstance(error, ResponseError) and error_code(error) in _REFUSED_CODES


def no_group(error: BaseException) -> bool:
    """Say whether stream or group are gone: a store was emptied or restored."""
    return isinstance(error, ResponseError) and error_code(error) == "NOGROUP"


def error_code(error: BaseException) -> str:
    """Return the first word of a server's error reply."""
    return str(error).split(" ", 1)[0]


@contextmanager
def server() -> Iterator[None]:
    """Translate failures of the server, for the length of a block that calls nothing else.

    Raises:
        Transient: the server is up and takes no writes for now; nothing was carried out.
        OutcomeUnknown: the connection was lost with a command under way.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        name = type(error).__name__
        if unreachable(error):
            raise OutcomeUnknown(f"the server's reply was lost: {name}", code="redis_lost") from error
        if refused(error):
            raise Transient(f"the server takes no writes for now: {name}", code="redis_unavailable") from error
        raise
