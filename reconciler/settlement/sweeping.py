"""Lines that are not agreed with are looked at again: what differs may come to agree, and a word may come to nothing.

This module must never judge by itself.
"""

from collections import Counter
from typing import Final

from reconciler.settlement.judge import Verdict
from reconciler.settlement.weighing import weigh
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.settlement.layout import Layout

SOON_S: Final = 5.0
"""How often a line is looked at that depends on something under way."""
LATER_S: Final = 900.0
"""How often one is that differs."""
PAGE: Final = 1_000
PAGES_MAX: Final = 50
"""How far one round goes; the next goes on with those that were not seen for longest."""


async def look_again(
    pool: Pool, layout: Layout, *, soon_s: float = SOON_S, later_s: float = LATER_S
) -> Counter[Verdict]:
    """Weigh open lines of a PSP that have not been looked at for a while; return what became of them.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach; the next round goes on.
    """
    verdicts: Counter[Verdict] = Counter()
    seen: set[tuple[int, int]] = set()
    for _ in range(PAGES_MAX):
        with database():
            async with pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(statement("settlement/claim_open"), layout.psp, soon_s, later_s, PAGE)
                # Without a pause between looks, this round would come round to what it has seen itself.
                fresh = [(row["file_id"], row["line"]) for row in rows if (row["file_id"], row["line"]) not in seen]
                verdicts += await weigh(connection, layout, fresh)
        seen.update(fresh)
        if len(fresh) < PAGE:
            break
    return verdicts
