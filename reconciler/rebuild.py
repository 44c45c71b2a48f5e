"""The read model made anew: histories from the intent log and the ledger, balances from the histories and open holds.

It may run beside a mesh at work. Histories: only rows of intents that are decided are written or taken away, and
whoever decides an intent writes its rows once, with the decision. Balances: a wallet's row is locked for a moment, so
that no decision about it commits while it is added up from what has been committed. Everything is done in bounded
batches, and may be interrupted and begun again. This module must never touch an intent that the ledger contradicts:
what that should show is for people to say first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from reconciler.examine import read_history
from reconciler.faults import UNJUDGED, intent_faults
from reconciler.history_rows import strangers
from reconciler.kinds import BreakKind
from reconciler.plans import Planned, next_planned
from reconciler.read_model import HistoryRow, RowKey, expected_history, history_faults
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ledger.port import Ledger
from shared.states import TERMINAL

PAGE: Final = 500
ROWS_PAGE: Final = 2000
LOCKED_MAX: Final = 20
"""Wallets that payments wait for at a time, while their whole history is added up."""
_LOCK_WALLETS: Final = "SELECT FROM pm.account_balance WHERE account_id = ANY ($1) ORDER BY account_id FOR UPDATE"
_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=(1 << 128) - 1)
_UNTOUCHED: Final = UNJUDGED | {BreakKind.HOLD_MISSING, BreakKind.HOLD_LEFT_OPEN}
_NEXT_WALLETS: Final = """
SELECT id FROM pm.tb_account_map WHERE id > $1 AND name ~ '^(user|merchant):' ORDER BY id LIMIT $2
"""

Progress = Callable[[str, int], None]
"""Told how many more things have been looked at."""


@dataclass(slots=True)
class Rebuilt:
    """What was found to differ, and, where it was to be mended, mended."""

    intents: int = 0
    unjudged: int = 0
    """Intents that were left alone, since ledger and log contradict each other about them."""
    rows_missing: int = 0
    rows_differing: int = 0
    rows_extra: int = 0
    wallets: int = 0
    balances: int = 0
    """Wallets whose balance, or held amount, was another one."""

    @property
    def differences(self) -> int:
        """How many rows of the read model differ."""
        return self.rows_missing + self.rows_differing + self.rows_extra + self.balances


async def rebuild(ledger: Ledger, pool: Pool, *, mend: bool, progress: Progress) -> Rebuilt:
    """Compare the whole read model with what it should be and, if asked to, make it so.

    Without `mend` balances are compared with the histories as they stand now.

    Raises:
        Transient, OutcomeUnknown: a store was out of reach; begin again.
    """
    done = Rebuilt()
    await _histories(ledger, pool, done, mend=mend, progress=progress)
    await _strange_rows(pool, done, mend=mend, progress=progress)
    await _balances(pool, done, mend=mend, progress=progress)
    return done


async def _histories(ledger: Ledger, pool: Pool, done: Rebuilt, *, mend: bool, progress: Progress) -> None:
    after = _FIRST
    while True:
        with database():
            page = await next_planned(pool, after=after, until=_LAST, limit=PAGE)
        if not page:
            return
        after = page[-1].id
        wanted = [transfer.id for intent in page for transfer in intent.transfers]
        booked = {transfer.id: transfer for transfer in await ledger.lookup_transfers(wanted)} if wanted else {}
        shown = await read_history(pool, page)
        write: list[tuple[RowKey, HistoryRow]] = []
        remove: list[RowKey] = []
        for intent in page:
            if any(fault.kind in _UNTOUCHED for fault in intent_faults(intent, booked)):
                done.unjudged += 1
            elif intent.state in TERMINAL:
                expected = expected_history(intent, booked)
                _compare(intent, expected, shown.get(intent.id, {}), done, write, remove)
        if mend:
            await _mend(pool, write, remove)
        done.intents += len(page)
        progress("intents", len(page))


def _compare(
    intent: Planned,
    expected: dict[RowKey, HistoryRow],
    shown: dict[RowKey, HistoryRow],
    done: Rebuilt,
    write: list[tuple[RowKey, HistoryRow]],
    remove: list[RowKey],
) -> None:
    for key, _ in history_faults(expected, shown):
        row = expected.get(key)
        if row is None:
            done.rows_extra += 1
            remove.append(key)
            continue
        if key in shown:
            done.rows_differing += 1
        else:
            done.rows_missing += 1
        write.append((key, row if row.at is not None else _dated_by(intent, row)))


def _dated_by(intent: Planned, row: HistoryRow) -> HistoryRow:
    """Date a row by its intent, where the ledger does not have what moved it."""
    return HistoryRow(
        row.intent_id, row.amount_minor, row.code, datetime.fromtimestamp((intent.id.int >> 80) / 1000, UTC)
    )


async def _mend(pool: Pool, write: Sequence[tuple[RowKey, HistoryRow]], remove: Sequence[RowKey]) -> None:
    rows = [
        (key.account_id, key.transfer_id, row.intent_id, row.amount_minor, row.code, row.at)
        for key, row in sorted(write, key=lambda pair: pair[0])
    ]
    with database():
        async with pool.acquire() as connection, connection.transaction():
            if rows:
                await connection.execute(statement("write_history"), *zip(*rows, strict=True))
            if remove:
                keys = sorted(remove)
                await connection.execute(
                    statement("remove_history"), [key.account_id for key in keys], [key.transfer_id for key in keys]
                )


async def _strange_rows(pool: Pool, done: Rebuilt, *, mend: bool, progress: Progress) -> None:
    """Take away rows that no intent knows of."""
    place = _FIRST, _FIRST
    while True:
        with database():
            rows = await pool.fetch(statement("next_history"), *place, ROWS_PAGE)
        if not rows:
            return
        place = rows[-1]["account_id"], rows[-1]["transfer_id"]
        found = await strangers(pool, rows)
        done.rows_extra += len(found)
        if mend and found:
            keys = [RowKey(*map(UUID, one.subject.split(":"))) for one in found]
            await _mend(pool, (), keys)
        progress("rows", len(rows))


async def _mend_balances(pool: Pool, wallets: Sequence[UUID]) -> int:
    """Add up again, locked, what differed unlocked, and write what still does; a few at a time: payments wait."""
    mended = 0
    for first in range(0, len(wallets), LOCKED_MAX):
        part = wallets[first : first + LOCKED_MAX]
        with database():
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(statement("lock_balances"), part)
                await connection.fetch(_LOCK_WALLETS, part)
                rows = await connection.fetch(statement("differing_balances"), part)
                await connection.execute(
                    statement("write_balances"),
                    [row["account_id"] for row in rows],
                    [row["posted"] for row in rows],
                    [row["held"] for row in rows],
                )
        mended += len(rows)
    return mended


async def _balances(pool: Pool, done: Rebuilt, *, mend: bool, progress: Progress) -> None:
    after = _FIRST
    while True:
        with database():
            rows = await pool.fetch(_NEXT_WALLETS, after, PAGE)
        if not rows:
            return
        after = rows[-1]["id"]
        wallets = [row["id"] for row in rows]
        with database():
            differing = [row["account_id"] for row in await pool.fetch(statement("differing_balances"), wallets)]
        done.balances += await _mend_balances(pool, differing) if mend else len(differing)
        done.wallets += len(wallets)
        progress("wallets", len(wallets))
