"""The sandbox's open door, and how it is shut for a while: connections refused, or 503 for everybody.

A refusal closes the listening socket and cuts every open connection; whatever was being served goes on behind the
door and may well commit. Control has a door of its own and stays open. Outages are measured in real time.
"""

import asyncio
import socket
from typing import Literal

from aiohttp import web

from adapters.sandbox.faults import cut

Mode = Literal["refuse", "unavailable"]
SECONDS_MAX = 3_600.0


class Door:
    """The API's listening socket."""

    def __init__(self, *, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self._host = host
        self._port = port
        self._site: web.TCPSite | None = None
        self._placeholder: socket.socket | None = None

    @property
    def port(self) -> int:
        """Where it listens, or listened; stays the same over an outage."""
        return self._port

    async def open(self) -> None:
        """Listen."""
        if self._site is not None:
            return
        self.let_go()
        site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True)
        await site.start()
        self._site = site
        self._port = site.port

    async def shut(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._site is None:
            return
        await self._site.stop()
        self._site = None
        # Bound and not listening: callers are refused, and nobody else is given the port meanwhile.
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind((self._host, self._port))
        server = self._runner.server
        for connection in [] if server is None else server.connections:
            cut(connection.transport)

    def let_go(self) -> None:
        """Give a port up that is only kept."""
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None


class Outage:
    """Whether the provider is out of order just now."""

    def __init__(self) -> None:
        self._unavailable = False
        self.retry_after_s: int | None = None
        self._door: Door | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def unavailable(self) -> bool:
        """Everybody gets 503."""
        return self._unavailable

    def guard(self, door: Door) -> None:
        """Take the door to shut."""
        self._door = door

    async def begin(self, *, seconds: float, mode: Mode, retry_after_s: int | None) -> None:
        """Be out of order for so long."""
        await self.end()
        self.retry_after_s = retry_after_s
        if mode == "refuse" and self._door is not None:
            await self._door.shut()
        else:
            self._unavailable = True
        self._ending = asyncio.create_task(self._end_after(seconds))

    async def end(self) -> None:
        """Be in order again, at once."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        await self._recover()

    async def stop(self) -> None:
        """Recover no more: the sandbox closes."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    async def _end_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._recover()

    async def _recover(self) -> None:
        self._unavailable = False
        if self._door is not None:
            await self._door.open()
