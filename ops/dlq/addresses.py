"""What a dead letter is called: its stream and its id, written ``jobs.{ipps}:1732140000000-0``; braces are optional.

This module must never do I/O.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from shared.errors import BadInput
from shared.streams import keys

_STREAM: Final = r"(intents|jobs|results)\.\{?([a-z][a-z0-9]{0,15})\}?"
_ADDRESS: Final = re.compile(rf"(?:dlq[:.])?{_STREAM}:(\d{{1,20}}-\d{{1,20}})")
_PARTITION: Final = re.compile(r"i(\d{1,3})")
_NAMES: Final = {"jobs": keys.jobs, "results": keys.results}


@dataclass(frozen=True, slots=True)
class Address:
    """Where one dead letter stands: the work stream it died in, and its own id."""

    stream: str
    record_id: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises:
            BadInput: it is none.
        """
        found = _ADDRESS.fullmatch(text.strip())
        if found is None:
            raise BadInput(f"{text} is no dead letter's address; `paymesh dlq list --records` prints them")
        return cls(_stream(found[1], found[2]), found[3].encode())

    def __str__(self) -> str:
        return f"{self.stream}:{self.record_id.decode()}"

    @property
    def target(self) -> str:
        """What the audit log calls it."""
        return f"dlq:{self}"


def parse_stream(text: str) -> str:
    """Read the name of a work stream, with or without its braces.

    Raises:
        BadInput: it is none.
    """
    found = re.fullmatch(_STREAM, text.strip())
    if found is None:
        raise BadInput(f"{text} is no work stream; they are called intents.i0, jobs.ipps, results.ipps")
    return _stream(found[1], found[2])


def psp_of(stream: str) -> str | None:
    """Return whose stream it is; None for intents, which are nobody's in particular."""
    return None if stream.startswith("intents.") else keys.hash_tag(stream)[1:-1]


def _stream(kind: str, tag: str) -> str:
    if kind != "intents":
        return _NAMES[kind](tag)
    partition = _PARTITION.fullmatch(tag)
    if partition is None:
        raise BadInput(f"{kind}.{tag} is no work stream; partitions are called i0, i1 …")
    return keys.intents(int(partition[1]))
