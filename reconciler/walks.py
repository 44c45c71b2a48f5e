"""The walks: ledger, log, accounts, each from where it stood, a page at a time; cost grows with what is new.

::

    walk      goes along                        and holds it against
    ledger    the ledger's clock                the log, the read model, and the wallets that moved
    log       the times of transitions          the ledger: what it does not have cannot be found by walking it
    opened    the ledger's accounts by time     the map
    accounts  the map by name, round and round  the ledger and the wallets' balances

A step reads one page and says what it found suspicious and where the walk stands after it. This module must never
write: whoever takes a step keeps both in one transaction.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

import tigerbeetle as tb

from reconciler.account_map import account_breaks, next_page, unmapped
from reconciler.breaks import Break
from reconciler.cursor import Position
from reconciler.examine import examine, owners
from reconciler.statements import statement
from reconciler.wallets import differing, wallets_of
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ledger.accounts import LIMITS_LEDGER, MESH_LEDGER
from shared.ledger.port import Ledger
from shared.states import IntentState

PAGE: Final = 2000
_REMEMBERED_MAX: Final = 200_000
_FIRST: Final = UUID(int=0)
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_OUTSIDE: Final = frozenset({MESH_LEDGER, LIMITS_LEDGER})
_ALL: Final = tb.QueryFilter(
    user_data_128=0, user_data_64=0, user_data_32=0, ledger=0, code=0, timestamp_min=0, timestamp_max=0, limit=PAGE,
    flags=tb.QueryFilterFlags.NONE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Horizon:
    """Up to when there is anything to be walked: what is newer may still be under way."""

    at: datetime
    """For the log, by the database's clock."""
    ns: int
    """For the ledger, by its own."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one page came to; `after` is None where there was nothing to walk."""

    after: Position | None
    walked: int = 0
    suspicious: tuple[Break, ...] = ()
    done: bool = False
    """The end was reached: at the horizon, or of a round."""
    versions: Mapping[UUID, int] = field(default_factory=dict)
    """In which version intents were looked at: to be remembered once what was found is kept, never before."""


class Walk(Protocol):
    """Something that is walked a page at a time."""

    name: str

    async def step(self, position: Position, horizon: Horizon) -> Step:
        """Read the page after a position."""
        ...

    async def oldest(self, position: Position) -> datetime | None:
        """Return when the first thing that has not been walked happened; None where there is none."""
        ...


@dataclass(slots=True)
class Memory:
    """In which version intents were looked at last, so that two walks do not look at the same thing twice.

    Whoever takes a step keeps what it looked at here once what it found is committed: a step whose transaction failed
    is taken again, and must look again.
    """

    versions: OrderedDict[UUID, int] = field(default_factory=OrderedDict)

    def keep(self, versions: Mapping[UUID, int]) -> None:
        """Remember versions; the oldest are forgotten beyond a bound."""
        self.versions.update(versions)
        while len(self.versions) > _REMEMBERED_MAX:
            self.versions.popitem(last=False)

    def knows(self, intent: UUID, version: int) -> bool:
        """Say whether the intent was looked at in this version or a later one."""
        return self.versions.get(intent, 0) >= version


class LedgerWalk:
    """The ledger by its clock."""

    name = "ledger"

    def __init__(self, *, ledger: Ledger, pool: Pool) -> None:
        self._ledger = ledger
        self._pool = pool

    async def step(self, position: Position, horizon: Horizon) -> Step:
        """Look at the owners of the next transfers, and at the wallets that they moved."""
        since = int(position.get("timestamp_ns", 0))
        if since >= horizon.ns:
            return Step(None, done=True)
        page = await self._ledger.query_transfers(replace(_ALL, timestamp_min=since + 1, timestamp_max=horizon.ns))
        if not page:
            return Step(None, done=True)
        examined = await examine(self._ledger, self._pool, owners(page))
        wallets = await wallets_of(self._ledger, self._pool, _touched(page))
        return Step(
            {"timestamp_ns": page[-1].timestamp},
            len(page),
            examined.breaks + tuple(differing(wallets)),
            done=len(page) < PAGE,
            versions=examined.versions,
        )

    async def oldest(self, position: Position) -> datetime | None:
        """Return when the next transfer entered the books."""
        since = int(position.get("timestamp_ns", 0))
        found = await self._ledger.query_transfers(replace(_ALL, timestamp_min=since + 1, limit=1))
        return datetime.fromtimestamp(found[0].timestamp / 1e9, UTC) if found else None


