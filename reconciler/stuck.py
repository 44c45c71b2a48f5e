"""Stuck intents: planned a while ago, still undecided. They are resumed, never failed.

Absence proves nothing: whoever planned the intent may only be paused. A `resume` entry makes an orchestrator
resubmit the stored plan, which settles it or finds it settled, whoever else does the same meanwhile.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from shared.contracts import Envelope, Kind, ResumeMessage
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ids import IntentId, partition_of
from shared.streams.accept import append

RESUMES_MAX: Final = 1000
"""How many intents one sweep resumes; the rest wait for the next."""

_STUCK: Final = """
SELECT id FROM pm.intent
WHERE state = 'VALIDATED' AND updated_at < now() - make_interval(secs => $1)
ORDER BY id LIMIT $2
"""


async def stuck_intents(pool: Pool, *, after_s: float) -> list[UUID]:
    """Return the intents that have been planned for longer than `after_s`, oldest first, at most `RESUMES_MAX`."""
    with database():
        rows = await pool.fetch(_STUCK, after_s, RESUMES_MAX)
    return [row["id"] for row in rows]


async def resume(redis: Redis, intents: Sequence[UUID], *, reason: str) -> None:
    """Ask the orchestrators to carry on with intents, past admission."""
    body = ResumeMessage(reason=reason).model_dump_json().encode()
    for intent in intents:
        await append(redis, partition=partition_of(IntentId(intent)), envelope=Envelope(Kind.RESUME, str(intent), body))
