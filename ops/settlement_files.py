"""Settlement files as operators handle them: looked through, taken in by hand, listed.

A file that is taken in by hand goes the way of every other: copied, held against its manifest, read, and heard. This
module must never take a file in that no manifest vouches for.
"""

import asyncio
import hashlib
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ops.audit import audit
from ops.refusals import Refused
from ops.stores import OpenStores
from reconciler.settlement.delivery import CHUNK_BYTES, Delivered, Folder
from reconciler.settlement.intake import Intake
from reconciler.settlement.reading import BeingRead, File, find_file
from reconciler.settlement.stretches import stretches
from reconciler.settlement.sweeping import look_again
from reconciler.settlement.words import say_words
from shared.clock import wall_ms
from shared.db.failures import database
from shared.db.pool import Pool
from shared.settlement.layout import Layout, read_layout
from shared.settlement.lines import BadFile, LineReader
from shared.streams.permits import Replicas

_LAYOUT: Final = "SELECT settlement FROM pm.psp WHERE psp = $1"
_VERDICTS: Final = "SELECT verdict, count(*) AS n FROM pm.settlement_line WHERE file_id = $1 GROUP BY verdict"
_FILES: Final = (
    "SELECT id, psp, name, sha256, state, reason, bytes, read_bytes, counted, taken, refused, found_at, finished_at"
    " FROM pm.settlement_file WHERE $1::text IS NULL OR psp = $1 ORDER BY id DESC LIMIT $2"
)


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is in a file, before anything is done with it.

    Attributes:
        name: of the file.
        sha256: of its content, as its manifest says, too.
        state: of the file if it is known; ``new`` otherwise.
        lines: about payments.
        means: how many of each.
        refused: how many make no sense, by reason.
        trailers: what its trailers say: lines and total.
        total_minor: what the amounts add up to.
    """

    name: str
    sha256: str
    state: str
    lines: int
    means: Mapping[str, int]
    refused: Mapping[str, int]
    trailers: tuple[tuple[int | None, int | None], ...]
    total_minor: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file that was taken in, and of its lines."""

    file: File
    verdicts: Mapping[str, int]
    said: int
    resting: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as it is listed."""

    id: int
    psp: str
    name: str
    sha256: str
    state: str
    reason: str | None
    bytes: int
    read_bytes: int
    counted: int
    taken: int
    refused: int
    found_at: datetime
    finished_at: datetime | None


async def layout_of(pool: Pool, psp: str) -> Layout:
    """Return how a PSP's files are laid out.

    Raises:
        BadInput: it is not registered, or sends no files.
        BadLayout: what is registered makes no sense.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        row = await pool.fetchrow(_LAYOUT, psp)
    if row is None:
        raise Refused(f"{psp} is not registered; see `paymesh psp list`", code="unknown_psp")
    if row["settlement"] is None:
        raise Refused(f"{psp} sends no settlement files: its adapter has no settlement_file", code="no_layout")
    return read_layout(row["settlement"])


async def foresee(pool: Pool, psp: str, path: Path) -> Prospect:
    """Look a file through, and change nothing.

    Raises:
        BadInput: no manifest vouches for it, or it is a file of another layout.
        Transient, OutcomeUnknown: the database or the file is out of reach.
    """
    layout = await layout_of(pool, psp)
    delivered = await _vouched(path)
    known = await find_file(pool, psp=psp, name=delivered.name, sha256=delivered.sha256 or "")
    return await asyncio.to_thread(_look_through, layout, path, delivered, "new" if known is None else known.state)


async def take_in(stores: OpenStores, psp: str, path: Path, *, actor: str, reason: str, replicas: Replicas) -> Taken:
    """Take a file in, and let its lines be heard; taken in already, nothing is done again.

    Raises:
        BadInput: no manifest vouches for it.
        BeingRead: somebody else reads a file of this PSP.
        Transient, OutcomeUnknown: a store is out of reach; take it in again.
    """
    pool = stores.pool
    layout = await layout_of(pool, psp)
    delivered = await _vouched(path)
    sha256 = delivered.sha256 or ""
    with database():
        async with pool.acquire() as connection, connection.transaction():
            detail = {"file": delivered.name, "sha256": sha256}
            await audit(connection, actor=actor, action="recon.file", target=psp, reason=reason, detail=detail)
    with tempfile.TemporaryDirectory(prefix="paymesh-settlement-") as spool:
        await Intake(pool=pool, spool=Path(spool)).take(Folder(path.parent), layout, delivered)
    file = await find_file(pool, psp=psp, name=delivered.name, sha256=sha256)
    if file is None or file.state == "READING":
        raise BeingRead(f"somebody else reads a file of {psp}; take it in again in a moment")
    await look_again(pool, layout, soon_s=0, later_s=0)
    said = await say_words(pool, stores.redis, psp, now_ms=wall_ms, replicas=replicas)
    with database():
        rows = await pool.fetch(_VERDICTS, file.id)
    return Taken(file, {row["verdict"]: row["n"] for row in rows}, said.said, said.resting)


async def list_files(pool: Pool, *, psp: str | None, limit: int) -> list[Listed]:
    """Return the files that were found last.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(_FILES, psp, limit)
    return [Listed(**dict(row)) for row in rows]


async def _vouched(path: Path) -> Delivered:
    """Return a file whose manifest names its content."""
    found = {one.name: one for one in await Folder(path.parent).look()}.get(path.name)
    if found is None:
        raise Refused(f"there is no {path.name} with a manifest {path.name}.sha256 beside it", code="no_manifest")
    if found.sha256 is None:
        raise Refused(f"{path.name}.sha256 makes no sense: 64 hex digits and perhaps the file's name", code="manifest")
    if await asyncio.to_thread(_digest, path) != found.sha256:
        raise Refused(f"{path.name} is not what its manifest says", code="manifest")
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _look_through(layout: Layout, path: Path, delivered: Delivered, state: str) -> Prospect:
    reader = LineReader(layout)
    means: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    trailers: list[tuple[int | None, int | None]] = []
    lines = total = 0
    try:
        for stretch in stretches(path, size=CHUNK_BYTES):
            batch = reader.read(stretch.lines, stretch.first)
            means.update(batch.means)
            refused.update(reason for _, reason in batch.refused)
            trailers += batch.trailers
            lines += batch.counted
            total += sum(batch.amounts)
    except BadFile as error:
        raise Refused(f"{path.name} is laid out otherwise: {error}", code="bad_file") from None
    return Prospect(delivered.name, delivered.sha256 or "", state, lines, means, refused, tuple(trailers), total)
