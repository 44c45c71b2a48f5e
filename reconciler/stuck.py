"""Stuck intents: planned a while ago, still undecided. They are resumed, never failed.

Absence proves nothing: whoever planned the intent may only be paused. A `resume` entry makes an orchestrator
resubmit the stored plan, which settles it or finds it settled, whoever else does the same meanwhile.

An outage leaves thousands of intents planned, and their own entries are still in the streams: the sweep asks for
each intent once per `after_s`, the longest waiting first, and adds nothing to a stream that is behind anyway.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from reconciler.statements import statement
from shared.contracts import Envelope, Kind, ResumeMessage
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ids import IntentId, partition_of
from shared.streams import keys
from shared.streams.accept import append

RESUMES_MAX: Final = 1000
"""How many intents one sweep resumes; the rest wait for the next."""
BEHIND_ENTRIES: Final = 1000
"""A stream with more entries than this has work enough; its orchestrators need no reminders."""


async def take_stuck(pool: Pool, *, after_s: float, quarantined: Collection[UUID] = ()) -> list[UUID]:
    """Return intents that have been planned, and not asked for, for `after_s`; at most `RESUMES_MAX` of them.

    Quarantined ones are left alone: the books contradict them, and only an operator may touch them again.
    """
    with database():
        rows = await pool.fetch(statement("take_stuck"), after_s, RESUMES_MAX, list(quarantined))
    return [row["id"] for row in rows]


async def resume(redis: Redis, intents: Collection[UUID], *, reason: str) -> int:
    """Ask the orchestrators to carry on with intents, past admission; return for how many there was room."""
    body = ResumeMessage(reason=reason).model_dump_json().encode()
    room: dict[int, int] = {}
    resumed = 0
    for intent in intents:
        partition = partition_of(IntentId(intent))
        if partition not in room:
            room[partition] = BEHIND_ENTRIES - await redis.xlen(keys.intents(partition))
        if room[partition] <= 0:
            continue
        await append(redis, partition=partition, envelope=Envelope(Kind.RESUME, str(intent), body))
        room[partition] -= 1
        resumed += 1
    return resumed
