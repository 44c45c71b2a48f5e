"""What a failed request proves, and what a PSP means by Retry-After."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey

from adapters.runtime import http
from adapters.runtime.http import BODY_BYTES_MAX, Reply, exchange, failure, open_session, retry_after_s
from adapters.runtime.psp import Ambiguous, NotSent
from adapters.runtime.steps import SUBMITTING

KEY = ConnectionKey(host="psp", port=443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve one handler for everything."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectorError(KEY, OSError(111, "refused")),
        aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "unknown")),
        aiohttp.ClientConnectorCertificateError(KEY, Exception("expired")),
        aiohttp.ClientConnectorSSLError(KEY, OSError(1, "handshake")),
        aiohttp.ConnectionTimeoutError("connect"),
    ],
)
def test_only_a_failure_to_connect_proves_that_nothing_was_sent(error: http.Failure) -> None:
    """The request never left."""
    expected = NotSent if not isinstance(error, aiohttp.ClientConnectorCertificateError) else NotSent | Ambiguous
    assert isinstance(failure(error), expected)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (aiohttp.ServerDisconnectedError(), "connection_lost"),
        (aiohttp.ClientOSError(104, "reset"), "connection_lost"),
        (aiohttp.ClientPayloadError("half"), "connection_lost"),
        (aiohttp.SocketTimeoutError("read"), "timeout"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection_lost"),
        (aiohttp.ClientError(), "connection_lost"),
    ],
)
def test_everything_else_proves_nothing(error: http.Failure, reason: str) -> None:
    """A reset before the answer may come after the deed."""
    assert failure(error) == Ambiguous(reason)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("999999", 3600.0),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("Fri, 20 Nov 2026 12:00:30", 30.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """RFC 9110, section 10.2.3; an hour at most."""
    assert retry_after_s(value, now=NOW) == seconds


async def test_a_redirect_is_an_answer_and_never_followed() -> None:
    """A payment must not be sent where somebody points."""
    seen = []

    async def redirect(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with serving(redirect) as url, open_session(connections_max=2, timeout_s=2) as session:
        reply = await exchange(session, "POST", f"{url}/pay", timeout_s=1, json={})
    assert isinstance(reply, Reply)
    assert (reply.status, seen) == (307, ["/pay"])


async def test_an_endless_answer_is_cut_short() -> None:
    """It proves nothing, and must not fill the memory."""

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(BODY_BYTES_MAX // 65_536 + 2):
            await response.write(b"x" * 65_536)
        return response

    async with serving(flood) as url, open_session(connections_max=2, timeout_s=5) as session:
        assert await exchange(session, "GET", url, timeout_s=5) == Ambiguous("answer_too_long")


async def test_a_request_that_was_sent_is_said_to_be_only_while_submitting() -> None:
    """Preparations and inquiries are no submissions."""
    said = []

    async def step(name: str) -> None:
        said.append(name)

    async def fine(_request: web.Request) -> web.Response:
        return web.json_response({})

    async with serving(fine) as url, open_session(connections_max=2, timeout_s=2, steps=step) as session:
        assert isinstance(await exchange(session, "POST", url, timeout_s=1, json={"a": 1}), Reply)
        assert said == []
        SUBMITTING.set(True)
        assert isinstance(await exchange(session, "POST", url, timeout_s=1, json={"a": 1}), Reply)
        SUBMITTING.set(False)
    assert said == ["request_sent"]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT")
def test_bytes_that_nobody_acknowledges_are_given_up_after_ten_seconds() -> None:
    """A request must not arrive out of a buffer long after it was concluded about."""
    made = http._socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1)))
    assert 0 < made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 10_000
    made.close()
