"""What stands between a sandbox's door and its handlers: refusals, outages, keys, durability."""

import hmac
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import SecretStr

from adapters.sandbox.answers import Refused
from adapters.sandbox.journal import Journal
from adapters.sandbox.outage import Outage


def refusals(words: Callable[[Refused], dict[str, object]]) -> Middleware:
    """Answer refusals, in the given words; those of the web framework too."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            return web.json_response(words(refused), status=refused.status)
        except web.HTTPRequestEntityTooLarge:
            return web.json_response(words(Refused(413, "TOO_LARGE", "the body is too large")), status=413)
        except web.HTTPMethodNotAllowed:
            return web.json_response(words(Refused(405, "NO_SUCH_METHOD", "no such method here")), status=405)
        except web.HTTPNotFound:
            return web.json_response(words(Refused(404, "NO_SUCH_PATH", "there is no such path")), status=404)

    return middleware


def out_of_order(outage: Outage) -> Middleware:
    """Answer 503 while out of order."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not outage.unavailable:
            return await handler(request)
        headers = {} if outage.retry_after_s is None else {"Retry-After": str(outage.retry_after_s)}
        return web.json_response({"errorCode": "UNAVAILABLE"}, status=503, headers=headers)

    return middleware


def callers(api_key: SecretStr | None) -> Middleware:
    """Let in whoever has the key, or everybody where there is none."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if api_key is not None:
            wanted = f"Bearer {api_key.get_secret_value()}".encode()
            given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
            if not hmac.compare_digest(wanted, given):
                raise Refused(401, "UNAUTHENTICATED", "the key is missing or wrong")
        return await handler(request)

    return middleware


def durable(journal: Journal) -> Middleware:
    """Let control tell, and do, nothing that a kill could undo."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        await journal.durable()
        return response

    return middleware
