"""Files are taken in: found where they are delivered, copied, held against their manifest, read, and let go.

::

    delivered → copied while its SHA-256 is counted → vouched for by its manifest → read → the copy is deleted

What is read is a copy that nobody else writes, so that what was vouched for is what is read. A file is known by PSP,
name and SHA-256 before a byte of it is copied; it is taken once. A copy that was being read when the process ended is
carried on with, and counted again first. This module must never read a file whose content its manifest does not name.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Final

import structlog

from reconciler.breaks import Break, Closing, close_breaks, open_breaks
from reconciler.kinds import BreakKind
from reconciler.settlement.delivery import CHUNK_BYTES, Delivered, Place, Unreachable
from reconciler.settlement.reading import BeingRead, File, find_file, note_file, read_file
from shared.db.failures import database
from shared.db.pool import Pool
from shared.settlement.layout import Layout

_READING: Final = "SELECT name, sha256 FROM pm.settlement_file WHERE psp = $1 AND state = 'READING' ORDER BY id"
_FAILURES_MAX: Final = 3
_log = structlog.get_logger(__name__)


class Intake:
    """Takes files in; remembers only which ones it need not copy again to see that their manifests are wrong."""

    def __init__(self, *, pool: Pool, spool: Path) -> None:
        """Put it together; `spool` is a folder that nobody else writes to, with room for the largest file."""
        self._pool = pool
        self._spool = spool
        self._wrong: dict[tuple[str, str], tuple[int, ...]] = {}
        self._stuck: dict[tuple[str, str], tuple[int, ...]] = {}

    async def carry_on(self, layout: Layout) -> list[File]:
        """Read on in copies that were being read when a process ended.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        with database():
            rows = await self._pool.fetch(_READING, layout.psp)
        done: list[File] = []
        for row in rows:
            copy = self._copy_of(layout.psp, row["sha256"])
            if not await asyncio.to_thread(_is, copy, row["sha256"]):
                continue  # Its copy is gone; it is taken again from where it was delivered.
            file = await find_file(self._pool, psp=layout.psp, name=row["name"], sha256=row["sha256"])
            if file is not None:
                done += await self._read(layout, file, copy)
        return done

    async def take_from(self, place: Place, layout: Layout) -> list[File]:
        """Take every file in that is new; return those that were read.

        Raises:
            Unreachable: the place does not answer.
            Transient, OutcomeUnknown: the database is out of reach.
        """
        done: list[File] = []
        failures = 0
        # What could not be copied before comes last, so that any number of such files keeps nobody from the next.
        found = sorted(await place.look(), key=lambda one: self._stuck.get((layout.psp, one.name)) == one.stamp)
        for one in found:
            try:
                file = await self.take(place, layout, one)
            except Unreachable as error:
                # One file that cannot be copied keeps nobody from the next; a place where none can is out of order.
                failures += 1
                self._stuck[layout.psp, one.name] = one.stamp
                if failures >= _FAILURES_MAX:
                    raise
                _log.warning("settlement_file_unreachable", psp=layout.psp, file=one.name, error=str(error))
                continue
            done += [] if file is None else [file]
        return done

    async def take(self, place: Place, layout: Layout, one: Delivered) -> File | None:
        """Take one file in; None where it is known, being read by somebody else, or not what its manifest says."""
        psp = layout.psp
        if one.sha256 is None:
            await self._refuse(psp, one, "its manifest makes no sense, or one of the two is no file")
            return None
        known = await find_file(self._pool, psp=psp, name=one.name, sha256=one.sha256)
        if (known is not None and known.state != "READING") or self._wrong.get((psp, one.name)) == one.stamp:
            return None
        copy = self._copy_of(psp, one.sha256)
        if not await asyncio.to_thread(_is, copy, one.sha256):
            part = copy.with_suffix(".part")
            if await place.copy(one.name, part) != one.sha256:
                await asyncio.to_thread(part.unlink)
                await self._refuse(psp, one, "its content is not what its manifest says")
                return None
            await asyncio.to_thread(part.replace, copy)
        size = (await asyncio.to_thread(copy.stat)).st_size
        file = await note_file(self._pool, psp=psp, name=one.name, sha256=one.sha256, size=size)
        await self._vouched(psp, one.name)
        done = await self._read(layout, file, copy)
        return done[0] if done else None

    async def _read(self, layout: Layout, file: File, copy: Path) -> list[File]:
        try:
            done = await read_file(self._pool, layout, file, copy)
        except BeingRead:
            return []
        await asyncio.to_thread(copy.unlink, missing_ok=True)
        return [done]

    async def _refuse(self, psp: str, one: Delivered, why: str) -> None:
        """Tell people of a file that is not believed; once, until it changes."""
        if self._wrong.get((psp, one.name)) == one.stamp:
            return
        self._wrong[psp, one.name] = one.stamp
        _log.error("settlement_file_refused", psp=psp, file=one.name, why=why)
        differs = Break(
            kind=BreakKind.FILE_DIFFERS,
            subject=f"{psp}:{one.name}",
            sides={"manifest": why},
            psp=psp,
            evidence={"file": one.name, "sha256": one.sha256},
        )
        await open_breaks(self._pool, [differs])

    async def _vouched(self, psp: str, name: str) -> None:
        reason = "the file has come with a manifest that vouches for it"
        await close_breaks(self._pool, [Closing(BreakKind.FILE_DIFFERS, f"{psp}:{name}", reason)])

    def _copy_of(self, psp: str, sha256: str) -> Path:
        return self._spool / f"{psp}.{sha256}"


def _is(path: Path, sha256: str) -> bool:
    """Say whether there is a file of that content."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == sha256
