"""Request signatures: who posted exactly these bytes, and when.

The signed string is, with line feeds between::

    v1
    METHOD
    path?query
    timestamp            unix seconds, decimal
    idempotency key      empty where there is none
    user id              empty where there is none
    hex SHA-256 of the body

and the signature ``v1=<hex HMAC-SHA256>`` of it. None of the lines may contain a line feed: two different requests
must never share a signed string. This module must never compare secrets in a time that depends on them.
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from shared.errors import BadInput

TOLERANCE_S: Final = 300
SECRET_BYTES_MIN: Final = 16
_VERSION: Final = "v1"
_APPROVAL: Final = "v1-approval"
_TIMESTAMP_DIGITS_MAX: Final = 12
# Stands in for a second secret that a key does not have, so that both are always computed.
_NO_SECRET: Final = b"\0" * 32


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature covers; `target` is the path with its query, exactly as it was sent."""

    method: str
    target: str
    timestamp: str
    idempotency_key: str = ""
    user_id: str = ""
    body: bytes = field(default=b"", repr=False)


def canonical(request: SignedRequest, *, approves: str | None = None) -> bytes:
    """Return the string that is signed.

    An approval is signed over a string of its own that names the service key it approves: the approver's signature
    can then never pass as a request of the approver's.

    Raises:
        BadInput: with code ``bad_signature``, when a part contains a line feed.
    """
    opening = (_VERSION,) if approves is None else (_APPROVAL, approves)
    parts = (
        *opening,
        request.method,
        request.target,
        request.timestamp,
        request.idempotency_key,
        request.user_id,
        sha256(request.body).hexdigest(),
    )
    if any("\n" in part for part in parts):
        raise BadInput("a signed part must not contain a line feed", code="bad_signature")
    return "\n".join(parts).encode()


def sign(secret: bytes, request: SignedRequest, *, approves: str | None = None) -> str:
    """Return the value of ``X-Signature``, or of ``X-Approver-Signature`` where `approves` names the caller's key."""
    return f"{_VERSION}={hmac.digest(secret, canonical(request, approves=approves), 'sha256').hex()}"


def verify(
    secrets: tuple[bytes, bytes | None], request: SignedRequest, signature: str, *, approves: str | None = None
) -> int | None:
    """Return which of the secrets signed the request, 0 or 1; None when neither did.

    Both are computed and compared whatever the first says.
    """
    message = canonical(request, approves=approves)
    given = signature.encode()
    current, previous = secrets
    matches = [
        hmac.compare_digest(f"{_VERSION}={hmac.digest(secret, message, 'sha256').hex()}".encode(), given)
        for secret in (current, _NO_SECRET if previous is None else previous)
    ]
    if matches[0]:
        return 0
    return 1 if matches[1] and previous is not None else None


def is_fresh(timestamp: str, *, now_unix_s: float, tolerance_s: int = TOLERANCE_S) -> bool:
    """Say whether the timestamp is unix seconds no further than the tolerance from now, either way."""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _TIMESTAMP_DIGITS_MAX):
        return False
    return abs(int(timestamp) - now_unix_s) <= tolerance_s
