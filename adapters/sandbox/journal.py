"""The sandbox's memory on disk: one JSON line for every change, fsynced before anybody hears of it.

A line is ``{"table": …, "row": {…}}`` with the whole new row, so that the last line of a row is the row, and the file
read from the top is its history. The last line of what was written together says ``"end": true``: a sandbox that was
killed may have left less than that, nobody was told of it, and it is cut off. Waiters share one fsync. This module
must never lose a line that an answer was built on, nor keep half of a change.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from shared.errors import Misconfigured

_CHUNK: Final = 1 << 16
_END: Final = ',"end":true}\n'


class Journal:
    """An append-only file of rows; without a path, nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._fd: int | None = None if path is None else _open(path)
        self._pending: list[str] = []
        self._appended = 0
        self._synced = 0
        self._writer: asyncio.Task[None] | None = None

    def replay(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give every line's table and row from the top, after cutting off what a kill left half-written.

        Raises:
            Misconfigured: a line cannot be read, so the file is not ours, or damaged.
        """
        if self._fd is None:
            return
        content = _read(self._fd)
        whole = _whole(content)
        if whole < len(content):
            os.ftruncate(self._fd, whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                entry = json.loads(line)
                yield entry["table"], entry["row"]
            except (ValueError, KeyError, TypeError):
                raise Misconfigured(f"line {number} of the sandbox's books cannot be read") from None

    def append(self, table: str, row_json: str) -> None:
        """Add a row's new version; `durable` says when it is on disk."""
        if self._fd is None:
            return
        self._pending.append(f'{{"table":{json.dumps(table)},"row":{row_json}')
        self._appended += 1

    async def durable(self) -> None:
        """Wait until everything appended so far has reached the disk.

        Raises:
            OSError: it never will; every later call raises as well.
        """
        wanted = self._appended
        while self._synced < wanted:
            if self._writer is None:
                self._writer = asyncio.create_task(self._write_pending())
            # Shielded: a caller that gives up must not tear a line that others wait for.
            await asyncio.shield(self._writer)

    async def close(self) -> None:
        """Write what is left and let go of the file."""
        if self._fd is None:
            return
        try:
            await self.durable()
        finally:
            os.close(self._fd)
            self._fd = None

    async def _write_pending(self) -> None:
        if self._fd is None:
            raise OSError("the journal is closed")
        while self._pending:
            lines, self._pending = self._pending, []
            # Changes are synchronous, so what is pending is whole changes: one end for all of them.
            text = "}\n".join(lines) + _END
            await asyncio.to_thread(_write, self._fd, text.encode())
            self._synced += len(lines)
        # Only a writer that succeeded makes room for the next: after a failure the file may end in half a line.
        self._writer = None


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise Misconfigured(f"another sandbox keeps its books in {path}") from None
    return fd


def _read(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    parts = []
    while part := os.read(fd, _CHUNK):
        parts.append(part)
    return b"".join(parts)


def _whole(content: bytes) -> int:
    """Return the length of what was written to its end."""
    mark = content.rfind(_END.encode())
    return 0 if mark < 0 else mark + len(_END)


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.fsync(fd)
