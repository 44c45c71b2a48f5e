"""Jobs that never left the outbox: nothing is in their way, and no relay has taken them for long.

A paused operation holds its jobs up on purpose. This module must never send a job, and never take one away: the relay
does the one, and whoever wins its permit may say the other.
"""

from typing import Final

from reconciler.breaks import Break
from reconciler.kinds import BreakKind
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool

LISTED_MAX: Final = 200


async def jobs_left_behind(pool: Pool, *, after_s: float) -> list[Break]:
    """Return a break for every job that has waited for longer than it should, the longest waiting first.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(statement("jobs_left_behind"), after_s, LISTED_MAX)
    return [
        Break(
            BreakKind.JOB_NEVER_LEFT,
            f"{row['intent_id']}.{row['attempt']}.{row['action']}",
            {"outbox": {"written": row["created_at"].isoformat(), "sent": None}},
            psp=row["psp"],
            intent_id=row["intent_id"],
        )
        for row in rows
    ]
