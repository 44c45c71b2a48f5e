"""One keep-alive HTTP/1.1 connection that sends finished requests and reads status, waiting time and body.

As little as a load can do: no header objects, no URL, no pooling; a client library was once the bottleneck of its
own benchmark. Answers are framed by Content-Length, which is how the gateway frames them.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, cast

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_RETRY_AFTER: Final = b"\r\nretry-after:"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `retry_after_s` is 0 where the gateway names no time."""

    status: int
    body: bytes
    retry_after_s: float


class Connection(asyncio.Protocol):
    """Asks one question at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Take what the gateway sent."""
        self._buffer += data
        answer = parse(self._buffer)
        if answer is not None and self._answer is not None:
            self._buffer = b""
            waiting, self._answer = self._answer, None
            if not waiting.done():
                waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that no answer will come."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the gateway closed the connection: {exc}"))

    async def ask(self, request: bytes) -> Answer:
        """Send a request, return its answer.

        Raises:
            ConnectionError: the connection broke; the request may have been taken on.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def connect(host: str, port: int) -> Connection:
    """Open a connection."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


def parse(data: bytes) -> Answer | None:
    """Read an answer, None while it is not whole."""
    end = data.find(_HEAD_END)
    if end < 0:
        return None
    head = data[: end + 2].lower()
    start = end + len(_HEAD_END)
    length = int(_header(head, _LENGTH) or b"0")
    if len(data) < start + length:
        return None
    return Answer(int(head[9:12]), data[start : start + length], float(_header(head, _RETRY_AFTER) or b"0"))


def _header(head: bytes, name: bytes) -> bytes:
    found = head.find(name)
    if found < 0:
        return b""
    start = found + len(name)
    return head[start : head.find(b"\r\n", start)].strip()
