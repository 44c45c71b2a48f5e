"""The ledger port over PostgreSQL, for development and tests where no TigerBeetle server runs.

The judging is done by one SQL function under one advisory lock (`postgres_ledger/0001_ledger.sql`): the same
statuses in the same order of precedence, durable, and safe for any number of processes. Calls travel through the
same lanes as TigerBeetle's, so that being cancelled or running out of time means the same here.

What it does not do, and refuses with `BadInput` before anything is sent: imported events (as the port says) and
pending time-outs (code ``timeout_refused``), since no hold of ours expires by itself.

This module must never judge an event; that is the SQL function.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import tigerbeetle as tb

from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput, Transient, violated
from shared.ledger.lane import Lane, RequestSize
from shared.ledger.packing import PackedAccount, PackedAccountFilter, PackedQueryFilter, PackedTransfer
from shared.ledger.rows import Row, account_row, columns, read_account, read_transfer, signed, transfer_row

MIGRATIONS: Final = Path(__file__).with_name("postgres_ledger")
"""The series that `shared.db.migrations.migrate` applies to a database that is to hold a ledger."""

EVENTS_MAX: Final = 8189
"""How many events one statement judges; TigerBeetle's own request, so that batches behave alike."""

_SQL: Final = Path(__file__).with_name("sql")
_TIMESTAMP_MAX: Final = (1 << 63) - 1
_ID_MAX: Final = (1 << 128) - 1
_EITHER_SIDE: Final = tb.AccountFilterFlags.DEBITS | tb.AccountFilterFlags.CREDITS
_ACCOUNT_FILTER_FLAGS: Final = sum(tb.AccountFilterFlags)
_QUERY_FILTER_FLAGS: Final = sum(tb.QueryFilterFlags)

_CREATE_ACCOUNTS: Final = "SELECT * FROM ledger.create_accounts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
_CREATE_TRANSFERS: Final = "SELECT * FROM ledger.create_transfers($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
_LOOK_UP_ACCOUNTS: Final = "SELECT * FROM ledger.lookup_accounts($1)"
_LOOK_UP_TRANSFERS: Final = "SELECT * FROM ledger.lookup_transfers($1)"

Entry = TypeVar("Entry", tb.Account, tb.Transfer)


