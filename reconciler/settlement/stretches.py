"""A file in stretches of whole lines: constant memory however long it is, and however long one of its lines.

A line without an end is not read into memory: what exceeds the longest line is dropped, and the line is refused by
its length. This module must never look into a line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.settlement.layout import LINE_BYTES_MAX

STRETCH_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stretch:
    """Lines without their ends; `first` is the number of the first, `end_bytes` where the next stretch begins."""

    lines: list[bytes]
    first: int
    end_bytes: int


def stretches(path: Path, *, begin_bytes: int = 0, first: int = 1, size: int = STRETCH_BYTES) -> Iterator[Stretch]:
    """Yield a file's lines from a place on that is the beginning of the line numbered `first`.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(begin_bytes)
        place = begin_bytes
        rest, rest_bytes = b"", 0
        while chunk := file.read(size):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            if not lines:
                rest_bytes += len(chunk)
                rest = rest[: LINE_BYTES_MAX + 1]
                continue
            place += rest_bytes + len(chunk) - len(rest)
            rest_bytes = len(rest)
            rest = rest[: LINE_BYTES_MAX + 1]
            yield Stretch(lines, first, place)
            first += len(lines)
        if rest:
            # A last line that does not end is a line all the same; a file that was cut off is told by its trailer.
            yield Stretch([rest], first, place + rest_bytes)
