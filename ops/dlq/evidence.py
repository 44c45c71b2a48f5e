"""Evidence for a verdict: a file or a sentence, kept sealed, shown with long numbers and addresses covered.

This module must never show it in plain.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from ops.dlq.contents import printable
from shared.errors import BadInput

BYTES_MAX: Final = 64 * 1024
_SHOWN_MAX: Final = 2000
_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_NUMBER: Final = re.compile(r"\d(?:[ -]?\d){5,}")
_KEPT_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Evidence:
    """What somebody holds for a proof."""

    text: str

    @classmethod
    def read(cls, given: str) -> Self:
        """Read it: the contents of a file, where ``@`` or a path names one, else the sentence itself.

        Raises:
            BadInput: nothing is left of it, or it is too long, or no text.
        """
        path = Path(given.removeprefix("@"))
        try:
            raw = path.read_bytes() if given.startswith("@") or _is_file(path) else given.encode()
        except OSError as error:
            raise BadInput(f"the evidence {path} cannot be read: {error.strerror}", code="no_evidence") from None
        if len(raw) > BYTES_MAX:
            raise BadInput(f"the evidence has {len(raw)} bytes; {BYTES_MAX} are kept", code="no_evidence")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise BadInput("the evidence is no text; write down what it shows", code="no_evidence") from None
        if not text.strip():
            raise BadInput("the evidence is empty", code="no_evidence")
        return cls(text)

    @property
    def sha256(self) -> str:
        """What it hashes to; whoever holds the same file can tell."""
        return sha256(self.text.encode()).hexdigest()

    def covered(self) -> str:
        """Return what people may see of it."""
        shown = _NUMBER.sub(_cover, _MAIL.sub("***@***", self.text[:_SHOWN_MAX]))
        return "\n".join(map(printable, shown.splitlines()))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # A sentence that no file could be called.
        return False


def _cover(found: re.Match[str]) -> str:
    return "***" + re.sub(r"\D", "", found[0])[-_KEPT_DIGITS:]
