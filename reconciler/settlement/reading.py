"""A settlement file is read: line by line, batch by batch, from where reading ended last.

What was read of a file and how far it was read are one transaction, so that a reader killed at any moment is carried
on by the next, and the file ends the same. One file of a PSP is read at a time, by whoever holds its lock. This module
must never read a file that nobody has vouched for.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog

from reconciler.breaks import Break, Connection, open_breaks
from reconciler.kinds import BreakKind
from reconciler.settlement.judge import Verdict
from reconciler.settlement.stretches import STRETCH_BYTES, Stretch, stretches
from reconciler.settlement.weighing import subject_of, weigh
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from shared.settlement.layout import Layout, Shape
from shared.settlement.lines import BadFile, Batch, LineReader

REFUSED_MAX: Final = 10_000
"""More lines that make no sense than this are a file of another layout: reading it stops."""
_WEIGHED: Final = 1_000
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('pm.settlement_file:' || $1, 0))"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended('pm.settlement_file:' || $1, 0))"
_FIND: Final = "SELECT * FROM pm.settlement_file WHERE psp = $1 AND name = $2 AND sha256 = $3"
_REFUSALS: Final = (
    "INSERT INTO pm.settlement_refusal (file_id, line, reason)"
    " SELECT $1, * FROM unnest($2::bigint[], $3::text[]) ON CONFLICT DO NOTHING"
)
_FINISH: Final = (
    "UPDATE pm.settlement_file SET state = $2, reason = $3, finished_at = now() WHERE id = $1 AND state = 'READING'"
)
_log = structlog.get_logger(__name__)


class BeingRead(Transient):
    """Somebody else reads a file of this PSP."""

    code = "being_read"


@dataclass(frozen=True, slots=True)
class File:
    """A file as the database has it.

    Attributes:
        id: its number.
        psp: whose.
        name: as it was delivered.
        sha256: of its content, in hex.
        state: READING, DONE or REFUSED.
        reason: why it was refused.
        read_bytes: where reading goes on.
        read_lines: how many lines lie before that.
        counted: lines about payments.
        taken: those of them that were new.
        refused: those that make no sense.
    """

    id: int
    psp: str
    name: str
    sha256: str
    state: str
    reason: str | None
    read_bytes: int
    read_lines: int
    counted: int
    taken: int
    refused: int


@dataclass(slots=True)
class _Progress:
    """How far a reader has come, and what it has seen."""

    at_bytes: int
    verdicts: Counter[Verdict] = field(default_factory=Counter)


async def note_file(pool: Pool, *, psp: str, name: str, sha256: str, size: int) -> File:
    """Return a file's row, made now if it is new.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        await pool.execute(statement("settlement/find_file"), psp, name, sha256, size)
    found = await find_file(pool, psp=psp, name=name, sha256=sha256)
    if found is None:
        raise Transient("a file that was noted a moment ago is not there", code="file_gone")
    return found


async def find_file(pool: Pool, *, psp: str, name: str, sha256: str) -> File | None:
    """Return a file's row; None where nobody has noted it."""
    with database():
        row = await pool.fetchrow(_FIND, psp, name, sha256)
    return None if row is None else _file(row)


async def read_file(pool: Pool, layout: Layout, file: File, path: Path, *, stretch_bytes: int = STRETCH_BYTES) -> File:
    """Read a file to its end, from where reading ended last; `path` is a copy that nobody else writes.

    Raises:
        BeingRead: somebody else reads a file of this PSP.
        OSError: the copy cannot be read.
        Transient, OutcomeUnknown: the database is out of reach; read it again.
    """
    async with _alone(pool, file.psp) as connection:
        with database():
            row = await connection.fetchrow(_FIND, file.psp, file.name, file.sha256)
        file = _file(row) if row is not None else file
        if file.state != "READING":
            return file
        progress = _Progress(file.read_bytes)
        try:
            await _read(connection, layout, file, path, progress, stretch_bytes)
        except BadFile as error:
            await _finish(connection, file, "REFUSED", str(error), {"format": str(error)})
        else:
            await _end(connection, layout, file)
        with database():
            done = await connection.fetchrow(_FIND, file.psp, file.name, file.sha256)
    result = file if done is None else _file(done)
    _log.info(
        "settlement_file_read",
        psp=file.psp,
        file=file.name,
        sha256=file.sha256,
        state=result.state,
        lines=result.counted,
        taken=result.taken,
        refused=result.refused,
        verdicts={str(verdict): lines for verdict, lines in progress.verdicts.items()},
    )
    return result


