"""Reading a request's body: bounded in size and in time, and taken exactly as it was signed.

A body is never decompressed, since what was signed are the bytes on the wire. This module must never read more than
it may keep.
"""

import asyncio
from typing import Final, TypeVar

from aiohttp import HttpVersion11, web

from gateway.problems import Problem
from gateway.settings import BODY_BYTES_MAX, BODY_TIMEOUT_S

BodyT = TypeVar("BodyT", bytes, bytearray)

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


async def read_body(request: web.BaseRequest) -> bytes:
    """Return the body, empty where there is none.

    Raises:
        Problem: ``body_too_large``, ``unsupported_media_type``, ``expectation_failed``, ``body_timeout`` or
            ``bad_request``.
    """
    if not request.body_exists:
        return b""
    headers = request.headers
    length = request.content_length
    if length is not None and length > BODY_BYTES_MAX:
        raise Problem("body_too_large", headers={"Connection": "close"})
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if length != 0 and media_type != "application/json":
        raise Problem("unsupported_media_type", "send Content-Type: application/json")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "a compressed body is not accepted")
    if "Expect" in headers:
        await _continue(request)
    try:
        if request.content.is_eof():
            return _bounded(request.content.read_nowait())
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _collect(request)
    except TimeoutError:
        raise Problem("body_timeout", headers={"Connection": "close"}) from None
    except web.RequestPayloadError:
        raise Problem("bad_request", "the body is not framed as its headers say") from None


async def _collect(request: web.BaseRequest) -> bytes:
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        _bounded(body)
    return bytes(body)


def _bounded(body: BodyT) -> BodyT:
    if len(body) > BODY_BYTES_MAX:
        raise Problem("body_too_large", headers={"Connection": "close"})
    return body


async def _continue(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to go on and send the body."""
    if request.headers["Expect"].lower() != "100-continue":
        raise Problem("expectation_failed")
    if request.version >= HttpVersion11:
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # the answer proper has not begun
