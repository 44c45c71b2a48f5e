"""Codes on the screen: every module where it belongs, and nothing where it could not be scanned."""

import io

import pytest
import segno
from rich.console import Console

from ops.qr import drawn, qr_lines

LINK = "https://qr.nspk.ru/AD10004MV5CJ3D638358RO81129CE63P?type=02&bank=100000000004&sum=30510&cur=RUB&crc=B754"


def console(*, terminal: bool = True, width: int = 80, encoding: str = "utf-8") -> Console:
    """A console of that kind."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, force_terminal=terminal, width=width, color_system="standard" if terminal else None)


def test_every_module_is_drawn_where_it_belongs() -> None:
    """Read back block by block, the drawing is the code with two light modules around it."""
    halves = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    read: list[list[int]] = []
    for line in qr_lines(LINK):
        read += [[halves[block][0] for block in line], [halves[block][1] for block in line]]
    wanted = [list(row) for row in segno.make(LINK, error="m", micro=False, boost_error=False).matrix_iter(border=2)]
    assert read[: len(wanted)] == wanted
    assert not any(map(any, read[len(wanted) :]))


def test_a_code_is_dark_on_light_whatever_the_terminal_is() -> None:
    """Its own colours, and no line of it folded."""
    text = drawn(console(), LINK)
    assert text is not None
    assert str(text.style) == "black on bright_white"
    assert {len(line) for line in str(text).split("\n")} == {len(qr_lines(LINK)[0])}


@pytest.mark.parametrize(
    "where", [console(terminal=False), console(width=40), console(encoding="ascii")], ids=["file", "narrow", "ascii"]
)
def test_nothing_is_drawn_where_it_could_not_be_scanned(where: Console) -> None:
    """No terminal, no room, no letters for it: whoever draws shows the link instead."""
    assert drawn(where, LINK) is None
