"""One session with a TigerBeetle cluster that survives the death of its client.

A cluster has 64 sessions; one more evicts whoever has been silent for longest, and the evicted client is dead for
good. (A server with its default settings takes no more than 32 connections, 8 with ``--development``; one more is
turned away and waits, unevicted, until another leaves. ``--experimental --limit-pipeline-requests=56`` makes it 64.)
An evicted session opens a new client and sends the same request again: ids make that safe, and whatever the ledger
answers to the repetition is the truth (`EXISTS` for what had happened, `ID_ALREADY_FAILED` for what had been
refused).

Cancelling a call of the client leaks its packet and breaks its `close()` (seen on 0.17.9), so `Session.send` must
never be cancelled; `shared.ledger.lane` keeps to that.
"""

import asyncio
from itertools import chain, repeat
from typing import Any, Final

import tigerbeetle as tb
from tigerbeetle.client import InitError

from shared.errors import BadInput, OutcomeUnknown, Transient

_PAUSES_S: Final = (0.0, 0.1, 0.5)
_PAUSE_MAX_S: Final = 2.0


class _Client(tb.ClientAsync):
    """The client, taking events that are packed already."""

    async def send(self, operation: tb.Operation, packed: list[Any], event: type, result: type) -> list[Any]:
        """Carry one request."""
        answer: list[Any] = await self._submit(operation, packed, event, result)
        return answer


class Session:
    """A client, and the next one should it be evicted."""

    def __init__(self, addresses: str, cluster_id: int) -> None:
        self._addresses = addresses
        self._cluster_id = cluster_id
        self._client = self._connect()
        self.closed = False
        self.evictions = 0

    async def send(self, operation: tb.Operation, packed: list[Any], event: type, result: type) -> list[Any]:
        """Send until answered, for as long as it takes; a server that is down is waited for.

        Raises:
            OutcomeUnknown: the session was closed meanwhile.
            Transient: the servers refuse a client of this release; nothing happened.
            tigerbeetle.TooMuchDataError: the request or its limit is too large; nothing happened.
        """
        for pause_s in chain(_PAUSES_S, repeat(_PAUSE_MAX_S)):
            if self.closed:
                break
            client = self._client
            try:
                return await client.send(operation, packed, event, result)
            except (tb.ClientEvictedError, tb.ClientClosedError):
                # Two crowds of more than 64 clients would otherwise evict each other as fast as they can.
                await asyncio.sleep(pause_s)
                await self._replace(client)
            except (tb.ClientReleaseTooLowError, tb.ClientReleaseTooHighError) as error:
                await self._replace(client)
                raise Transient(f"TigerBeetle's release does not fit this client's: {error}") from None
        raise OutcomeUnknown("the ledger was closed with this call in flight")

    async def close(self) -> None:
        """End the session; requests in flight end with `OutcomeUnknown`."""
        if not self.closed:
            self.closed = True
            await self._client.close()

    def _connect(self) -> _Client:
        try:
            return _Client(self._cluster_id, self._addresses)
        except InitError as error:
            raise BadInput(f"no TigerBeetle client for {self._addresses!r} (ip:port,…): {error}") from None

    async def _replace(self, dead: _Client) -> None:
        """Put a new client in the place of a dead one, once, whoever notices first."""
        if self.closed or self._client is not dead:
            return
        self._client = self._connect()
        self.evictions += 1
        await dead.close()