class PostgresLedger:
    """A database as a `shared.ledger.port.Ledger`; the pool stays its owner's to close."""

    def __init__(self, pool: Pool, *, timeout_s: float = 30.0) -> None:
        """Stand a ledger on a database that has been through `MIGRATIONS`.

        Args:
            pool: connections to that database; at most three are used at once.
            timeout_s: how long a caller waits for an answer before it is told that the outcome is unknown;
                statements end by the pool's own limit.
        """
        self._pool = pool
        self._timeout_s = timeout_s
        self._closed = False
        size = RequestSize(EVENTS_MAX)
        self._accounts: Lane[Row, tb.CreateAccountResult] = Lane(send=self._judge_accounts, size=size)
        self._transfers: Lane[Row, tb.CreateTransferResult] = Lane(send=self._judge_transfers, size=size)
        texts = {path.stem: path.read_text() for path in _SQL.glob("*.sql")}
        self._queries = {
            (name, newest_first): text.replace("{order}", "DESC" if newest_first else "ASC")
            for name, text in texts.items()
            for newest_first in (False, True)
        }

    async def create_accounts(self, accounts: list[tb.Account]) -> list[tb.CreateAccountResult]:
        """Open accounts; see the port."""
        for account in accounts:
            packed = PackedAccount.pack(account)  # refuses what does not fit, as TigerBeetle's client does
            _refuse_imported(packed.flags & tb.AccountFlags.IMPORTED.value)
        self._check_open()
        return await self._accounts.call([account_row(account) for account in accounts], timeout_s=self._timeout_s)

    async def create_transfers(self, transfers: list[tb.Transfer]) -> list[tb.CreateTransferResult]:
        """Move, hold, post or void; see the port."""
        for transfer in transfers:
            packed = PackedTransfer.pack(transfer)
            _refuse_imported(packed.flags & tb.TransferFlags.IMPORTED.value)
            if packed.timeout:
                raise BadInput("this ledger has no time-outs; a hold is posted or voided", code="timeout_refused")
        self._check_open()
        return await self._transfers.call([transfer_row(each) for each in transfers], timeout_s=self._timeout_s)

    async def lookup_accounts(self, accounts: list[int]) -> list[tb.Account]:
        """Return the accounts found; see the port."""
        return await self._look_up(_LOOK_UP_ACCOUNTS, accounts, read_account)

    async def lookup_transfers(self, transfers: list[int]) -> list[tb.Transfer]:
        """Return the transfers found; see the port."""
        return await self._look_up(_LOOK_UP_TRANSFERS, transfers, read_transfer)

    async def get_account_transfers(self, filter: tb.AccountFilter) -> list[tb.Transfer]:  # noqa: A002
        """Return an account's transfers; see the port."""
        packed = PackedAccountFilter.pack(filter)
        span = _span(filter)
        sides = packed.flags & _EITHER_SIDE.value
        if span is None or not sides or packed.flags > _ACCOUNT_FILTER_FLAGS or filter.account_id in (0, _ID_MAX):
            return []
        rows = await self._fetch(
            self._queries["account_transfers", bool(packed.flags & tb.AccountFilterFlags.REVERSED.value)],
            UUID(int=filter.account_id),
            bool(sides & tb.AccountFilterFlags.DEBITS.value),
            bool(sides & tb.AccountFilterFlags.CREDITS.value),
            *span,
            *_matching(filter),
        )
        return [read_transfer(row) for row in rows]

    async def query_accounts(self, query_filter: tb.QueryFilter) -> list[tb.Account]:
        """Return the accounts that match; see the port."""
        return [read_account(row) for row in await self._query("query_accounts", query_filter)]

    async def query_transfers(self, query_filter: tb.QueryFilter) -> list[tb.Transfer]:
        """Return the transfers that match; see the port."""
        return [read_transfer(row) for row in await self._query("query_transfers", query_filter)]

    async def close(self) -> None:
        """Let what is in flight end and refuse what comes after. May be called twice."""
        self._closed = True
        await self._accounts.drain()
        await self._transfers.drain()

    async def _judge_accounts(self, rows: list[Row]) -> list[tb.CreateAccountResult]:
        statuses, timestamps = await self._judge(_CREATE_ACCOUNTS, rows)
        return [
            tb.CreateAccountResult(timestamp, tb.CreateAccountStatus[status])
            for status, timestamp in zip(statuses, timestamps, strict=True)
        ]

    async def _judge_transfers(self, rows: list[Row]) -> list[tb.CreateTransferResult]:
        statuses, timestamps = await self._judge(_CREATE_TRANSFERS, rows)
        return [
            tb.CreateTransferResult(timestamp, tb.CreateTransferStatus[status])
            for status, timestamp in zip(statuses, timestamps, strict=True)
        ]

    async def _judge(self, statement: str, rows: list[Row]) -> tuple[list[str], list[int]]:
        self._check_open()
        with database():  # its callers bring their own patience; the statement has the pool's
            answer = await self._pool.fetchrow(statement, *columns(rows))
        if answer is None:
            violated("a function call returns one row")
        return answer["statuses"], answer["timestamps"]

    async def _look_up(self, statement: str, numbers: list[int], read: Callable[[Any], Entry]) -> list[Entry]:
        rows = await self._fetch(statement, [UUID(int=number) for number in numbers])
        return [read(row) for row in rows]

    async def _query(self, name: str, query_filter: tb.QueryFilter) -> list[Any]:
        packed = PackedQueryFilter.pack(query_filter)
        span = _span(query_filter)
        if span is None or packed.flags > _QUERY_FILTER_FLAGS:
            return []
        statement = self._queries[name, bool(packed.flags & tb.QueryFilterFlags.REVERSED.value)]
        return await self._fetch(statement, *span, *_matching(query_filter), query_filter.ledger)

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        self._check_open()
        with database():
            async with asyncio.timeout(self._timeout_s):
                return await self._pool.fetch(statement, *values)

    def _check_open(self) -> None:
        if self._closed:
            raise Transient("this ledger has been closed")


def _refuse_imported(imported: int) -> None:
    if imported:
        raise BadInput("imported events are not for a ledger in service", code="imported_refused")


def _span(whole: tb.AccountFilter | tb.QueryFilter) -> tuple[int, int, int] | None:
    """Return from, to and limit of a filter, or None where TigerBeetle finds nothing because it makes no sense."""
    first, last = whole.timestamp_min or 1, whole.timestamp_max or _TIMESTAMP_MAX
    if not whole.limit or first > _TIMESTAMP_MAX or last > _TIMESTAMP_MAX:
        return None
    return first, last, whole.limit


def _matching(whole: tb.AccountFilter | tb.QueryFilter) -> tuple[UUID, int, int, int]:
    return UUID(int=whole.user_data_128), signed(whole.user_data_64), whole.user_data_32, whole.code
