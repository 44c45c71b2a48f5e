"""Rows of the history, one by one or all of them, held against the intents that they name.

A row that nobody planned, of an intent or a wallet that knows nothing of it, is found by nobody who starts from the
intents. This module must never write.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from reconciler.breaks import Break
from reconciler.cursor import Position
from reconciler.examine import examine_closely, extra_row
from reconciler.kinds import BreakKind
from reconciler.plans import read_planned
from reconciler.read_model import RowKey, customers
from reconciler.statements import statement
from reconciler.walks import Horizon, Step
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ledger.port import Ledger

PAGE: Final = 2000
_FIRST: Final = UUID(int=0)
_LOW: Final = 0xFFFF


class HistoryWalk:
    """Every row of the history by its key; for a full verification."""

    name = "history"

    def __init__(self, *, pool: Pool) -> None:
        self._pool = pool

    async def step(self, position: Position, horizon: Horizon) -> Step:
        """Look whether the next rows should be there."""
        del horizon
        place = (UUID(position["account"]), UUID(position["transfer"])) if position else (_FIRST, _FIRST)
        with database():
            rows = await self._pool.fetch(statement("next_history"), *place, PAGE)
        if not rows:
            return Step(None, done=True)
        after = {"account": str(rows[-1]["account_id"]), "transfer": str(rows[-1]["transfer_id"])}
        return Step(after, len(rows), tuple(await strangers(self._pool, rows)), done=len(rows) < PAGE)


async def look_at_rows(ledger: Ledger, pool: Pool, keys: Iterable[str]) -> list[Break]:
    """Return those of the rows, by their names, that should not be there.

    Raises:
        Transient, OutcomeUnknown: a store is out of reach.
    """
    wanted = sorted(keys)
    places = [tuple(map(UUID, key.split(":"))) for key in wanted]
    if not places:
        return []
    with database():
        rows = await pool.fetch(statement("history_rows"), *zip(*places, strict=True))
    found = await strangers(pool, rows)
    strange = {one.subject for one in found}
    own = sorted({row["intent_id"] for row in rows if str(_key(row)) not in strange})
    examined = await examine_closely(ledger, pool, own)
    return found + [one for one in examined.breaks if one.kind is BreakKind.HISTORY_EXTRA and one.subject in wanted]


async def strangers(pool: Pool, rows: Sequence[asyncpg.Record]) -> list[Break]:
    """Return the rows whose intent is unknown, is no part of their transfer, or has nothing to do with their wallet.

    All others are judged with their intent.
    """
    with database():
        planned = await read_planned(pool, sorted({row["intent_id"] for row in rows}))
    found = []
    for row in rows:
        key, intent = _key(row), planned.get(row["intent_id"])
        known = intent is not None and (intent.fault is not None or key.account_id in customers(intent))
        if not known or row["transfer_id"].int & ~_LOW != row["intent_id"].int:
            currency = intent.currency if intent is not None else None
            found.append(extra_row(key, row["intent_id"], row["amount_minor"], currency))
    return found


def _key(row: asyncpg.Record) -> RowKey:
    return RowKey(row["account_id"], row["transfer_id"])
