"""What a handler says about each entry, and what a consumer is.

Plain data: this module must never do I/O.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

ENTRIES_MAX: Final = 256
"""How many entries one script call takes, and one read returns."""

REDRIVES_FIELD: Final = b"redrives"
"""Stands on an entry that came back from the dead letters: how often. Such an entry is processed alone."""

FIRST_MS_FIELD: Final = b"first_ms"
"""Stands on an entry that was added again by retry or redrive: when it was added first, unix ms."""

Fields = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivered stream entry.

    `deliveries` counts crashes plus one: a first delivery is 1, and a hand-back does not raise it.
    """

    stream: str
    id: bytes
    fields: Fields
    deliveries: int


@dataclass(frozen=True, slots=True)
class Member:
    """One consumer of one group on one stream."""

    stream: str
    group: str
    consumer: str


@dataclass(frozen=True, slots=True)
class Done:
    """The work is recorded; take the entry off the stream.

    Everything here happens in the finish script and only if this consumer wins the fence (XACK = 1), except
    `append_if_lost`. All keys share the stream's hash tag.
    """

    delete: tuple[str, ...] = ()
    publish: tuple[tuple[str, bytes], ...] = ()
    append: tuple[tuple[str, Fields], ...] = ()
    append_if_lost: tuple[tuple[str, Fields], ...] = ()
    """Definite answers from outside, recorded as observations where somebody else has finished the entry."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """This entry cannot be processed; keep it, untouched, for people or the sweeper.

    `reason` is counted; `error_class` and `error` (≤ 512 bytes are kept) must never hold field values.
    """

    reason: str
    error_class: str
    error: str


@dataclass(frozen=True, slots=True)
class HandBack:
    """Not now and not by us: somebody else may take it at once; counts nothing."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Add the entry again after `delay_ms`, with its `attempt` field raised by one."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The handler has taken the entry off the stream itself, together with something that had to go with it."""


Verdict = Done | DeadLetter | HandBack | Retry | Gone
Handler = Callable[[Sequence[Entry]], Awaitable[Sequence[Verdict]]]
