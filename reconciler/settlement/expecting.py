"""What is expected of a PSP and does not come: an answer to a submission (T+0), a line about a payment (T+1).

What is heard is matched by the orchestrator as it comes; here it is noticed that nothing came by the PSP's deadline, or
that what came is nobody's. Such a break ends by itself when what was missed arrives. This module must never conclude
that something did not happen: it only says that nobody has told.
"""

from datetime import datetime, timedelta
from typing import Final

import asyncpg

from reconciler.breaks import Break, Closing, close_breaks, open_breaks
from reconciler.kinds import BreakKind
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.settlement.layout import Layout

PAGE: Final = 1_000
STRETCH: Final = timedelta(hours=1)
"""How much of the past one look goes over."""
LOOKS_MAX: Final = 200
LATE: Final = timedelta(seconds=90)
"""A row may be written by a transaction that began so long before it was seen."""
_NOW: Final = "SELECT now()"
_CURSOR: Final = "SELECT (position ->> 'at')::timestamptz FROM pm.reconciliation_cursor WHERE name = $1"
_FIRST_FILE: Final = "SELECT min(found_at) FROM pm.settlement_file WHERE psp = $1 AND state = 'DONE'"


async def expect(pool: Pool, layout: Layout) -> int:
    """Look for what is missing or nobody's, and for what is so no more; return how many breaks were opened.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach; the next round goes on.
    """
    opened = await _missing_answers(pool, layout)
    opened += await _missing_lines(pool, layout)
    opened += await _heard_of_nobody(pool, layout)
    await _close(pool, layout, "no_longer_missing", BreakKind.PSP_MISSING, "it has come")
    await _close(pool, layout, "known_by_now", BreakKind.PSP_UNKNOWN, "it is known by now whose it is")
    return opened


async def _missing_answers(pool: Pool, layout: Layout) -> int:
    with database():
        rows = await pool.fetch(
            statement("settlement/missing_answers"), layout.psp, float(layout.deadlines.answer_s), PAGE
        )
    breaks = [
        Break(
            kind=BreakKind.PSP_MISSING,
            subject=f"{layout.psp}:answer:{row['id']}",
            sides={"psp": None, "database": row["state"]},
            psp=layout.psp,
            intent_id=row["id"],
            delta_minor=row["amount_minor"],
            currency=row["currency"],
            evidence={"reference": row["reference"], "sent_at": row["sent_at"].isoformat()},
        )
        for row in rows
    ]
    return len((await open_breaks(pool, breaks)).opened)


async def _missing_lines(pool: Pool, layout: Layout) -> int:
    """Go over payments whose lines are due, from the first file on: of earlier ones no file ever told."""
    opened = 0
    name = f"settlement_lines:{layout.psp}"
    due = timedelta(seconds=layout.deadlines.line_s)
    for _ in range(LOOKS_MAX):
        stretch = await _stretch(pool, layout, name, until_ago=max(due, LATE))
        if stretch is None:
            break
        with database():
            rows = await pool.fetch(statement("settlement/missing_lines"), layout.psp, *stretch, PAGE)
        opened += len((await open_breaks(pool, [_missing_line(layout, row) for row in rows])).opened)
        await _move(pool, name, rows, stretch[1])
    return opened


def _missing_line(layout: Layout, row: asyncpg.Record) -> Break:
    return Break(
        kind=BreakKind.PSP_MISSING,
        subject=f"{layout.psp}:line:{row['psp_transaction_id']}",
        sides={"psp": None, "database": row["amount_minor"]},
        psp=layout.psp,
        intent_id=row["intent_id"],
        delta_minor=-row["amount_minor"],
        currency=row["currency"],
        evidence={"psp_transaction_id": row["psp_transaction_id"], "known_since": row["created_at"].isoformat()},
    )


async def _heard_of_nobody(pool: Pool, layout: Layout) -> int:
    opened = 0
    name = f"settlement_heard:{layout.psp}"
    for _ in range(LOOKS_MAX):
        stretch = await _stretch(pool, layout, name, until_ago=LATE)
        if stretch is None:
            break
        with database():
            rows = await pool.fetch(statement("settlement/heard_of_nobody"), layout.psp, *stretch, PAGE)
        opened += len((await open_breaks(pool, [_nobodys(layout, row) for row in rows])).opened)
        await _move(pool, name, rows, stretch[1], column="received_at")
    return opened


def _nobodys(layout: Layout, row: asyncpg.Record) -> Break:
    called = row["psp_transaction_id"] or row["reference"] or row["received_at"].isoformat()
    return Break(
        kind=BreakKind.PSP_UNKNOWN,
        subject=f"{layout.psp}:heard:{called}",
        sides={"psp": row["outcome"], "database": None},
        psp=layout.psp,
        delta_minor=row["amount_minor"] if row["currency"] else None,
        currency=row["currency"],
        evidence={
            "reference": row["reference"],
            "psp_transaction_id": row["psp_transaction_id"],
            "source": row["source"],
            "received_at": row["received_at"].isoformat(),
        },
    )


async def _stretch(pool: Pool, layout: Layout, name: str, *, until_ago: timedelta) -> tuple[datetime, datetime] | None:
    """Return the next stretch of time to go over; None where all has been gone over, or no file has come yet."""
    with database():
        now: datetime = await pool.fetchval(_NOW)
        begin: datetime | None = await pool.fetchval(_CURSOR, name)
        if begin is None and name.startswith("settlement_lines:"):
            begin = await pool.fetchval(_FIRST_FILE, layout.psp)
            if begin is None:
                return None
    begin = begin or now - timedelta(days=1)
    end = min(begin + STRETCH, now - until_ago)
    return None if end <= begin else (begin, end)


async def _move(
    pool: Pool, name: str, rows: list[asyncpg.Record], end: datetime, *, column: str = "created_at"
) -> None:
    """Move the cursor past a stretch, or, where that had more than a page, to the last row of the page."""
    to: datetime = rows[-1][column] if len(rows) == PAGE and rows[-1][column] > rows[0][column] else end
    with database():
        await pool.execute(statement("settlement/move_cursor"), name, to, len(rows))


async def _close(pool: Pool, layout: Layout, query: str, kind: BreakKind, reason: str) -> None:
    while True:
        with database():
            rows = await pool.fetch(statement(f"settlement/{query}"), layout.psp, PAGE)
        closings = [
            Closing(kind, row["subject"], reason, evidence={"came": row["came"]} if "came" in row else {})
            for row in rows
        ]
        await close_breaks(pool, closings)
        if len(rows) < PAGE:
            return
