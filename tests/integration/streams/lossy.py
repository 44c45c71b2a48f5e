"""A TCP proxy in front of a server that can lose replies: the request arrives, the answer never does."""

import asyncio
import math
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.waiting import until


class LossyProxy:
    """Forwards everything until told to swallow replies; then a reply ends its connection instead."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._swallow = 0.0
        self._server: asyncio.Server | None = None
        self._closing = asyncio.Event()
        self._open = 0
        self.swallowed = 0

    @property
    def url(self) -> str:
        """Where to connect instead."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"redis://127.0.0.1:{port}/0"

    def swallow_replies(self, most: float = math.inf) -> None:
        """From now on, lose every reply, or only so many."""
        self._swallow = most

    def pass_replies(self) -> None:
        """From now on, let replies through again."""
        self._swallow = 0

    def has_swallowed(self, replies: int) -> bool:
        """Say whether that many replies have been lost so far."""
        return self.swallowed >= replies

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._closing.set()
        self._server.close()
        await self._server.wait_closed()
        await until(lambda: not self._open, "closed connections")

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        ends = [writer]
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
            ends.append(target_writer)
            pumps = [
                asyncio.create_task(self._pump(reader, target_writer)),
                asyncio.create_task(self._pump(target_reader, writer, replies=True)),
                asyncio.create_task(self._closing.wait()),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
        finally:
            for end in ends:
                end.close()
                with suppress(OSError):
                    await end.wait_closed()
            self._open -= 1

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool = False) -> bool:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if replies and self._swallow:
                    self._swallow -= 1
                    self.swallowed += 1
                    break
                sink.write(data)
                await sink.drain()
        return True