@asynccontextmanager
async def _alone(pool: Pool, psp: str) -> AsyncIterator[Connection]:
    with database():
        connection = await pool.acquire()
    try:
        with database():
            locked = await connection.fetchval(_LOCK, psp)
        if not locked:
            raise BeingRead(f"somebody else reads a file of {psp}")
        yield connection
    finally:
        # A lost connection has lost the lock with it.
        with suppress(Transient, OutcomeUnknown), database():
            await connection.execute(_UNLOCK, psp)
        with database():
            await pool.release(connection)


async def _read(
    connection: Connection, layout: Layout, file: File, path: Path, progress: _Progress, stretch_bytes: int
) -> None:
    """Take batch after batch; while the database has one, the next is read."""
    reader = LineReader(layout)
    if layout.shape is Shape.CSV and file.read_bytes:
        await asyncio.to_thread(_learn_names, reader, path, file.read_bytes)
    source = stretches(path, begin_bytes=file.read_bytes, first=file.read_lines + 1, size=stretch_bytes)
    ahead = asyncio.create_task(asyncio.to_thread(_next, source, reader))
    try:
        while (found := await ahead) is not None:
            ahead = asyncio.create_task(asyncio.to_thread(_next, source, reader))
            await _take(connection, layout, file, *found, progress)
    finally:
        await asyncio.wait({ahead})
        if not ahead.cancelled():
            ahead.exception()  # It was read ahead for nobody: whatever ended this is told instead.


def _next(source: Iterator[Stretch], reader: LineReader) -> tuple[Stretch, Batch] | None:
    stretch = next(source, None)
    return None if stretch is None else (stretch, reader.read(stretch.lines, stretch.first))


def _learn_names(reader: LineReader, path: Path, until_bytes: int) -> None:
    for stretch in stretches(path, size=16 * 1024):
        for number, line in enumerate(stretch.lines, start=stretch.first):
            reader.read([line], number)
            if reader.named:
                return
        if stretch.end_bytes >= until_bytes:
            return


async def _take(
    connection: Connection, layout: Layout, file: File, stretch: Stretch, batch: Batch, progress: _Progress
) -> None:
    lines = stretch.first + len(stretch.lines) - 1
    with database():
        async with connection.transaction():
            refused = await connection.fetchval(
                statement("settlement/move_on"), file.id, progress.at_bytes, stretch.end_bytes, lines, batch.counted,
                len(batch.refused), sum(batch.amounts), json.dumps(batch.trailers),
            )  # fmt: skip
            if refused is None:
                raise BeingRead(f"somebody else has read {file.name} further")
            await _take_lines(connection, layout, file, batch, progress)
            if batch.refused:
                await connection.execute(_REFUSALS, file.id, *zip(*batch.refused, strict=True))
    progress.at_bytes = stretch.end_bytes
    if refused > REFUSED_MAX:
        raise BadFile(f"more than {REFUSED_MAX} of its lines make no sense")


