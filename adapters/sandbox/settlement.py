"""Settlement files as a provider's sandbox writes them: from its books, with the manifest that vouches for each.

The file is complete before its name is, and the manifest comes last: whoever finds ``NAME.sha256`` finds the file.
This module must never write what did not happen.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

from aiohttp import web
from pydantic import Field

from adapters.sandbox.answers import Body, Refused, read_body

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Span:
    """A business day in the provider's zone, in unix ms."""

    day: date
    zone: timezone
    begin_ms: int
    end_ms: int

    def covers(self, at_ms: int) -> bool:
        """Say whether a moment lies in it."""
        return self.begin_ms <= at_ms < self.end_ms

    def local(self, at_ms: int) -> datetime:
        """Return a moment as the provider's clocks show it."""
        return datetime.fromtimestamp(at_ms / 1000, self.zone)


WriteLines = Callable[[Span], str]
"""Writes the file of a day out of the books."""


class WantedFile(Body):
    """POST /control/settlement-files."""

    folder: str = Field(max_length=1024)
    day: date | None = None
    """Unset: the day that it is."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,128}\z")


@dataclass(frozen=True, slots=True)
class SettlementFiles:
    """The handler: which provider, in which zone, whose clock, and how its lines are written."""

    psp: str
    zone_minutes: int
    now_ms: Callable[[], int]
    write: WriteLines
    suffix: str

    async def make(self, request: web.Request) -> web.Response:
        """Write a day's file into a folder, and its manifest beside it."""
        wish = await read_body(request, WantedFile)
        folder = Path(wish.folder)
        span = self._span(wish.day)
        name = wish.name or f"{self.psp}-{span.day.isoformat()}.{self.suffix}"
        content = self.write(span).encode()
        try:
            sha256 = await asyncio.to_thread(publish, folder, name, content)
        except OSError as error:
            raise Refused(409, "NO_FOLDER", f"{type(error).__name__}") from None
        answer = {"name": name, "sha256": sha256, "bytes": len(content), "lines": content.count(b"\n")}
        return web.json_response(answer, status=201)

    def _span(self, day: date | None) -> Span:
        zone = timezone(timedelta(minutes=self.zone_minutes))
        day = day or datetime.fromtimestamp(self.now_ms() / 1000, zone).date()
        begin = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        begin_ms = int(begin.timestamp() * 1000)
        return Span(day, zone, begin_ms, begin_ms + _DAY_MS)


def publish(folder: Path, name: str, content: bytes) -> str:
    """Write a file, then its manifest; return the SHA-256 in hex."""
    sha256 = hashlib.sha256(content).hexdigest()
    _whole(folder / name, content)
    _whole(folder / f"{name}.sha256", f"{sha256}  {name}\n".encode())
    return sha256


def _whole(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
