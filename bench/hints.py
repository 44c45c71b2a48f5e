"""The load's ear: every decision of the mesh, heard on the waiter's channel, as cheaply as can be.

It speaks the Redis protocol itself (one SUBSCRIBE, then only reading), since a client library takes longer over one
message than the load may spend on a whole payment.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import hiredis

from shared.streams.keys import gateway_channel

Heard = Callable[[list[bytes]], None]
"""Told the messages of one read, each ``<intent id> <state>``."""

_SUBSCRIBED: Final = b"subscribe"
_MESSAGE: Final = b"message"


class Ear(asyncio.Protocol):
    """One subscription."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._reader = hiredis.Reader()
        loop = asyncio.get_running_loop()
        self.listening: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def data_received(self, data: bytes) -> None:
        """Take what the server sent."""
        self._reader.feed(data)
        messages = list(self._messages())
        if messages:
            self._heard(messages)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing will be heard any more."""
        if not self.lost.done():
            self.lost.set_exception(ConnectionError(f"the subscription was lost: {exc}"))
            self.lost.exception()  # whoever cares awaits it; nobody has to

    def _messages(self) -> Iterator[bytes]:
        while (reply := self._reader.gets()) is not False:
            kind, _, payload = _pushed(reply)
            if kind == _MESSAGE:
                yield payload
            elif kind == _SUBSCRIBED and not self.listening.done():
                self.listening.set_result(None)


@asynccontextmanager
async def listening(redis_url: str, waiter: str, heard: Heard) -> AsyncIterator[Ear]:
    """Hear the decisions about intents of this waiter for the length of the block.

    Args:
        redis_url: of a server without a password, such as the benchmark's own.
        waiter: the gateway instance that the payments name.
        heard: told what is heard.
    """
    address = urlsplit(redis_url)
    loop = asyncio.get_running_loop()
    transport, ear = await loop.create_connection(lambda: Ear(heard), address.hostname or "", address.port or 0)
    try:
        transport.write(f"SUBSCRIBE {gateway_channel(waiter)}\r\n".encode())
        await ear.listening
        yield ear
    finally:
        transport.close()


def _pushed(reply: Any) -> tuple[bytes, bytes, bytes]:
    if isinstance(reply, Exception):
        raise reply
    kind, channel, payload = reply
    return kind, channel, payload
