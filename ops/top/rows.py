"""What a look at the mesh finds: plain rows, None where the store that knows did not answer.

Ages and times are seconds. This module must never do I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Unreached:
    """Something that could not be read, and why."""

    store: str
    what: str
    error: str


@dataclass(frozen=True, slots=True)
class MeshRow:
    """Which mesh this is."""

    id: str
    epoch: int
    ledger_kind: str | None
    partitions: int


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One work stream and its one group.

    Attributes:
        stream: its key.
        group: who reads it.
        exists: whether there is such a stream with that group; everything else is 0 or None otherwise.
        length: entries in it, those in flight included.
        waiting: entries that nobody has been given yet.
        in_flight: entries that somebody holds, or handed back.
        delayed: entries in its delay set, due again later.
        oldest_s: for how long its oldest entry has been in the mesh.
        behind_s: how old what is being handed out is; 0 where nothing waits.
        added_per_s: since the look before; None at the first.
        finished_per_s: likewise.
        dead: its dead letters.
        dead_oldest_s: since when the oldest of them is dead.
    """

    stream: str
    group: str
    exists: bool
    length: int = 0
    waiting: int = 0
    in_flight: int = 0
    delayed: int = 0
    oldest_s: float | None = None
    behind_s: float = 0.0
    added_per_s: float | None = None
    finished_per_s: float | None = None
    dead: int = 0
    dead_oldest_s: float | None = None


@dataclass(frozen=True, slots=True)
class ConsumerRow:
    """One name in a group: how many entries it holds, and for how long nothing has been heard of it."""

    stream: str
    group: str
    consumer: str
    held: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class DeadRow:
    """How many dead letters of one reason stand beside one stream."""

    stream: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class PspRow:
    """A PSP just now.

    Attributes:
        psp: its id.
        channel: what routes call it; from PostgreSQL.
        paused: operation, or ``*`` → why and by whom; from PostgreSQL, else from Redis (which knows no reason).
        untold: operations on which PostgreSQL and Redis disagree whether they are paused.
        breaker: CLOSED, OPEN or HALF_OPEN; from Redis.
        breaker_left_s: in how long it may be probed.
        calls: of the last minute, as its adapters counted them in Redis; opening the breaker forgets them.
        errors: of them.
        heard: how many of its words were recorded in the last minutes; from PostgreSQL.
        answers: submissions that were answered among them.
        p95_s: 95 % of those took no longer, from the stream to the record.
        unsent: jobs in the outbox, counted up to a bound.
        unsent_oldest_s: age of the oldest of them.
        undecided: its intents that are not decided, by state.
    """

    psp: str
    channel: str | None = None
    paused: Mapping[str, str] | None = None
    untold: tuple[str, ...] = ()
    breaker: str | None = None
    breaker_left_s: float = 0.0
    calls: int | None = None
    errors: int | None = None
    heard: int | None = None
    answers: int | None = None
    p95_s: float | None = None
    unsent: int | None = None
    unsent_oldest_s: float | None = None
    undecided: Mapping[str, int] | None = None

    @property
    def error_rate(self) -> float | None:
        """The part of the last minute's calls that failed; None without calls."""
        return None if not self.calls or self.errors is None else self.errors / self.calls


@dataclass(frozen=True, slots=True)
class View:
    """The mesh at one moment.

    Attributes:
        at: the moment, UTC.
        mesh: which mesh; None where no store said so.
        unreached: what could not be read.
        streams: every work stream there is; empty where Redis did not answer.
        consumers: every name in their groups, up to a bound for each stream.
        dead_letters: by stream and reason.
        psps: every PSP there is.
        steps_per_s: how many intents entered each state, per second of `window_s`.
        window_s: the length of that window.
        undecided: intents that are not decided yet, by state, counted up to a bound.
        at_least: a count has reached its bound: there may be more.
    """

    at: datetime
    mesh: MeshRow | None = None
    unreached: tuple[Unreached, ...] = ()
    streams: tuple[StreamRow, ...] = ()
    consumers: tuple[ConsumerRow, ...] = ()
    dead_letters: tuple[DeadRow, ...] = ()
    psps: tuple[PspRow, ...] = ()
    steps_per_s: Mapping[str, float] | None = None
    window_s: float = 0.0
    undecided: Mapping[str, int] | None = None
    at_least: bool = False

    @property
    def in_doubt(self) -> int | None:
        """How many intents are IN_DOUBT."""
        return None if self.undecided is None else self.undecided.get("IN_DOUBT", 0)

    @property
    def outbox(self) -> int | None:
        """How many jobs wait in the outbox, of all PSPs."""
        depths = [row.unsent for row in self.psps if row.unsent is not None]
        return sum(depths) if len(depths) == len(self.psps) else None

    @property
    def dead(self) -> int:
        """How many dead letters there are."""
        return sum(row.dead for row in self.streams)
