"""The services' logs, as they are written: one line per event, coloured by service, the newest fields last."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

_POLL_S: Final = 0.2
_BYTES_MAX: Final = 256 * 1024
_COLOURS: Final = ("cyan", "magenta", "blue", "green", "yellow")
_LEVELS: Final = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
_TAKEN: Final = frozenset({"timestamp", "level", "event", "service", "logger"})


@dataclass(slots=True)
class _Tail:
    """How far one log has been read; `rest` is a line that is not finished yet."""

    name: str
    path: Path
    colour: str
    offset: int = 0
    rest: bytes = b""
    lines: list[bytes] = field(default_factory=list)

    def read(self) -> list[str]:
        """Return the lines that have been finished since the last time."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as log:
            if log.seek(0, 2) < self.offset:  # emptied meanwhile
                self.offset, self.rest = 0, b""
            log.seek(self.offset)
            new = log.read(_BYTES_MAX)
            self.offset = log.tell()
        *lines, self.rest = (self.rest + new).split(b"\n")
        return [line.decode(errors="replace") for line in lines if line.strip()]


async def follow(console: Console, logs: Sequence[tuple[str, Path]]) -> None:
    """Print what the named logs get, until cancelled."""
    tails = [_Tail(name, path, _COLOURS[number % len(_COLOURS)]) for number, (name, path) in enumerate(logs)]
    width = max(len(tail.name) for tail in tails)
    while True:
        for tail in tails:
            for line in tail.read():
                console.print(pretty(tail.name.ljust(width), line, colour=tail.colour), soft_wrap=True)
        await asyncio.sleep(_POLL_S)


def pretty(name: str, line: str, *, colour: str) -> Text:
    """Return a line of a JSON log for people; any other line as it is."""
    entry = _parsed(line)
    if entry is None:
        return Text.assemble((name, colour), " ", line)
    level = str(entry.get("level", ""))
    fields = "  ".join(f"{key}={_short(value)}" for key, value in entry.items() if key not in _TAKEN)
    style = _LEVELS.get(level, "")
    return Text.assemble(
        (str(entry.get("timestamp", ""))[11:19], "dim"),
        " ",
        (name, colour),
        " ",
        (str(entry.get("event", "")), style or "bold"),
        "  " if fields else "",
        (fields, style or "dim"),
    )


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
