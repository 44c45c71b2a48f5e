"""Accounts as operators handle them: asked for through the stream, like every caller's, and listed from the register.

This module must never open an account in the ledger by itself: ledger sessions belong to the orchestrators.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from secrets import randbits
from typing import Final

import asyncpg
from redis.asyncio import Redis

from ops.audit import audit
from ops.statements import statement
from shared.accounts import parse_account
from shared.contracts import Envelope, Kind, OpenAccountMessage
from shared.db.pool import Pool
from shared.errors import require
from shared.ids import intent_id
from shared.money import Money
from shared.streams.accept import append

_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An open account; the amounts are None for the house's own accounts, which have no read model."""

    name: str
    balance: Money | None
    held: Money | None
    """How much of the balance is held for payments under way."""
    available: Money | None
    """The rest of it, which can be spent."""
    opened_by: str
    opened_at: datetime


async def ask_to_open(pool: Pool, redis: Redis, *, names: Sequence[str], actor: str) -> None:
    """Ask an orchestrator to open accounts; opening one that is open changes nothing.

    Raises:
        BadInput: a name is malformed; none was asked for.
        Transient, OutcomeUnknown: the stream is out of reach; ask again.
    """
    for name in names:
        parse_account(name)
    partitions = await pool.fetchval("SELECT partitions FROM pm.mesh")
    require(partitions, "a mesh has partitions")
    async with pool.acquire() as connection, connection.transaction():
        for name in names:
            await audit(connection, actor=actor, action="account.open", target=name)
    for number, name in enumerate(names):
        partition = number % int(partitions)
        request = intent_id(time.time_ns() // 1000, partition, randbits(64))
        body = OpenAccountMessage(service_key="cli", name=name).model_dump_json().encode()
        await append(redis, partition=partition, envelope=Envelope(Kind.OPEN_ACCOUNT, str(request), body))


async def wait_open(pool: Pool, names: Sequence[str], *, timeout_s: float) -> list[str]:
    """Wait until the accounts are open; return those that are not when time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        rows = await pool.fetch("SELECT name FROM pm.tb_account_map WHERE name = ANY ($1)", list(names))
        missing = sorted({*names} - {row["name"] for row in rows})
        if not missing or time.monotonic() >= deadline:
            return missing
        await asyncio.sleep(_POLL_S)


async def list_accounts(pool: Pool, *, prefix: str, after: str, limit: int) -> list[AccountRow]:
    """Return open accounts whose name begins with `prefix`, by name, from the one after `after`."""
    rows = await pool.fetch(statement("list_accounts"), prefix, after, limit)
    return [_account(row) for row in rows]


def _account(row: asyncpg.Record) -> AccountRow:
    account, posted, held = parse_account(row["name"]), int(row["posted"] or 0), int(row["held"] or 0)

    def money(minor: int) -> Money | None:
        return Money(minor, account.currency) if account.is_customer else None

    return AccountRow(
        name=account.name,
        balance=money(posted),
        held=money(held),
        available=money(posted - held),
        opened_by=row["opened_by"],
        opened_at=row["opened_at"],
    )
