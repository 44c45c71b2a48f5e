"""The signed client: what it sends verifies, and what it repeats is the same request under the same key."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ops import client as clients
from ops.client import Client, new_idempotency_key, open_client, signed_headers
from shared.errors import OutcomeUnknown
from shared.signing import SignedRequest, verify

SECRET = "pms_a-secret-that-is-long-enough"
OPERATION = {"operation_type": "P2P_TRANSFER", "amount_minor": 1}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between repetitions are as good as none."""
    monkeypatch.setattr(clients, "_PAUSE_FIRST_S", 0.001)
    monkeypatch.setattr(clients, "_PAUSE_MAX_S", 0.001)


def verified(request: web.Request, body: bytes) -> bool:
    """Whether the signature holds for what came over the wire."""
    headers = request.headers
    signed = SignedRequest(
        method=request.method,
        target=request.raw_path,
        timestamp=headers["X-Timestamp"],
        idempotency_key=headers.get("Idempotency-Key", ""),
        user_id=headers.get("X-User-Id", ""),
        body=body,
    )
    return verify((SECRET.encode(), None), signed, headers["X-Signature"]) == 0


class Gateway:
    """A gateway that notes requests, verifies them, and answers what the test says."""

    def __init__(self, *answers: Callable[[], web.StreamResponse]) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[str, str, bytes, dict[str, str]]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer the next answer; the last one for ever."""
        body = await request.read()
        assert verified(request, body)
        self.seen.append((request.method, request.raw_path, body, dict(request.headers)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer()


def said(status: int, **document: Any) -> Callable[[], web.StreamResponse]:
    """An answer with a JSON document."""
    return lambda: web.json_response(document, status=status)


def hung_up() -> web.StreamResponse:
    """No answer: the connection is lost with the request under way."""
    raise asyncio.CancelledError


@asynccontextmanager
async def talking(gateway: Gateway) -> AsyncIterator[Client]:
    """A client of that gateway."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", gateway.handle)
    server = TestServer(app)
    await server.start_server()
    try:
        async with open_client(url=str(server.make_url("")), key="shop", secret=SECRET) as client:
            yield client
    finally:
        await server.close()


async def test_every_request_is_signed_as_it_is_sent() -> None:
    """Path with query, body, user and idempotency key: what verifies is what came over the wire."""
    gateway = Gateway(said(200, state="SETTLED"))
    async with talking(gateway) as client:
        await client.post_intent(OPERATION, idempotency_key="k 1".replace(" ", "-"), user_id="alice", wait_s=5)
        await client.open_account("user:alice:THB")
        await client.intent("0198")
        await client.balance("user:alice:THB")
        await client.send("GET", "/v1/accounts/user:alice:THB/history?limit=2&cursor=00")
    assert [(method, path) for method, path, _, _ in gateway.seen] == [
        ("POST", "/v1/intents"),
        ("POST", "/v1/accounts"),
        ("GET", "/v1/intents/0198"),
        ("GET", "/v1/accounts/user:alice:THB/balance"),
        ("GET", "/v1/accounts/user:alice:THB/history?limit=2&cursor=00"),
    ]
    assert gateway.seen[0][3]["Prefer"] == "wait=5"
    assert gateway.seen[0][3]["Content-Type"] == "application/json"


@pytest.mark.parametrize("lost", [said(503, code="busy"), hung_up])
async def test_a_request_without_an_answer_is_repeated_under_its_key(lost: Callable[[], web.StreamResponse]) -> None:
    """The same bytes, the same key: it cannot become two payments."""
    gateway = Gateway(lost, lost, said(202, id="0198", state="CREATED"))
    async with talking(gateway) as client:
        answer = await client.send_until_answered(OPERATION, idempotency_key="k", user_id="alice")
    assert answer.document["id"] == "0198"
    assert len(gateway.seen) == 3
    assert {(body, headers["Idempotency-Key"]) for _, _, body, headers in gateway.seen} == {(gateway.seen[0][2], "k")}


async def test_a_refusal_is_an_answer_and_is_not_repeated() -> None:
    """Only 503 and silence are."""
    gateway = Gateway(said(422, code="idempotency_key_reused"), said(200))
    async with talking(gateway) as client:
        answer = await client.send_until_answered(OPERATION, idempotency_key="k")
    assert (answer.status, answer.code, answer.accepted) == (422, "idempotency_key_reused", False)
    assert len(gateway.seen) == 1


async def test_patience_ends_with_an_unknown_outcome_and_never_with_a_new_key() -> None:
    """Nobody answered: whether it was taken on, only the same key can tell."""
    gateway = Gateway(said(503, code="busy"))
    async with talking(gateway) as client:
        with pytest.raises(OutcomeUnknown, match="busy"):
            await client.send_until_answered(OPERATION, idempotency_key="k", timeout_s=0.05)
    assert {headers["Idempotency-Key"] for _, _, _, headers in gateway.seen} == {"k"}


async def test_a_single_send_is_never_repeated() -> None:
    """Whoever calls `send` decides alone."""
    gateway = Gateway(hung_up)
    async with talking(gateway) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.post_intent(OPERATION, idempotency_key="k")
    assert len(gateway.seen) == 1


async def test_an_intent_is_polled_until_its_state_is_final() -> None:
    """And no longer than it may take."""
    gateway = Gateway(said(200, state="CREATED"), said(200, state="VALIDATED"), said(200, state="REJECTED"))
    async with talking(gateway) as client:
        answer = await client.decided("0198", timeout_s=5)
        assert answer.document["state"] == "REJECTED"
        gateway.answers = [said(200, state="CREATED")]
        with pytest.raises(OutcomeUnknown, match="undecided"):
            await client.decided("0198", timeout_s=0.02)


async def test_answers_are_read_whatever_they_are() -> None:
    """A refused intent's code, a problem's code, and pages that are no JSON."""
    refused = said(200, state="REJECTED", error={"code": "insufficient_funds"})
    html: Callable[[], Awaitable[web.Response] | web.StreamResponse] = lambda: web.Response(status=502, text="<html>")  # noqa: E731
    gateway = Gateway(refused, html)  # type: ignore[arg-type]
    async with talking(gateway) as client:
        assert (await client.intent("0198")).code == "insufficient_funds"
        answer = await client.intent("0198")
    assert (answer.status, answer.document, answer.code, answer.replayed) == (502, {}, None, False)


def test_headers_of_a_read_carry_nothing_they_do_not_need() -> None:
    """No idempotency key, no user, no content type."""
    headers = signed_headers(
        key="shop", secret=SECRET, method="GET", target="/x", body=b"", timestamp="1", idempotency_key="", user_id=""
    )
    assert set(headers) == {"X-Service-Key", "X-Timestamp", "X-Signature"}


def test_secrets_do_not_show() -> None:
    """Neither in a repr nor, by that way, in a log."""
    client = Client("http://x", "shop", SECRET, None)  # type: ignore[arg-type]
    assert SECRET not in repr(client)
    assert new_idempotency_key() != new_idempotency_key()
