"""Reading what is known of an intent: its facts in the database, and what the streams keep beside it.

The database is asked in one statement, so that its facts are of one moment. Each store is read by itself: what is out
of reach is said and left out. This module must never write, and never read what is sealed.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis

from shared.db.failures import database
from shared.db.pool import Pool
from shared.ids import IntentId, partition_of
from shared.streams import keys
from shared.streams.client import command, server
from shared.streams.dead_letters import DeadLetterRecord, find_records
from shared.streams.permits import BARRED_BY
from shared.timeline.story import Fact, Known

FACTS_MAX: Final = 1000
"""How many facts of one kind are told, the newest."""
CHILDREN_MAX: Final = 50
_PERMIT_WORDS: Final = 3


@cache
def _facts() -> str:
    return files("shared.timeline").joinpath("facts.sql").read_text("utf-8")


async def read_database(pool: Pool, intent: IntentId) -> Known:
    """Return what the database knows of an intent and of those that it has led to.

    Raises:
        Transient, OutcomeUnknown: it is out of reach.
    """
    own = await _read(pool, [intent])
    opened = [UUID(fact.body["id"]) for fact in own if fact.kind == "child"]
    children: dict[UUID, list[Fact]] = {child: [] for child in opened[:CHILDREN_MAX]}
    if children:
        for fact in await _read(pool, list(children)):
            children[fact.intent].append(fact)
    missing = [
        f"only the newest {FACTS_MAX} of {kind} are told"
        for kind in ("said", "child", "deed", "alert")
        if sum(fact.kind == kind for fact in own) == FACTS_MAX
    ]
    if len(opened) > CHILDREN_MAX:
        missing.append(f"only {CHILDREN_MAX} of its {len(opened)} children are told by themselves")
    return Known(
        intent=intent,
        own=tuple(own),
        children={child: tuple(facts) for child, facts in children.items()},
        missing=tuple(missing),
    )


async def _read(pool: Pool, intents: Sequence[UUID]) -> list[Fact]:
    with database():
        rows = await pool.fetch(_facts(), intents, FACTS_MAX)
    return [Fact(row["intent_id"], row["kind"], row["at"], json.loads(row["body"])) for row in rows]


async def read_streams(redis: Redis, known: Known) -> Known:
    """Add what the streams keep: its permits, and the dead letters that name it.

    Raises:
        Transient, OutcomeUnknown: Redis is out of reach.
    """
    with server():
        facts = [*await _permits(redis, known), *await _dead_letters(redis, known)]
    return replace(known, own=(*known.own, *facts))


async def _permits(redis: Redis, known: Known) -> list[Fact]:
    """Return who has won the permits of its submissions; a permit is forgotten a day after its last write."""
    plans = [fact.body for fact in known.of("plan") if fact.body.get("psp")]
    names = [keys.permit(plan["psp"], str(known.intent), plan["attempt"], plan["operation"]) for plan in plans]
    found: list[Fact] = []
    for plan, name in zip(plans, names, strict=True):
        value: bytes | None = await command(redis, "GET", name)
        words = (value or b"").decode(errors="replace").split(" ")
        if len(words) == _PERMIT_WORDS and words[2].isdigit():
            state, who, ms = words
            body = {"psp": plan["psp"], "attempt": plan["attempt"], "state": state}
            if state == "CANCELLED":
                body["who"] = who
            if who.startswith(BARRED_BY):
                body["barred"] = True
            found.append(Fact(known.intent, "permit", _at(int(ms)), body))
    return found


async def _dead_letters(redis: Redis, known: Known) -> list[Fact]:
    psps = sorted({fact.body["psp"] for fact in known.own if fact.kind in ("reference", "job", "said")})
    streams = [
        keys.intents(partition_of(IntentId(known.intent))),
        *(name(psp) for psp in psps for name in (keys.jobs, keys.results)),
    ]
    return [
        _dead_letter(known.intent, stream, record)
        for stream in streams
        for record in await find_records(redis, stream, str(known.intent))
    ]


def _dead_letter(intent: UUID, stream: str, record: DeadLetterRecord) -> Fact:
    body: dict[str, Any] = {
        "address": f"{stream}:{record.entry_id.decode()}",
        "kind": record.kind,
        "reason": record.reason,
        "attempts": record.attempts,
        "deliveries": record.deliveries,
        "error_class": record.error_class,
        "error": record.error,
        "last_consumer": record.last_consumer,
        "first_at": _at(record.first_ms).isoformat(),
        "trace_id": record.trace_id,
        "app_version": record.app_version,
        "replay_count": record.replay_count,
    }
    return Fact(intent, "dead_letter", _at(record.dead_ms), body)


def _at(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)
