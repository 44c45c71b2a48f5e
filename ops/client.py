"""A small signed HTTP client: what a service that pays through the gateway has to do, and nothing more.

It repeats a request only where that is safe: the same bytes under the same idempotency key, signed anew. This module
must never make up a new key for a request whose fate is unknown.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import aiohttp

from shared.errors import OutcomeUnknown
from shared.signing import SignedRequest, sign

TERMINAL: Final = frozenset({"SETTLED", "FAILED", "EXPIRED", "REJECTED", "DUPLICATE"})
_TIMEOUT_S: Final = 60.0
_PAUSE_FIRST_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0
_BUSY: Final = 503


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway said: the HTTP status, the headers and the JSON document."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether the request was taken on (2xx)."""
        return 200 <= self.status < 300  # noqa: PLR2004

    @property
    def replayed(self) -> bool:
        """Whether an earlier request with the same key is being answered."""
        return self.headers.get("Idempotent-Replayed") == "true"

    @property
    def code(self) -> str | None:
        """The problem's code, or the code by which an accepted intent was refused."""
        error = self.document.get("error")
        found = error.get("code") if isinstance(error, dict) else self.document.get("code")
        return str(found) if found is not None else None


def signed_headers(
    *, key: str, secret: str, method: str, target: str, body: bytes, timestamp: str, idempotency_key: str, user_id: str
) -> dict[str, str]:
    """Return the headers that authenticate exactly this request."""
    request = SignedRequest(
        method=method,
        target=target,
        timestamp=timestamp,
        idempotency_key=idempotency_key,
        user_id=user_id,
        body=body,
    )
    headers = {"X-Service-Key": key, "X-Timestamp": timestamp, "X-Signature": sign(secret.encode(), request)}
    if idempotency_key:
        headers["Idempotency-Key"] = idempotency_key
    if user_id:
        headers["X-User-Id"] = user_id
    if body:
        headers["Content-Type"] = "application/json"
    return headers


@dataclass(frozen=True, slots=True)
class Client:
    """One service key's way to the gateway."""

    url: str
    key: str
    secret: str = field(repr=False)
    session: aiohttp.ClientSession = field(repr=False)
    now_unix_s: Callable[[], float] = time.time

    async def post_intent(
        self, operation: Mapping[str, Any], *, idempotency_key: str, user_id: str = "", wait_s: int | None = None
    ) -> Answer:
        """Post an intent; with `wait_s` the gateway answers once it is decided, or after that many seconds."""
        headers = {"Prefer": f"wait={wait_s}"} if wait_s is not None else {}
        return await self.send(
            "POST", "/v1/intents", operation, idempotency_key=idempotency_key, user_id=user_id, headers=headers
        )

    async def open_account(self, name: str) -> Answer:
        """Open a wallet: 201 once it is open, 202 while that takes longer."""
        return await self.send("POST", "/v1/accounts", {"name": name})

    async def intent(self, intent_id: str) -> Answer:
        """Ask where an intent stands."""
        return await self.send("GET", f"/v1/intents/{intent_id}")

    async def balance(self, account: str) -> Answer:
        """Ask what a wallet holds."""
        return await self.send("GET", f"/v1/accounts/{account}/balance")

    async def decided(self, intent_id: str, *, timeout_s: float) -> Answer:
        """Poll an accepted intent until its state is final.

        Raises:
            OutcomeUnknown: it was not decided in time.
        """
        deadline = time.monotonic() + timeout_s
        pause_s = _PAUSE_FIRST_S
        while True:
            answer = await self.intent(intent_id)
            if answer.document.get("state") in TERMINAL:
                return answer
            if time.monotonic() > deadline:
                raise OutcomeUnknown(f"intent {intent_id} is still undecided after {timeout_s:.0f} s")
            await asyncio.sleep(pause_s)
            pause_s = min(_PAUSE_MAX_S, pause_s * 2)

    async def send(
        self,
        method: str,
        target: str,
        document: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str = "",
        user_id: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sign and send one request, once.

        Raises:
            aiohttp.ClientError, TimeoutError: no answer; the request may have been taken on.
        """
        body = json.dumps(document, separators=(",", ":")).encode() if document is not None else b""
        signed = signed_headers(
            key=self.key,
            secret=self.secret,
            method=method,
            target=target,
            body=body,
            timestamp=str(int(self.now_unix_s())),
            idempotency_key=idempotency_key,
            user_id=user_id,
        )
        async with self.session.request(
            method, self.url + target, data=body or None, headers={**signed, **(headers or {})}
        ) as response:
            return Answer(response.status, response.headers, await _document(response))

    async def send_until_answered(
        self,
        operation: Mapping[str, Any],
        *,
        idempotency_key: str,
        user_id: str = "",
        wait_s: int | None = None,
        timeout_s: float = 30.0,
    ) -> Answer:
        """Post an intent and, while nobody answers or the mesh is busy, post it again under the same key.

        Raises:
            OutcomeUnknown: nobody answered in time; it may have been taken on.
        """
        deadline = time.monotonic() + timeout_s
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                answer = await self.post_intent(
                    operation, idempotency_key=idempotency_key, user_id=user_id, wait_s=wait_s
                )
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = type(error).__name__
            else:
                if answer.status != _BUSY:
                    return answer
                reason = answer.code or "503"
            if time.monotonic() > deadline:
                raise OutcomeUnknown(f"no answer within {timeout_s:.0f} s ({reason}); ask again with the same key")
            await asyncio.sleep(pause_s)
            pause_s = min(_PAUSE_MAX_S, pause_s * 2)


@asynccontextmanager
async def open_client(
    *, url: str, key: str, secret: str, connections_max: int = 64, now_unix_s: Callable[[], float] = time.time
) -> AsyncIterator[Client]:
    """Connect to a gateway for the length of the block."""
    connector = aiohttp.TCPConnector(limit=connections_max)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Client(url.rstrip("/"), key, secret, session, now_unix_s)


def new_idempotency_key() -> str:
    """Return a key that nobody has used."""
    return str(uuid4())


async def _document(response: aiohttp.ClientResponse) -> dict[str, Any]:
    raw = await response.read()
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
