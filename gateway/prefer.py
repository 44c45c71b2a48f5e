"""The Prefer header (RFC 7240), of which only ``wait`` is honoured, in whole seconds.

A preference that cannot be read is ignored, as the RFC asks for; it never fails a request.
"""

import re
from typing import Final

from aiohttp import web

_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=[,;]|$)", re.IGNORECASE | re.ASCII)


def wait_seconds(request: web.BaseRequest, wait_max_s: int) -> int:
    """Return how long the client allows the answer to take, 0 where it says nothing."""
    preferences = request.headers.getall("Prefer", ())
    if not preferences:
        return 0
    match = _WAIT.search(",".join(preferences))
    return min(int(match[1]), wait_max_s) if match else 0
