"""Answers that go wrong on the wire: never sent, torn off, unreadable, or an error.

What the books say has been decided before or is never decided: this module must never touch them.
"""

import asyncio
import json
import socket
import struct
from typing import Final

from aiohttp import web

from adapters.sandbox.scenario import Fault, FaultKind

_PEEK_S: Final = 0.1
_PEEKS_MAX: Final = 1_200
# On for zero seconds: closing sends a reset instead of an orderly end.
_LINGER_RESET: Final = struct.pack("ii", 1, 0)


async def go_wrong(request: web.Request, fault: Fault, body: dict[str, object]) -> web.StreamResponse:
    """Answer as the fault says; `body` is what the right answer would have been."""
    match fault.kind:
        case FaultKind.TIMEOUT:
            await _silence(request)
            return await _reset(request, None)
        case FaultKind.RESET:
            return await _reset(request, json.dumps(body).encode())
        case FaultKind.MALFORMED:
            text = json.dumps(body)
            return web.Response(text=text[: max(1, len(text) // 2)], content_type="application/json")
        case FaultKind.STATUS:
            headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            error = {"errorCode": f"HTTP_{fault.status}", "errorDesc": "as the scenario says"}
            return web.json_response(error, status=fault.status, headers=headers)


async def _silence(request: web.Request) -> None:
    """Say nothing until the caller has gone, or two minutes have passed."""
    for _ in range(_PEEKS_MAX):
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(_PEEK_S)


async def _reset(request: web.Request, content: bytes | None) -> web.StreamResponse:
    """Send the head and half of the content, if there is any, and reset the connection."""
    response = web.StreamResponse()
    if content is not None:
        response.content_type = "application/json"
        response.content_length = len(content)
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        # The transport may hold bytes back until the loop comes round.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    cut(request.transport)
    return response


def cut(transport: asyncio.Transport | None) -> None:
    """Reset a connection without another word."""
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    transport.abort()
