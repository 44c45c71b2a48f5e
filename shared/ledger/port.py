"""The ledger port: TigerBeetle's own asynchronous interface, word for word, with what both implementations promise.

Promises, beyond TigerBeetle's documentation:

- One result per event, in order. A chain of linked events lies whole in one request and ends within its call; a call
  whose last event is still linked gets `LINKED_EVENT_CHAIN_OPEN`.
- Any number of events or ids may be given, and any limit; a single chain of more than `CHAIN_EVENTS_MAX` is refused
  with `tigerbeetle.TooMuchDataError` before anything is sent.
- Every call is repeatable: resubmitting the same events byte for byte never moves money twice.
- A call without an answer in time raises `OutcomeUnknown`; the request may still carry on underneath. A cancelled
  call is the same: it may yet happen.
- Imported events are refused with `BadInput` (code ``imported_refused``) before anything is sent: TigerBeetle lets
  the first event of a request decide for all of them, and a request may be shared with other callers.

This module must never hold an implementation.
"""

from typing import Final, Protocol

import tigerbeetle as tb

CHAIN_EVENTS_MAX: Final = 253
"""The events that every server takes in one request: 32 KiB under ``--development``, 8,189 events otherwise."""


class Ledger(Protocol):
    """What a ledger does; `tigerbeetle.ClientAsync` has the same shape."""

    async def create_accounts(self, accounts: list[tb.Account]) -> list[tb.CreateAccountResult]:
        """Open accounts."""
        ...

    async def create_transfers(self, transfers: list[tb.Transfer]) -> list[tb.CreateTransferResult]:
        """Move, hold, post or void; a refusal is a result, not an exception."""
        ...

    async def lookup_accounts(self, accounts: list[int]) -> list[tb.Account]:
        """Return the accounts found, in the order asked for; missing ids are left out."""
        ...

    async def lookup_transfers(self, transfers: list[int]) -> list[tb.Transfer]:
        """Return the transfers found, in the order asked for; missing and burned ids are left out."""
        ...

    async def get_account_transfers(self, filter: tb.AccountFilter) -> list[tb.Transfer]:  # noqa: A002 - TigerBeetle's own name
        """Return an account's transfers by time, at most `filter.limit`."""
        ...

    async def query_accounts(self, query_filter: tb.QueryFilter) -> list[tb.Account]:
        """Return the accounts that match by time of opening, at most `query_filter.limit`."""
        ...

    async def query_transfers(self, query_filter: tb.QueryFilter) -> list[tb.Transfer]:
        """Return the transfers that match by time, at most `query_filter.limit`."""
        ...

    async def close(self) -> None:
        """End the connection; calls in flight end with `OutcomeUnknown`."""
        ...
