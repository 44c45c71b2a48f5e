"""TigerBeetle behind the ledger port, made safe to be cancelled, evicted and outlived.

`shared.ledger.packing` converts what callers hand over, `shared.ledger.lane` gathers it into requests,
`shared.ledger.session` gets them answered. This module puts the three together as a `Ledger`.

One of these per process: a cluster has 64 sessions. It must be made inside a running event loop and never be shared
with another.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

import tigerbeetle as tb
from tigerbeetle.bindings import CAccount, CCreateAccountResult, CCreateTransferResult, CTransfer

from shared.errors import BadInput, PaymeshError, Transient, require
from shared.ledger.lane import Event, Lane, RequestSize
from shared.ledger.packing import PackedAccount, PackedAccountFilter, PackedId, PackedQueryFilter, PackedTransfer
from shared.ledger.session import Session

EVENTS_MAX: Final = 8189
"""What a server takes in one request unless it runs with ``--development``."""

Filter = TypeVar("Filter", tb.AccountFilter, tb.QueryFilter)
Entry = TypeVar("Entry", tb.Account, tb.Transfer)
Result = TypeVar("Result")
_E = TypeVar("_E", bound=Event)


class TigerBeetleLedger:
    """A TigerBeetle cluster as a `shared.ledger.port.Ledger`."""

    def __init__(
        self,
        addresses: str,
        *,
        cluster_id: int = 0,
        timeout_s: float = 30.0,
        keep_alive_s: float = 10.0,
        events_max: int = EVENTS_MAX,
    ) -> None:
        """Open a session; the servers need not be up yet.

        Args:
            addresses: ``ip:port`` of every replica, joined by commas; names are not resolved.
            cluster_id: which cluster the servers must belong to.
            timeout_s: how long a caller waits for an answer before it is told that the outcome is unknown.
            keep_alive_s: how often the session is touched, so that an idle one is not the first to be evicted.
            events_max: the largest request to begin with; a smaller server is recognised.

        Raises:
            BadInput: the addresses cannot be used.
        """
        self._timeout_s = timeout_s
        self._session = Session(addresses, cluster_id)
        self._size = size = RequestSize(events_max)
        page = RequestSize(1)
        op = tb.Operation
        self._accounts: Lane[PackedAccount, tb.CreateAccountResult] = Lane(
            send=self._carry(op.CREATE_ACCOUNTS, PackedAccount, CCreateAccountResult), size=size
        )
        self._transfers: Lane[PackedTransfer, tb.CreateTransferResult] = Lane(
            send=self._carry(op.CREATE_TRANSFERS, PackedTransfer, CCreateTransferResult), size=size
        )
        self._accounts_by_id: Lane[PackedId, tb.Account | None] = Lane(
            send=self._look_up(op.LOOKUP_ACCOUNTS, CAccount), size=size
        )
        self._transfers_by_id: Lane[PackedId, tb.Transfer | None] = Lane(
            send=self._look_up(op.LOOKUP_TRANSFERS, CTransfer), size=size
        )
        self._of_account: Lane[PackedAccountFilter, list[tb.Transfer]] = Lane(
            send=self._page(op.GET_ACCOUNT_TRANSFERS, PackedAccountFilter, CTransfer), size=page
        )
        self._any_accounts: Lane[PackedQueryFilter, list[tb.Account]] = Lane(
            send=self._page(op.QUERY_ACCOUNTS, PackedQueryFilter, CAccount), size=page
        )
        self._any_transfers: Lane[PackedQueryFilter, list[tb.Transfer]] = Lane(
            send=self._page(op.QUERY_TRANSFERS, PackedQueryFilter, CTransfer), size=page
        )
        self._beat = asyncio.create_task(self._keep_alive(keep_alive_s))

    @property
    def evictions(self) -> int:
        """How often the cluster has thrown this process out: more than 64 clients, if it grows."""
        return self._session.evictions

    @property
    def requests(self) -> int:
        """How many requests have carried transfers."""
        return self._transfers.requests

    async def create_accounts(self, accounts: list[tb.Account]) -> list[tb.CreateAccountResult]:
        """Open accounts; see the port."""
        packed = [PackedAccount.pack(account) for account in accounts]
        _refuse_imported(event.flags & tb.AccountFlags.IMPORTED.value for event in packed)
        return await self._call(self._accounts, packed)

    async def create_transfers(self, transfers: list[tb.Transfer]) -> list[tb.CreateTransferResult]:
        """Move, hold, post or void; see the port."""
        packed = [PackedTransfer.pack(transfer) for transfer in transfers]
        _refuse_imported(event.flags & tb.TransferFlags.IMPORTED.value for event in packed)
        return await self._call(self._transfers, packed)

    async def lookup_accounts(self, accounts: list[int]) -> list[tb.Account]:
        """Return the accounts found; see the port."""
        found = await self._call(self._accounts_by_id, [PackedId.pack(number) for number in accounts])
        return [account for account in found if account is not None]

    async def lookup_transfers(self, transfers: list[int]) -> list[tb.Transfer]:
        """Return the transfers found; see the port."""
        found = await self._call(self._transfers_by_id, [PackedId.pack(number) for number in transfers])
        return [transfer for transfer in found if transfer is not None]

    async def get_account_transfers(self, filter: tb.AccountFilter) -> list[tb.Transfer]:  # noqa: A002
        """Return an account's transfers; see the port."""
        newest_first = bool(filter.flags & tb.AccountFilterFlags.REVERSED)
        return await self._pages(self._of_account, PackedAccountFilter.pack, filter, newest_first=newest_first)

    async def query_accounts(self, query_filter: tb.QueryFilter) -> list[tb.Account]:
        """Return the accounts that match; see the port."""
        newest_first = bool(query_filter.flags & tb.QueryFilterFlags.REVERSED)
        return await self._pages(self._any_accounts, PackedQueryFilter.pack, query_filter, newest_first=newest_first)

    async def query_transfers(self, query_filter: tb.QueryFilter) -> list[tb.Transfer]:
        """Return the transfers that match; see the port."""
        newest_first = bool(query_filter.flags & tb.QueryFilterFlags.REVERSED)
        return await self._pages(self._any_transfers, PackedQueryFilter.pack, query_filter, newest_first=newest_first)

    async def close(self) -> None:
        """End the session; calls in flight end with `OutcomeUnknown`. May be called twice."""
        self._beat.cancel()
        await asyncio.wait({self._beat})
        await self._session.close()
        for lane in (
            self._accounts, self._transfers, self._accounts_by_id, self._transfers_by_id,
            self._of_account, self._any_accounts, self._any_transfers,
        ):  # fmt: skip
            await lane.drain()

    async def _call(self, lane: Lane[_E, Result], packed: list[_E]) -> list[Result]:
        if self._session.closed:
            raise Transient("this ledger has been closed")
        return await lane.call(packed, timeout_s=self._timeout_s)

    def _carry(self, operation: tb.Operation, event: type, result: type) -> Callable[[list[Any]], Awaitable[list[Any]]]:
        async def send(packed: list[Any]) -> list[Any]:
            return await self._session.send(operation, packed, event, result)

        return send

    def _look_up(self, operation: tb.Operation, result: type) -> Callable[[list[PackedId]], Awaitable[list[Any]]]:
        async def send(packed: list[PackedId]) -> list[Any]:
            found = await self._session.send(operation, packed, PackedId, result)
            return _aligned([number.to_python() for number in packed], found)

        return send

    def _page(self, operation: tb.Operation, event: type, result: type) -> Callable[[list[Any]], Awaitable[list[Any]]]:
        async def send(packed: list[Any]) -> list[Any]:
            return [await self._session.send(operation, packed, event, result)]

        return send

    async def _pages(
        self, lane: Lane[_E, list[Entry]], pack: Callable[[Filter], _E], whole: Filter, *, newest_first: bool
    ) -> list[Entry]:
        """Answer a filter whose limit may be beyond one reply, page by page along the ledger's clock."""
        entries: list[Entry] = []
        part = whole
        while True:
            limit = min(whole.limit - len(entries), self._size.events_max)
            try:
                found = (await self._call(lane, [pack(replace(part, limit=limit))]))[0]
            except tb.TooMuchDataError:
                if not self._size.learn_small(limit):
                    raise
                continue
            entries += found
            if len(found) < limit or len(entries) == whole.limit:
                return entries
            if newest_first:
                part = replace(part, timestamp_max=found[-1].timestamp - 1)
            else:
                part = replace(part, timestamp_min=found[-1].timestamp + 1)

    async def _keep_alive(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            with suppress(PaymeshError):  # the next beat tries again
                await self.lookup_accounts([1])


def _refuse_imported(flags: Iterable[int]) -> None:
    if any(flags):
        raise BadInput("imported events are not for a ledger in service", code="imported_refused")


def _aligned(ids: list[int], found: list[Entry]) -> list[Entry | None]:
    """Give every id asked for its entry or None; a reply leaves out what is missing but keeps the order."""
    entries: list[Entry | None] = []
    position = 0
    for number in ids:
        if position < len(found) and found[position].id == number:
            entries.append(found[position])
            position += 1
        else:
            entries.append(None)
    require(position == len(found), "a look-up returned what was not asked for")
    return entries
