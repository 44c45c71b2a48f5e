"""The Prefer header (RFC 7240), of which only ``wait`` is honoured, in whole seconds.

A preference that cannot be read is ignored, as the RFC asks for; it never fails a request.
"""

import re
from typing import Final

from aiohttp import web

_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=[,;]|$)", re.IGNORECASE | re.ASCII)


def wait_seconds(request: web.BaseRequest, *, default_s: int, max_s: int) -> int:
    """Return how long the client allows the answer to take, at most `max_s`; `default_s` where it says nothing."""
    preferences = request.headers.getall("Prefer", ())
    if not preferences:
        return default_s
    match = _WAIT.search(",".join(preferences))
    return min(int(match[1]), max_s) if match else default_s