class LogWalk:
    """The transitions of intents by time."""

    name = "log"

    def __init__(self, *, ledger: Ledger, pool: Pool, memory: Memory) -> None:
        self._ledger = ledger
        self._pool = pool
        self._memory = memory

    async def step(self, position: Position, horizon: Horizon) -> Step:
        """Look at the intents that changed next, unless the ledger's walk has just done so."""
        with database():
            rows = await self._pool.fetch(statement("next_events"), *_place(position), horizon.at, PAGE)
        if not rows:
            return Step(None, done=True)
        changed = {
            row["intent_id"]
            for row in rows
            if row["to_state"] != IntentState.VALIDATED and not self._memory.knows(row["intent_id"], row["seq"])
        }
        examined = await examine(self._ledger, self._pool, dict.fromkeys(changed, ()))
        last = rows[-1]
        after = {"at": last["at"].isoformat(), "intent": str(last["intent_id"]), "seq": last["seq"]}
        return Step(after, len(rows), examined.breaks, done=len(rows) < PAGE, versions=examined.versions)

    async def oldest(self, position: Position) -> datetime | None:
        """Return when the next transition happened."""
        with database():
            rows = await self._pool.fetch(statement("next_events"), *_place(position), _NEVER, 1)
        found: datetime | None = rows[0]["at"] if rows else None
        return found


class OpenedWalk:
    """The ledger's accounts by the time of their opening."""

    name = "opened"

    def __init__(self, *, ledger: Ledger, pool: Pool) -> None:
        self._ledger = ledger
        self._pool = pool

    async def step(self, position: Position, horizon: Horizon) -> Step:
        """Look whether the next accounts are on the map."""
        since = int(position.get("timestamp_ns", 0))
        if since >= horizon.ns:
            return Step(None, done=True)
        page = await self._ledger.query_accounts(replace(_ALL, timestamp_min=since + 1, timestamp_max=horizon.ns))
        if not page:
            return Step(None, done=True)
        found = await unmapped(self._pool, page)
        return Step({"timestamp_ns": page[-1].timestamp}, len(page), tuple(found), done=len(page) < PAGE)

    async def oldest(self, position: Position) -> datetime | None:
        """Return when the next account was opened."""
        since = int(position.get("timestamp_ns", 0))
        found = await self._ledger.query_accounts(replace(_ALL, timestamp_min=since + 1, limit=1))
        return datetime.fromtimestamp(found[0].timestamp / 1e9, UTC) if found else None


class AccountsWalk:
    """The map by name; after the last account it begins again."""

    name = "accounts"

    def __init__(self, *, ledger: Ledger, pool: Pool) -> None:
        self._ledger = ledger
        self._pool = pool

    async def step(self, position: Position, horizon: Horizon) -> Step:
        """Look at the next accounts: as they stand in the ledger, and what wallets hold."""
        del horizon  # the map does not grow while it is looked at
        rows = await next_page(self._pool, str(position.get("name", "")))
        if not rows:
            return Step({} if position else None, done=True)
        found = await account_breaks(self._ledger, rows)
        wrong = {one.subject for one in found}
        wallets = await wallets_of(
            self._ledger, self._pool, [row["id"].int for row in rows if row["name"] not in wrong]
        )
        return Step({"name": rows[-1]["name"]}, len(rows), (*found, *differing(wallets)))

    async def oldest(self, position: Position) -> datetime | None:
        """Return nothing: this walk has no end to lag behind."""
        del position
        return None


def _place(position: Position) -> tuple[datetime, UUID, int]:
    if not position:
        return _EPOCH, _FIRST, 0
    return datetime.fromisoformat(position["at"]), UUID(position["intent"]), int(position["seq"])


def _touched(page: Sequence[tb.Transfer]) -> set[int]:
    return {
        account
        for transfer in page
        if transfer.ledger not in _OUTSIDE
        for account in (transfer.debit_account_id, transfer.credit_account_id)
    }
