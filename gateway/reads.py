"""Reads from PostgreSQL's primary: intents, balances, history. Concurrent reads of intents travel together.

A read is started after it was asked for, never answered from one under way: who has been told that an intent is
decided must see it decided. This module must never write.
"""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeVar
from uuid import UUID

from gateway.coalescer import Coalescer
from gateway.rule_views import Usage
from gateway.views import ChildRow, IntentRow
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ids import IntentId, account_id
from shared.states import Funds, IntentState
from shared.timeline.read import read_database
from shared.timeline.story import Known

HISTORY_PAGE_MAX: Final = 100
CHILDREN_MAX: Final = 100
"""How many of the intents that one has led to are told, the newest."""
STEPS_MAX: Final = 100
"""How many steps are read at a time; no walk through the states is that long."""
READ_TIMEOUT_S: Final = 5.0
"""How long a read may take with all that belongs to it: a connection, the statement, giving it up."""
NEWEST: Final = UUID(int=(1 << 128) - 1)

_SELECT_OPENED: Final = "SELECT opened_at FROM pm.tb_account_map WHERE name = $1"
_SELECT_OPEN: Final = "SELECT name FROM pm.tb_account_map WHERE name = ANY ($1::text[])"
_SELECT_USAGE: Final = "SELECT account_id, used, reserved FROM pm.limit_usage WHERE account_id = ANY ($1::uuid[])"

T = TypeVar("T")


@cache
def _sql(name: str) -> str:
    return files("gateway").joinpath(f"sql/{name}.sql").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """What a wallet holds, in minor units, and how much of that is held for payments under way."""

    posted_minor: int
    held_minor: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MovementRow:
    """One movement on a wallet; `amount_minor` is signed."""

    transfer_id: UUID
    intent_id: UUID
    amount_minor: int
    code: int
    at: datetime


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step of an intent."""

    seq: int
    from_state: str
    to_state: IntentState
    at: datetime


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What an idempotency key is bound to."""

    fingerprint: str
    intent: IntentId


class Reads:
    """What the gateway looks up in the primary."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._intents: Coalescer[IntentId, IntentRow | None] = Coalescer(self._read_intents)
        self._keys: Coalescer[tuple[str, str], KeyRow | None] = Coalescer(self._read_keys)

    async def intent(self, intent: IntentId) -> IntentRow | None:
        """Return an intent, None where the database does not know it (yet).

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        return await self._intents.submit(intent)

    async def steps(self, intent: IntentId, *, after: int) -> list[StepRow]:
        """Return the steps of an intent after the one of that number, in their order.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        with database():
            rows = await _in_time(self._pool.fetch(_sql("read_events"), intent, after, STEPS_MAX))
        return [StepRow(row["seq"], row["from_state"], IntentState(row["to_state"]), row["at"]) for row in rows]

    async def known(self, intent: IntentId) -> Known:
        """Return everything that the database knows of an intent.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        with database():
            return await _in_time(read_database(self._pool, intent))

    async def bound(self, service_key_id: str, key: str) -> KeyRow | None:
        """Return what an idempotency key is bound to, None where the database does not know it (yet).

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        return await self._keys.submit((service_key_id, key))

    async def opened_at(self, name: str) -> datetime | None:
        """Return when an account was opened, None where it has not been.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        with database():
            opened_at: datetime | None = await _in_time(self._pool.fetchval(_SELECT_OPENED, name))
        return opened_at

    async def balance(self, name: str) -> BalanceRow | None:
        """Return what a wallet holds, None where it has not been opened.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        with database():
            row = await _in_time(self._pool.fetchrow(_sql("read_balance"), name))
        return None if row is None else BalanceRow(int(row["posted"]), int(row["held"]), row["updated_at"])

    async def history(self, account_id: int, *, before: UUID, limit: int) -> list[MovementRow]:
        """Return up to `limit` movements of an account from before a transfer id, newest first.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        with database():
            rows = await _in_time(self._pool.fetch(_sql("read_history"), UUID(int=account_id), before, limit))
        return [MovementRow(**dict(row)) for row in rows]

    async def unopened(self, names: Sequence[str]) -> list[str]:
        """Return those of some accounts that have not been opened, in their order.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        with database():
            rows = await _in_time(self._pool.fetch(_SELECT_OPEN, names))
        opened = {row["name"] for row in rows}
        return [name for name in names if name not in opened]

    async def usages(self, allowances: Sequence[str]) -> Mapping[str, Usage]:
        """Return what is used of some allowances, by their names; one that nobody has used yet is left out.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        if not allowances:
            return {}
        names = {UUID(int=account_id(name)): name for name in allowances}
        with database():
            rows = await _in_time(self._pool.fetch(_SELECT_USAGE, list(names)))
        return {names[row["account_id"]]: Usage(int(row["used"]), int(row["reserved"])) for row in rows}

    async def _read_intents(self, intents: Sequence[IntentId]) -> list[IntentRow | None]:
        with database():
            rows = await _in_time(self._pool.fetch(_sql("read_intents"), intents))
        found = {
            row["asked_id"]: IntentRow(
                id=IntentId(row["id"]),
                service_key_id=row["service_key_id"],
                user_id=row["user_id"],
                operation_type=row["operation_type"],
                state=IntentState(row["state"]),
                funds=Funds(row["funds"]),
                error_code=row["error_code"],
                error_detail=row["error_detail"],
                error_data=row["error_data"],
                parent_id=row["parent_id"],
                next_action=row["next_action"],
                operation=row["operation"],
                requires_monitoring=row["requires_monitoring"],
                updated_at=row["updated_at"],
                is_alias=row["is_alias"],
            )
            for row in rows
        }
        parents = {row.id for row in found.values() if row.may_have_children}
        if parents:
            children = await self._read_children(parents)
            found = {asked: replace(row, children=tuple(children.get(row.id, ()))) for asked, row in found.items()}
        return [found.get(intent) for intent in intents]

    async def _read_children(self, parents: Collection[IntentId]) -> dict[UUID, list[ChildRow]]:
        with database():
            rows = await _in_time(self._pool.fetch(_sql("read_children"), list(parents), CHILDREN_MAX))
        children: dict[UUID, list[ChildRow]] = {}
        for row in rows:
            child = ChildRow(IntentId(row["id"]), row["operation_type"], IntentState(row["state"]))
            children.setdefault(row["parent_id"], []).append(child)
        return children

    async def _read_keys(self, asked: Sequence[tuple[str, str]]) -> list[KeyRow | None]:
        owners, keys = [owner for owner, _ in asked], [key for _, key in asked]
        with database():
            rows = await _in_time(self._pool.fetch(_sql("read_keys"), owners, keys))
        found = {
            (row["service_key_id"], row["key"]): KeyRow(row["fingerprint"], IntentId(row["intent_id"])) for row in rows
        }
        return [found.get(pair) for pair in asked]


async def _in_time(query: Coroutine[Any, Any, T]) -> T:
    """Wait for a query, and leave it to itself when time is up: a hanging server keeps even a cancelled one waiting.

    Raises:
        TimeoutError: it took too long.
    """
    task = asyncio.ensure_future(query)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    done, _ = await asyncio.wait({task}, timeout=READ_TIMEOUT_S)
    if not done:
        task.cancel()
        raise TimeoutError
    return task.result()
