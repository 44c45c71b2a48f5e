"""The audit feed: the stream `events`, in which whoever listens hears what happened.

It is a courtesy: what is told stands in the database already, an event may be missing after a crash or an outage, and
the oldest are trimmed. This module must never fail its caller over the server, and never gate what concerns money.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from shared.errors import OutcomeUnknown, Transient
from shared.streams import keys
from shared.streams.client import server

FEED_VERSION: Final = 1
FEED_LENGTH: Final = 10_000
"""About how many events are kept."""

_log = structlog.get_logger(__name__)


async def publish(client: Redis, kind: str, bodies: Sequence[Mapping[str, Any]]) -> None:
    """Tell events of a kind, such as ``intent.monitored``, in one go, if the server takes them.

    Args:
        client: of the server that holds the stream.
        kind: what happened.
        bodies: to whom, one an event; nothing personal.
    """
    pipeline = client.pipeline(transaction=False)
    for body in bodies:
        words = ("v", FEED_VERSION, "kind", kind, "body", json.dumps(body, separators=(",", ":")))
        pipeline.execute_command("XADD", keys.events(), "MAXLEN", "~", FEED_LENGTH, "*", *words)
    try:
        with server():
            await pipeline.execute()
    except (Transient, OutcomeUnknown) as error:
        _log.warning("events_not_published", kind=kind, count=len(bodies), error=error.code)
