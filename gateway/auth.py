"""Authentication and authority: who sent exactly these bytes, and may they.

Cheap checks come first: nobody without a known key and a fresh timestamp gets their body read. Every line of the
signed string is what came over the wire, byte for byte. This module must never answer differently, or in another
time, for a secret that is nearly right.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Final

from aiohttp import web

from gateway.body import read_body
from gateway.calls import Call
from gateway.keys import KeyRegister, ServiceKey
from gateway.permissions import Address, Network
from gateway.problems import Problem
from gateway.rates import Rates
from shared.accounts import Account, AccountKind
from shared.signing import SignedRequest, is_fresh, verify

X_SERVICE_KEY: Final = "X-Service-Key"
X_TIMESTAMP: Final = "X-Timestamp"
X_SIGNATURE: Final = "X-Signature"
X_USER_ID: Final = "X-User-Id"
X_APPROVER_KEY: Final = "X-Approver-Key"
X_APPROVER_SIGNATURE: Final = "X-Approver-Signature"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
FORWARDED_MAX: Final = 16
"""How many proxies an ``X-Forwarded-For`` may name."""
_USER_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Caller:
    """A request whose signature holds: by which key, for which user, and what exactly was signed."""

    key: ServiceKey
    user_id: str | None
    signed: SignedRequest = field(repr=False)
    request: web.BaseRequest = field(repr=False)
    now_unix_s: float

    @property
    def body(self) -> bytes:
        """The signed body."""
        return self.signed.body

    def owns(self, service_key_id: str, user_id: str | None) -> bool:
        """Say whether an intent of that key and user is this caller's to see."""
        return self.key.id == service_key_id and self.user_id in (None, user_id)

    def require_account(self, account: Account) -> None:
        """Refuse an account that is not the key's, or that belongs to another user than the signed one.

        Raises:
            Problem: ``account_not_permitted`` or ``foreign_user``.
        """
        if not self.key.permissions.allows_account(account.name):
            raise Problem("account_not_permitted")
        if self.user_id is not None and account.kind is AccountKind.USER and account.owner != self.user_id:
            raise Problem("foreign_user")

    def require_debit(self, account: Account) -> None:
        """Refuse to debit an account, a user's above all unless the signature names that very user.

        Raises:
            Problem: ``account_not_permitted`` or ``foreign_user``.
        """
        self.require_account(account)
        if account.kind is AccountKind.USER and self.user_id is None:
            raise Problem("foreign_user", f"a debit of a user's account needs {X_USER_ID}, which is signed")

    def require_operation(self, operation_type: str) -> None:
        """Refuse an operation that the key may not post.

        Raises:
            Problem: ``operation_not_permitted``.
        """
        if operation_type not in self.key.permissions.operations:
            raise Problem("operation_not_permitted")


def header(request: web.BaseRequest, name: str) -> str | None:
    """Return a header that may stand there once, in ASCII.

    Raises:
        Problem: ``duplicate_header`` or ``bad_header``.
    """
    values = request.headers.getall(name, ())
    if not values:
        return None
    if len(values) > 1:
        raise Problem("duplicate_header", f"{name} stands there {len(values)} times")
    if not values[0].isascii():
        raise Problem("bad_header", f"{name} is not ASCII")
    return values[0]


class Authenticator:
    """Turns a request into a caller, or refuses it."""

    def __init__(
        self,
        *,
        keys: KeyRegister,
        rates: Rates,
        trusted_proxies: tuple[Network, ...],
        now_unix_s: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._rates = rates
        self._trusted_proxies = trusted_proxies
        self._now_unix_s = now_unix_s

    async def caller(self, call: Call) -> Caller:
        """Authenticate a request, read its body and count it against its key's rate.

        It is counted last: what cannot be shown to be the key's uses nothing of the key's up.

        Raises:
            Problem: why not.
        """
        request = call.request
        key_id = header(request, X_SERVICE_KEY)
        timestamp = header(request, X_TIMESTAMP)
        signature = header(request, X_SIGNATURE)
        if key_id is None or timestamp is None or signature is None:
            raise Problem("signature_missing", f"{X_SERVICE_KEY}, {X_TIMESTAMP} and {X_SIGNATURE} are all needed")
        now = self._now_unix_s()
        if not is_fresh(timestamp, now_unix_s=now):
            raise Problem("signature_expired")
        key = await self._keys.find(key_id)
        if key is None:
            raise Problem("unknown_key")
        signed = SignedRequest(
            method=request.method,
            target=_target(request),
            timestamp=timestamp,
            idempotency_key=header(request, IDEMPOTENCY_KEY) or "",
            user_id=_user_id(request) or "",
            body=await read_body(request),
        )
        if verify(key.secrets(now), signed, signature) is None:
            raise Problem("bad_signature")
        if key.disabled:
            raise Problem("key_disabled")
        if key.permissions.networks is not None and not key.permissions.allows_address(self._address(request)):
            raise Problem("address_not_permitted")
        user_id = signed.user_id or None
        call.headers.update(await self._rates.admit(key, user_id))
        return Caller(key, user_id, signed, request, now)

    async def in_force(self, caller: Caller) -> bool:
        """Say whether the caller's key is still there and in force; what it has begun may take a while.

        Raises:
            Problem: the keys could not be checked for too long.
        """
        key = await self._keys.find(caller.key.id)
        return key is not None and not key.disabled

    async def approver(self, caller: Caller) -> ServiceKey | None:
        """Return the second key that approves this caller's request, None where none is named.

        Raises:
            Problem: ``approval_refused``, when the second signature does not hold or is not a second party's.
        """
        key_id = header(caller.request, X_APPROVER_KEY)
        signature = header(caller.request, X_APPROVER_SIGNATURE)
        if key_id is None and signature is None:
            return None
        key = await self._keys.find(key_id or "")
        secrets = None if key is None else key.secrets(caller.now_unix_s)
        if (
            key is None
            or secrets is None
            or verify(secrets, caller.signed, signature or "", approves=caller.key.id) is None
        ):
            raise Problem("approval_refused", "the approver's key is unknown or its signature does not fit")
        if key.disabled or key.id == caller.key.id or key.owner == caller.key.owner:
            raise Problem("approval_refused", "an approver is another owner's key, and in force")
        return key

    def _address(self, request: web.BaseRequest) -> Address | None:
        """Return where the request comes from; forwarded addresses count only as far as our own proxies vouch."""
        address = _parse_address(request.remote or "")
        if not self._trusted_proxies:
            return address
        hops = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")[-FORWARDED_MAX:]
        while hops and address is not None and any(address in network for network in self._trusted_proxies):
            hop = hops.pop().strip()
            if hop:
                address = _parse_address(hop)
        return address


def _parse_address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _target(request: web.BaseRequest) -> str:
    target = request.raw_path
    if not target.isascii():
        raise Problem("bad_request", "the request target is not ASCII; percent-encode it")
    return target


def _user_id(request: web.BaseRequest) -> str | None:
    user_id = header(request, X_USER_ID)
    if user_id is not None and not _USER_ID.fullmatch(user_id):
        raise Problem("bad_header", f"{X_USER_ID} consists of 1 to 64 of A-Z a-z 0-9 _ -")
    return user_id
