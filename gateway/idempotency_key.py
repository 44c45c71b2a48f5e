"""The Idempotency-Key header: a structured-field string (RFC 9651, section 3.3.3), or the same key bare.

The draft wants quotes and many clients send none; ``"k-1"`` and ``k-1`` are one key. A key is 1 to 255 visible ASCII
characters, so that a copy of it in a log, a stream or a database can never read as anything else.
"""

import re
from typing import Final

from gateway.problems import Problem

CHARS_MAX: Final = 255
_QUOTED: Final = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
_BARE: Final = re.compile(r"[!#-~][!-~]*")


def parse_idempotency_key(header: str) -> str:
    """Return the key that a header value names.

    Raises:
        Problem: ``idempotency_key_invalid``.
    """
    quoted = _QUOTED.fullmatch(header)
    if quoted is not None:
        key = _ESCAPE.sub(r"\1", quoted[1])
    elif _BARE.fullmatch(header):
        key = header
    else:
        raise Problem("idempotency_key_invalid", 'write it as key or as "key", without spaces or parameters')
    if not 1 <= len(key) <= CHARS_MAX:
        raise Problem("idempotency_key_invalid", f"a key has 1 to {CHARS_MAX} characters; this one has {len(key)}")
    return key
