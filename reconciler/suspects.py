"""Suspects: what differed at the first look on a mesh at work, kept until it has been looked at again.

A cursor moves past a difference at once, and the suspect is written in the same transaction: whoever dies in between
loses neither. This module must never call a suspect a break.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.breaks import Break, Connection
from reconciler.kinds import BreakKind
from reconciler.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool


class Watched(StrEnum):
    """What is looked at again, and by which name."""

    INTENT = "intent"
    """By its id, or by the id that transfers of nobody's name."""
    WALLET = "wallet"
    """A customer's balance, by the account's name."""
    ACCOUNT = "account"
    """An account on the map, by its name."""
    OPENED = "opened"
    """An account in the ledger, by its id."""
    HISTORY = "history"
    """A row of the history, by account and transfer id."""


_K: Final = BreakKind
_OTHERS: Final[Mapping[BreakKind, Watched]] = {
    _K.BALANCE_DIFFERS: Watched.WALLET,
    _K.HELD_DIFFERS: Watched.WALLET,
    _K.ACCOUNT_MISSING: Watched.ACCOUNT,
    _K.ACCOUNT_MISNAMED: Watched.ACCOUNT,
    _K.ACCOUNT_MALFORMED: Watched.ACCOUNT,
    _K.ACCOUNT_UNMAPPED: Watched.OPENED,
    _K.HISTORY_EXTRA: Watched.HISTORY,
}
_INTENTS: Final = (
    _K.SETTLED_WITHOUT_TRANSFERS, _K.TRANSFER_WITHOUT_INTENT, _K.HOLD_WITHOUT_INTENT, _K.TRANSFER_UNPLANNED,
    _K.AMOUNT_MISMATCH, _K.AMOUNT_ZERO, _K.ACCOUNT_MISMATCH, _K.TRANSFER_MISMATCH, _K.HOLD_MISSING,
    _K.HOLD_LEFT_OPEN, _K.POSTED_THOUGH_FAILED, _K.MOVED_THOUGH_REFUSED, _K.PLAN_MISSING, _K.STATE_CONTRADICTS_PLAN,
    _K.HISTORY_MISSING, _K.HISTORY_DIFFERS, _K.LIMIT_UNPLANNED, _K.LIMIT_MISMATCH,
)  # fmt: skip
WATCHED: Final[Mapping[BreakKind, Watched]] = dict.fromkeys(_INTENTS, Watched.INTENT) | dict(_OTHERS)
"""What the subject of a break of each kind names, where the subject alone says what to look at again."""

Targets = dict[Watched, set[str]]


@dataclass(frozen=True, slots=True, order=True)
class Suspect:
    """One thing to look at again."""

    what: Watched
    key: str


def suspects_of(breaks: Iterable[Break]) -> set[Suspect]:
    """Return what has to be looked at again before these are breaks."""
    return {Suspect(WATCHED[one.kind], one.subject) for one in breaks}


async def add_suspects(connection: Connection, suspects: Iterable[Suspect], *, grace_s: float) -> None:
    """Keep suspects for `grace_s`; one that is known already keeps its time."""
    rows = [(str(one.what), one.key) for one in sorted(suspects)]
    if rows:
        await connection.execute(statement("add_suspects"), *zip(*rows, strict=True), grace_s)


async def put_off(connection: Connection, suspects: Iterable[Suspect], *, grace_s: float) -> None:
    """Look at suspects again later: what they are about would not stand still."""
    rows = [(str(one.what), one.key) for one in sorted(suspects)]
    if rows:
        await connection.execute(statement("put_off_suspects"), *zip(*rows, strict=True), grace_s)


async def drop_suspects(connection: Connection, suspects: Iterable[Suspect]) -> None:
    """Forget suspects that have been looked at."""
    rows = [(str(one.what), one.key) for one in sorted(suspects)]
    if rows:
        await connection.execute(statement("drop_suspects"), *zip(*rows, strict=True))


async def due_suspects(pool: Pool, *, limit: int) -> list[Suspect]:
    """Return suspects whose time has come, the longest waiting first.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(statement("due_suspects"), limit)
    return [Suspect(Watched(row["what"]), row["key"]) for row in rows]


async def stale_breaks(pool: Pool, *, older_than_s: float, limit: int) -> list[Suspect]:
    """Return what open breaks are about that nobody has looked at for a while.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    with database():
        rows = await pool.fetch(statement("stale_breaks"), list(map(str, WATCHED)), older_than_s, limit)
    return sorted({Suspect(WATCHED[BreakKind(row["kind"])], row["subject"]) for row in rows})


def kinds_watched(what: Watched) -> Sequence[str]:
    """Return the kinds of breaks whose subjects are of one sort."""
    return [str(kind) for kind, sort in WATCHED.items() if sort is what]
