"""HTTP towards a PSP: the session, and what a failed call proves.

Only a failure to connect proves that nothing happened. Everything after it, a time-out, a reset, a 5xx, half an
answer, proves nothing. Bytes that nobody acknowledges are given up by the kernel after ten seconds, so that no
request arrives out of a socket buffer long after it was concluded about. This module must never repeat a request.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
from aiohttp import ClientRequest, ClientSession, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_exceptions import ClientConnectorError, ConnectionTimeoutError

from adapters.runtime.psp import Ambiguous, NotSent
from adapters.runtime.steps import SUBMITTING, Steps, pass_by

UNACKNOWLEDGED_MS_MAX: Final = 10_000
BODY_BYTES_MAX: Final = 1 << 20
"""The longest answer that is read."""
_CONNECT_TIMEOUT_S: Final = 3.0
_KEEPALIVE_S: Final = 15.0
_RETRY_AFTER_S_MAX: Final = 3_600.0

Failure = aiohttp.ClientError | TimeoutError | OSError


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, complete."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def retry_after_s(self) -> float | None:
        """When the other side wants to hear from us again."""
        return retry_after_s(self.headers.get("Retry-After"))


def open_session(
    *, connections_max: int, timeout_s: float, steps: Steps = pass_by, headers: dict[str, str] | None = None
) -> ClientSession:
    """Open a session for one PSP; it keeps no cookies. Requests are made by `exchange`.

    Args:
        connections_max: connections at once.
        timeout_s: of one request, connecting included.
        steps: told ``request_sent`` once a submission has been handed to the kernel.
        headers: sent with every request.
    """
    return ClientSession(
        connector=TCPConnector(limit=connections_max, socket_factory=_socket, keepalive_timeout=_KEEPALIVE_S),
        timeout=ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_TIMEOUT_S, timeout_s)),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=ClientRequest if steps is pass_by else _watched(steps),
        headers=headers,
        auto_decompress=True,
        max_line_size=8_190,
    )


async def exchange(
    session: ClientSession,
    method: str,
    url: str,
    *,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    data: bytes | None = None,
) -> Reply | NotSent | Ambiguous:
    """Make one request and read its whole answer; redirects are answers like any other.

    Returns:
        The answer, whatever its status; `NotSent` where no connection was made; `Ambiguous` for everything else.
    """
    try:
        async with session.request(
            method,
            url,
            headers=headers,
            json=json,
            data=data,
            timeout=ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_TIMEOUT_S, timeout_s)),
            allow_redirects=False,
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    return Ambiguous("answer_too_long")
            return Reply(answer.status, dict(answer.headers), bytes(body))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return failure(error)


def failure(error: Failure) -> NotSent | Ambiguous:
    """Say what a failed request proves."""
    if isinstance(error, ClientConnectorError | ConnectionTimeoutError):
        return NotSent("unreachable")
    if isinstance(error, TimeoutError):
        return Ambiguous("timeout")
    return Ambiguous("connection_lost")


def retry_after_s(value: str | None, *, now: datetime | None = None) -> float | None:
    """Read a Retry-After header (RFC 9110, section 10.2.3): seconds or a date; None where it says nothing sensible."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), _RETRY_AFTER_S_MAX)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(max((aware - (now or datetime.now(UTC))).total_seconds(), 0.0), _RETRY_AFTER_S_MAX)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)
    return made


def _watched(steps: Steps) -> type[ClientRequest]:
    class Watched(ClientRequest):
        """A request that says when its body has left."""

        async def write_bytes(self, writer: AbstractStreamWriter, conn: Any, content_length: int | None = None) -> None:
            await super().write_bytes(writer, conn, content_length)
            if SUBMITTING.get():
                await steps("request_sent")

    return Watched
