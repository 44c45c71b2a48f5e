"""Runs to the end: of what is new, or of everything there ever was, however long that takes.

A full verification walks ledger, log, map and history from their beginnings, and leaves the cursors where they are.
It finds what nobody who looks at what is new can find: rows that were changed long after they had been compared.
This module must never mend anything.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

from reconciler.cursor import Position
from reconciler.examine import examine
from reconciler.history_rows import HistoryWalk
from reconciler.reconcile import Reconciliation, Round
from reconciler.statements import statement
from reconciler.suspects import add_suspects, due_suspects, suspects_of
from reconciler.walks import AccountsWalk, Horizon, LedgerWalk, Memory, OpenedWalk, Step
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ledger.port import Ledger

PAGE: Final = 2000
WAITS_MAX: Final = 10
"""How often suspects that will not stand still are waited for."""
_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=(1 << 128) - 1)
_ALONE_S: Final = 60.0
_PAUSE_S: Final = 0.2
_WAITING: Final = """
SELECT count(*) AS n, greatest(0, extract(epoch FROM min(due_at) - now()))::float8 AS wait_s
FROM pm.reconciliation_suspect
"""

Progress = Callable[[str, int], None]
"""Told how many more things of a walk have been looked at."""


class IntentsWalk:
    """Every intent by its id, those left out that the ledger's walk has just looked at."""

    name = "intents"

    def __init__(self, *, ledger: Ledger, pool: Pool, memory: Memory) -> None:
        self._ledger = ledger
        self._pool = pool
        self._memory = memory

    async def step(self, position: Position, horizon: Horizon) -> Step:
        """Look at the next intents that are past planning."""
        del horizon  # what is newer is judged once it has been looked at again
        after = UUID(position["id"]) if position else _FIRST
        with database():
            rows = await self._pool.fetch(statement("next_intents"), after, _LAST, PAGE)
        if not rows:
            return Step(None, done=True)
        unseen = {row["id"]: () for row in rows if row["id"] not in self._memory.versions}
        examined = await examine(self._ledger, self._pool, unseen)
        return Step({"id": str(rows[-1]["id"])}, len(rows), examined.breaks, done=len(rows) < PAGE)


async def walk_everything(
    reconciler: Reconciliation, *, ledger: Ledger, pool: Pool, grace_s: float, progress: Progress
) -> dict[str, int]:
    """Walk all there is; what differs stands among the suspects afterwards. Return how much was walked.

    Raises:
        Transient, OutcomeUnknown: a store was out of reach; begin again.
    """
    memory = Memory()
    horizon = await reconciler.horizon()
    walked: dict[str, int] = {}
    for walk in (
        LedgerWalk(ledger=ledger, pool=pool),
        IntentsWalk(ledger=ledger, pool=pool, memory=memory),
        OpenedWalk(ledger=ledger, pool=pool),
        AccountsWalk(ledger=ledger, pool=pool),
        HistoryWalk(pool=pool),
    ):
        walked[walk.name] = 0
        position: Position = {}
        while (step := await walk.step(position, horizon)).after:
            position = step.after
            with database():
                async with pool.acquire() as connection, connection.transaction():
                    await add_suspects(connection, suspects_of(step.suspicious), grace_s=grace_s)
            memory.keep(step.versions)
            walked[walk.name] += step.walked
            progress(walk.name, step.walked)
            if step.done:
                break
    return walked


async def run_to_the_end(reconciler: Reconciliation, pool: Pool, *, progress: Progress) -> Round | None:
    """Take rounds until nothing new is left, and every suspect has been looked at again; return what they came to.

    None where another reconciler is at it all the time.

    Raises:
        Transient, OutcomeUnknown: a store was out of reach; run again.
    """
    total = Round()
    patience = time.monotonic() + _ALONE_S
    waits = 0
    while True:
        found = await reconciler.round()
        if found is None:
            if time.monotonic() > patience:
                return None
            await asyncio.sleep(_PAUSE_S)
            continue
        for name, count in found.walked.items():
            total.walked[name] = total.walked.get(name, 0) + count
            progress(name, count)
        total.suspects += found.suspects
        total.opened += found.opened
        total.closed += found.closed
        if not found.done or await due_suspects(pool, limit=1):
            waits += bool(found.done)
            if waits <= WAITS_MAX:
                continue
        with database():
            waiting = await pool.fetchrow(_WAITING)
        if waiting is None or not waiting["n"] or waits > WAITS_MAX:
            return total
        waits += 1
        await asyncio.sleep(waiting["wait_s"] + _PAUSE_S)
