"""One HTTP call on its way through a handler: the request, and what its path and query name."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Call:
    """A routed request; a handler that waits on the client's behalf says for how long.

    `headers` are those of whatever is answered, a refusal included; who sends its own head must send them too.
    """

    request: web.BaseRequest
    route: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    wait_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


def traceparent(request: web.BaseRequest) -> str:
    """Return the W3C trace context that came with a request, empty where there is none worth passing on."""
    text = request.headers.get("traceparent", "")
    return text if _TRACEPARENT.fullmatch(text) else ""


def trace_id(request: web.BaseRequest) -> str | None:
    """Return the trace id that came with a request."""
    match = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return match[1] if match else None
