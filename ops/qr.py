"""A QR code drawn with half-height blocks, so that it can be paid from the screen.

Two rows of modules share a line of text, dark on light whatever the terminal's own colours are, with a quiet zone of
two modules. Where nobody looks at a terminal, or where its letters are not Unicode, nothing is drawn: a code made of
anything else would not scan. This module must never alter what it draws.
"""

from itertools import zip_longest
from typing import Final

import segno
from rich.console import Console
from rich.text import Text

_QUIET: Final = 2
_INK: Final = "black on bright_white"
_BLOCKS: Final = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def drawn(console: Console, payload: str) -> Text | None:
    """Return the code of a payload for a console; None where it could not be scanned from there."""
    text = "\n".join(qr_lines(payload))
    width = text.index("\n")
    if not console.is_terminal or not console.encoding.startswith("utf") or console.width < width:
        return None
    return Text(text, style=_INK if console.color_system and not console.no_color else "reverse", no_wrap=True)


def qr_lines(payload: str) -> list[str]:
    """Return the lines of a code: a block is dark, a blank is light."""
    code = segno.make(payload, error="m", micro=False, boost_error=False)
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=_QUIET)]
    blank = [False] * len(rows[0])
    return [
        "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip_longest(rows[::2], rows[1::2], fillvalue=blank)
    ]