async def _take_lines(connection: Connection, layout: Layout, file: File, batch: Batch, progress: _Progress) -> None:
    if not batch.numbers:
        return
    taken = await connection.fetchrow(
        statement("settlement/take_lines"), file.id, file.psp, batch.numbers, batch.keys, batch.references,
        batch.transactions, batch.batches, batch.means, batch.amounts, batch.currencies, batch.fees, batch.times,
        batch.odd,
    )  # fmt: skip
    count, odd = (0, 0) if taken is None else (taken["taken"], taken["odd"])
    progress.verdicts[Verdict.AGREES] += count - odd
    if odd:
        rows = await connection.fetch(statement("settlement/fresh_lines"), file.id, batch.numbers[0], batch.numbers[-1])
        for begin in range(0, len(rows), _WEIGHED):
            page = rows[begin : begin + _WEIGHED]
            progress.verdicts += await weigh(connection, layout, [(row["file_id"], row["line"]) for row in page])
    if count < len(batch.numbers):
        await _note_duplicates(connection, file, batch)


async def _note_duplicates(connection: Connection, file: File, batch: Batch) -> None:
    """Tell of payments that were named before: twice in one file, or now otherwise; the same again is no news."""
    rows = await connection.fetch(
        statement("settlement/duplicate_lines"),
        file.id,
        file.psp,
        batch.numbers,
        batch.keys,
        batch.references,
        batch.amounts,
        batch.currencies,
    )
    await open_breaks(connection, [_duplicate(file, row) for row in rows])


def _duplicate(file: File, row: asyncpg.Record) -> Break:
    kind, subject = BreakKind.DUPLICATE_LINE, subject_of(file.psp, row["line_key"])
    if row["other_amount"] or row["other_reference"]:
        # What was said first stands, and what was done upon it; this line is for people, under a name of its own.
        kind = BreakKind.CONTRADICTS_TERMINAL if row["other_reference"] else BreakKind.AMOUNT_DIFFERS
        subject = f"{subject}@{file.sha256[:12]}.{row['line']}"
    first = {"reference": row["first_reference"], "amount_minor": row["first_minor"], "currency": row["first_currency"]}
    again = {name: row[name] for name in ("reference", "amount_minor", "currency")}
    return Break(
        kind=kind,
        subject=subject,
        sides={"first": first, "again": again},
        psp=file.psp,
        intent_id=row["intent_id"],
        delta_minor=row["amount_minor"],
        currency=row["currency"],
        evidence={
            "file": file.name,
            "sha256": file.sha256,
            "line": row["line"],
            "first_line": row["first_line"],
            "first_in_another_file": row["elsewhere"],
        },
    )


async def _end(connection: Connection, layout: Layout, file: File) -> None:
    """Hold what was read against what the file says of itself, and be done with it."""
    with database():
        row = await connection.fetchrow("SELECT * FROM pm.settlement_file WHERE id = $1", file.id)
    sides = {} if row is None else _differences(layout, row)
    await _finish(connection, file, "DONE", None, sides)


def _differences(layout: Layout, row: asyncpg.Record) -> dict[str, Any]:
    """Return in what a file is not what it says."""
    sides: dict[str, Any] = {}
    trailers: Sequence[list[int | None]] = json.loads(row["trailers"])
    if row["refused"]:
        sides["refused_lines"] = row["refused"]
    if not layout.trailer:
        return sides
    if len(trailers) != 1:
        return sides | {"trailers": len(trailers)}
    count, total = trailers[0]
    if count is not None and count != row["counted"]:
        sides["lines"] = {"trailer": count, "read": row["counted"]}
    # Of lines that make no sense nobody knows the amounts.
    if total is not None and not row["refused"] and total != int(row["total_minor"]):
        sides["total_minor"] = {"trailer": total, "read": int(row["total_minor"])}
    return sides


async def _finish(connection: Connection, file: File, state: str, reason: str | None, sides: dict[str, Any]) -> None:
    differs = Break(
        kind=BreakKind.FILE_DIFFERS,
        subject=f"{file.psp}:{file.name}:{file.sha256}",
        sides=sides,
        psp=file.psp,
        evidence={"file": file.name, "sha256": file.sha256},
    )
    with database():
        async with connection.transaction():
            await connection.execute(_FINISH, file.id, state, reason)
            await open_breaks(connection, [differs] if sides else [])


def _file(row: asyncpg.Record) -> File:
    return File(**{name: row[name] for name in File.__dataclass_fields__})
