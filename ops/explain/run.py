"""Reading an intent from every store for its explanation, each as far as it can be reached.

What could not be reached is told along with the rest. This module must never write.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import asyncpg
from redis.exceptions import RedisError

from ops.dlq.reach import Reach
from ops.explain.transfers import read_ledger
from shared.db.failures import database
from shared.errors import OutcomeUnknown, Transient
from shared.ids import IntentId, parse_intent_id
from shared.ledger.batcher import TigerBeetleLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import PostgresLedger
from shared.streams.accept import acc_owner
from shared.timeline.compose import compose
from shared.timeline.read import read_database, read_streams
from shared.timeline.story import Known, Timeline

_AWAY: Final = (Transient, OutcomeUnknown, RedisError, asyncpg.PostgresError, OSError)
_LEDGER_TIMEOUT_S: Final = 5.0


async def explain(reach: Reach, text: str) -> Timeline | None:
    """Tell an intent, or return None where every store was asked and none has heard of it.

    Raises:
        BadInput: not an intent id.
        Transient: neither database nor Redis could be asked.
    """
    intent = parse_intent_id(text)
    known = await _recorded(reach, intent)
    marked = await _marked(reach, intent)
    if known is not None and not _found(known) and marked is not True:
        # It may have been recorded, and its marker deleted, between the two looks.
        known = await _recorded(reach, intent)
    if known is None and marked is None:
        raise Transient("neither PostgreSQL nor Redis could be asked", code="nothing_reached")
    missing = list(reach.notes)
    if marked is None:
        missing.append("Redis is out of reach: permits, dead letters and the stream are missing")
    known = known or Known(intent, ())
    if marked is not None:
        known = await _tried(known, missing, "Redis", lambda so_far: read_streams(reach.redis, so_far))
    known = await _tried(known, missing, "the ledger", lambda so_far: _ask_ledger(reach, so_far))
    if not (known.own or marked or missing):
        return None
    story = compose(known, now=datetime.now(UTC))
    return replace(story, missing=(*story.missing, *missing))


async def _recorded(reach: Reach, intent: IntentId) -> Known | None:
    if reach.pool_or_none is None:
        return None
    try:
        with database():
            return await read_database(reach.pool, intent)
    except _AWAY as error:
        reach.notes.append(f"PostgreSQL is out of reach ({type(error).__name__}): most of the story is missing")
        reach.pool_or_none = None
        return None


async def _marked(reach: Reach, intent: IntentId) -> bool | None:
    """Say whether it still has its acceptance marker; None where Redis does not answer."""
    try:
        return await acc_owner(reach.redis, str(intent)) is not None
    except _AWAY:
        return None


async def _tried(known: Known, missing: list[str], store: str, read: Callable[[Known], Awaitable[Known]]) -> Known:
    try:
        return await read(known)
    except _AWAY as error:
        missing.append(f"{store} is out of reach ({type(error).__name__}): what it knows is missing")
        return known


async def _ask_ledger(reach: Reach, known: Known) -> Known:
    """Ask it, with less patience than a payment has; TigerBeetle answers without the database, too."""
    addresses = reach.settings.tigerbeetle_addresses
    cluster = reach.settings.tigerbeetle_cluster_id
    ledger: Ledger = (
        TigerBeetleLedger(addresses, cluster_id=cluster, timeout_s=_LEDGER_TIMEOUT_S)
        if addresses
        else PostgresLedger(reach.pool, timeout_s=_LEDGER_TIMEOUT_S)
    )
    try:
        return await read_ledger(ledger, known)
    finally:
        await ledger.close()


def _found(known: Known) -> bool:
    return known.one("intent") is not None
