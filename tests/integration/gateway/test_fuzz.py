"""Random input against a live gateway: whatever comes, no answer is a 500 and the gateway lives on.

Three kinds of noise: bytes that are hardly HTTP, requests whose headers are mutated, and signed requests whose JSON is
mutated; the last get past the signature, so that every line behind it is reached.
"""

import asyncio
import json
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.gateway.psps import OPERATIONS
from tests.integration.gateway.stand import ADJUSTMENT, TRANSFER, Client

_LIVE = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_READ_S = 5.0

_POSTED = (TRANSFER, ADJUSTMENT, *OPERATIONS)
_NAMES = sorted({name for operation in _POSTED for name in operation})

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.text(max_size=40),
    st.text(alphabet=st.characters(), max_size=200),
    st.sampled_from(["THB", "user:alice:THB", "P2P_TRANSFER", "ADJUSTMENT", "CREDIT", "\ud800", "\x00", "a" * 300]),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=12,
)
_field_names = st.one_of(
    st.sampled_from(
        [*_NAMES, "from_name", "bank_code", "static", "test_scenario", "metadata", "requires_monitoring", "name"]
    ),
    st.text(max_size=12),
)


async def _statuses(client: Client, request: bytes) -> list[int]:
    """Send bytes and return the status of every answer until the gateway closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(request)
    if writer.can_write_eof():
        writer.write_eof()
    try:
        async with asyncio.timeout(_READ_S):
            answer = await reader.read()
    finally:
        writer.close()
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


async def _lives(client: Client) -> None:
    answer = await client.raw("GET", "/livez", b"", {})
    assert answer.status == 200


@_LIVE
@given(
    noise=st.one_of(st.binary(max_size=400), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
)
async def test_random_bytes_get_an_http_answer_or_none(client: Client, noise: bytes) -> None:
    """Raw, and as the start of something that looks like a request."""
    for request in (noise, b"POST " + noise, b"POST /v1/intents HTTP/1.1\r\n" + noise + b"\r\n\r\n"):
        statuses = await _statuses(client, request)
        assert all(status < 500 for status in statuses), statuses
    await _lives(client)


_header_values = st.one_of(
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=60),
    st.sampled_from([b"", b"v1=" + b"0" * 64, b"1700000000", b"9" * 400, b'"k"', b"wait=5", b"100-continue", b"gzip"]),
).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b""))
_header_names = st.sampled_from(
    [
        b"X-Service-Key", b"X-Timestamp", b"X-Signature", b"X-User-Id", b"Idempotency-Key", b"Prefer", b"Expect",
        b"Content-Type", b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"traceparent", b"Host",
        b"X-Approver-Key", b"X-Approver-Signature", b"X-Forwarded-For", b"Connection", b"Upgrade",
    ]
)  # fmt: skip


@_LIVE
@given(
    changes=st.lists(st.tuples(_header_names, _header_values), min_size=1, max_size=4),
    replace=st.booleans(),
    get=st.booleans(),
)
async def test_mutated_headers_never_break_the_gateway(
    client: Client, changes: list[tuple[bytes, bytes]], *, replace: bool, get: bool
) -> None:
    """Signed correctly first, then changed or doubled on the way."""
    method, target = ("GET", "/v1/accounts/user:alice:THB/history?limit=5") if get else ("POST", "/v1/intents")
    body = b"" if get else json.dumps(TRANSFER).encode()
    signed = client.signed(method, target, body, idempotency_key=uuid4().hex, user_id="alice")
    headers = [(name.encode(), value.encode()) for name, value in signed.items()]
    headers += [(b"Host", b"x"), (b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")]
    if replace:
        changed = {name.lower() for name, _ in changes}
        headers = [(name, value) for name, value in headers if name.lower() not in changed]
    lines = [name + b": " + value for name, value in [*headers, *changes]]
    request = b"\r\n".join([f"{method} {target} HTTP/1.1".encode(), *lines, b"", b""]) + body
    statuses = await _statuses(client, request)
    assert all(status < 500 for status in statuses), statuses


@_LIVE
@given(
    base=st.sampled_from(_POSTED),
    changes=st.dictionaries(_field_names, _values, max_size=4),
    dropped=st.sets(st.sampled_from(_NAMES), max_size=2),
    ascii_only=st.booleans(),
    where=st.sampled_from(["/v1/intents", "/v1/accounts", "/v1/intents/0198c1f2-0000-7000-8000-000000000000/cancel"]),
)
async def test_mutated_json_is_accepted_or_refused_and_nothing_else(
    client: Client, base: dict[str, Any], changes: dict[str, Any], dropped: set[str], *, ascii_only: bool, where: str
) -> None:
    """Signed, so that it reaches validation: 2xx or 4xx, and a problem document for the latter."""
    fields = {name: value for name, value in {**base, **changes}.items() if name not in dropped}
    body = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    answer = await client.send(
        "POST", where, body, {"Content-Type": "application/json", "Prefer": "wait=0"},
        idempotency_key=uuid4().hex, user_id="alice",
    )  # fmt: skip
    assert answer.status < 500, answer.document
    if answer.status >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.code


@_LIVE
@given(noise=st.binary(min_size=1, max_size=300), at=st.integers(min_value=0, max_value=120))
async def test_a_signed_body_with_random_bytes_in_it_is_answered(client: Client, noise: bytes, at: int) -> None:
    """The signature holds, the JSON hardly ever; where it does, it says something else."""
    good = json.dumps(TRANSFER).encode()
    body = good[:at] + noise + good[at:]
    answer = await client.send("POST", "/v1/intents", body, idempotency_key=uuid4().hex, user_id="alice")
    assert answer.status in (202, 400, 403), answer.document


@_LIVE
@given(path=st.text(max_size=80), query=st.text(max_size=40))
async def test_a_signed_request_to_any_path_is_answered(client: Client, path: str, query: str) -> None:
    """Whatever the path and the query are made of."""
    raw = b"/v1/accounts/" + path.encode("utf-8", "replace") + b"/balance?" + query.encode("utf-8", "replace")
    target = b"".join(byte.to_bytes() for byte in raw if byte > 0x20)
    signed = client.signed("GET", target.decode("utf-8", "replace"))
    lines = [f"{name}: {value}".encode() for name, value in signed.items()]
    request = b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: x", b"Connection: close", *lines, b"", b""])
    assert all(status < 500 for status in await _statuses(client, request))
