"""Bad input: every way of getting a request wrong has its own clear answer, and none of them is a 500.

The table reads as the specification: what is sent, and what is said about it.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

import gateway.body
from tests.integration.gateway.stand import ADJUSTMENT, FREE, SECRET, TRANSFER, Client, Stand

_OMIT = object()


def _with(**changes: Any) -> bytes:
    """Return the body of a transfer with fields changed or left out."""
    fields = {**TRANSFER, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not _OMIT}).encode()


def _adjusting(**changes: Any) -> bytes:
    return json.dumps({**ADJUSTMENT, **changes}).encode()


BODIES: Mapping[str, tuple[bytes, str]] = {
    # not JSON
    "nothing": (b"", "malformed_json"),
    "broken JSON": (b'{"operation_type":', "malformed_json"),
    "two documents": (b"{}{}", "malformed_json"),
    "not UTF-8": (b'{"comment":"\xff"}', "malformed_json"),
    "UTF-16": (json.dumps(TRANSFER).encode("utf-16"), "malformed_json"),
    "a byte order mark": (b"\xef\xbb\xbf" + _with(), "malformed_json"),
    "NaN": (_with(amount_minor=float("nan")), "malformed_json"),
    "infinity": (_with(amount_minor=float("inf")), "malformed_json"),
    "nested too deeply": (b"[" * 60_000, "malformed_json"),
    "half a surrogate pair": (_with().replace(b'"THB"', b'"\\ud800"'), "bad_text"),
    "half a surrogate pair in a name": (b'{"\\udfff":1}', "bad_text"),
    "a raw control character": (_with()[:-1] + b',"comment":"a\x01b"}', "malformed_json"),
    # not an object, or an ambiguous one
    "a list": (b"[]", "wrong_type"),
    "a string": (b'"P2P_TRANSFER"', "wrong_type"),
    "a duplicate field": (_with()[:-1] + b',"amount_minor":1}', "duplicate_field"),
    "a duplicate nested field": (_with()[:-1] + b',"metadata":{"tags":[],"tags":[]}}', "duplicate_field"),
    "a field named twice by escapes": (_with()[:-1] + b',"\\u0061mount_minor":1}', "duplicate_field"),
    # operation and fields
    "no operation": (b"{}", "missing_field"),
    "an unknown operation": (_with(operation_type="REFUND"), "unknown_operation"),
    "an operation of another type": (_with(operation_type=7), "unknown_operation"),
    "a missing field": (_with(amount_minor=_OMIT), "missing_field"),
    "an unknown field": (_with(priority="high"), "unknown_field"),
    "an unknown nested field": (_with(metadata={"tags": [], "note": "x"}), "unknown_field"),
    "a field of another operation": (_with(direction="CREDIT"), "unknown_field"),
    "an internal field": (_adjusting(approved_by="me"), "unknown_field"),
    "an unknown direction": (_adjusting(direction="UP"), "unknown_value"),
    # amounts
    "a float": (_with(amount_minor=10.5), "float_not_allowed"),
    "a whole float": (_with(amount_minor=10.0), "float_not_allowed"),
    "an exponent": (_with().replace(b"1000", b"1e3"), "float_not_allowed"),
    "an amount in quotes": (_with(amount_minor="1000"), "wrong_type"),
    "true as an amount": (_with(amount_minor=True), "wrong_type"),
    "null as an amount": (_with(amount_minor=None), "wrong_type"),
    "zero": (_with(amount_minor=0), "amount_out_of_range"),
    "minus zero": (_with().replace(b"1000", b"-0"), "amount_out_of_range"),
    "a negative amount": (_with(amount_minor=-1), "amount_out_of_range"),
    "more than 2^62": (_with(amount_minor=2**62 + 1), "amount_out_of_range"),
    "more than 2^64": (_with(amount_minor=10**20 - 1), "amount_out_of_range"),
    "a number of a thousand digits": (_with().replace(b"1000", b"9" * 1000), "number_too_large"),
    "a number of five thousand digits": (_with().replace(b"1000", b"9" * 5000), "number_too_large"),
    "an adjustment of a negative amount": (_adjusting(amount_minor=-500), "amount_out_of_range"),
    # currencies and accounts
    "an unknown currency": (_with(currency="XYZ"), "unknown_currency"),
    "a currency in lower case": (_with(currency="thb"), "unknown_currency"),
    "an empty currency": (_with(currency=""), "unknown_currency"),
    "another currency than the accounts'": (_with(currency="USD"), "currency_mismatch"),
    "accounts of two currencies": (_with(to_account="user:bob:USD"), "currency_mismatch"),
    "an account of an unknown kind": (_with(to_account="bank:bob:THB"), "bad_account_name"),
    "an account with a part too many": (_with(to_account="user:bob:x:THB"), "bad_account_name"),
    "an account with an empty part": (_with(to_account="user::THB"), "bad_account_name"),
    "an account with a space": (_with(to_account="user:b b:THB"), "bad_account_name"),
    "an account with a line feed": (_with(to_account="user:bob:THB\n"), "bad_account_name"),
    "an account of 10,000 characters": (_with(to_account="user:" + "b" * 10_000 + ":THB"), "too_long"),
    "an account of an unknown currency": (_with(to_account="user:bob:XYZ"), "unknown_currency"),
    "paying the house": (_with(to_account="equity:THB"), "account_not_payable"),
    "paying from transit": (_with(from_account="transit:THB"), "account_not_payable"),
    "adjusting the house": (_adjusting(account="transit:THB"), "account_not_payable"),
    "a transfer to oneself": (_with(to_account="user:alice:THB"), "self_transfer"),
    # words
    "a control character": (_with(comment="a\x00b"), "control_characters"),
    "a line feed in a name": (_with(from_name="Alice\nLiddell"), "control_characters"),
    "a delete character": (_with(from_name="Alice\x7f"), "control_characters"),
    "a C1 control": (_with(to_name="B\x85b"), "control_characters"),
    "a right-to-left override": (_with(to_name="B\u202eob"), "control_characters"),
    "a control character in a tag": (_with(metadata={"tags": ["a\tb"]}), "control_characters"),
    "a name of 10,000 characters": (_with(from_name="A" * 10_000), "too_long"),
    "a name of 141 characters": (_with(to_name="A" * 141), "too_long"),
    "a comment of 141 characters": (_with(comment="ก" * 141), "too_long"),
    "an empty name": (_with(from_name=""), "too_short"),
    "a name that is a number": (_with(from_name=7), "wrong_type"),
    "seventeen tags": (_with(metadata={"tags": ["t"] * 17}), "too_long"),
    "a tag of 65 characters": (_with(metadata={"tags": ["t" * 65]}), "too_long"),
    "tags that are a string": (_with(metadata={"tags": "rent"}), "wrong_type"),
    "a tag that is a number": (_with(metadata={"tags": [1]}), "wrong_type"),
    "null as metadata": (_with(metadata=None), "wrong_type"),
    "monitoring in words": (_with(requires_monitoring="yes"), "wrong_type"),
}


async def test_every_bad_body_has_its_code(stand: Stand, client: Client) -> None:
    """400 with a problem document that names the fault, and nothing accepted."""
    wrong = {}
    for case, (body, code) in BODIES.items():
        headers = {"Content-Type": "application/json"}
        answer = await client.send("POST", "/v1/intents", body, headers, idempotency_key="k", user_id="alice")
        if (answer.status, answer.code) != (400, code):
            wrong[case] = (answer.status, answer.code, code)
        assert answer.headers["Content-Type"] == "application/problem+json", case
        assert answer.document["retry"] == "never", case
        assert len(answer.document["correlation_id"]) == 32, case
    assert wrong == {}
    assert await stand.entries() == []


async def test_a_refusal_names_every_fault_of_a_body_and_repeats_nobodys_words(client: Client) -> None:
    """All at once, so that a caller mends them in one go."""
    answer = await client.post({**TRANSFER, "amount_minor": -1, "currency": "XYZ", "comment": "Secret\x00 words"})
    faults = {fault["field"]: fault["code"] for fault in answer.document["faults"]}
    assert faults == {
        "amount_minor": "amount_out_of_range",
        "currency": "unknown_currency",
        "comment": "control_characters",
    }
    assert "Secret" not in json.dumps(answer.document)


KEYS: Mapping[str, str] = {
    "": "idempotency_key_missing",
    "k" * 256: "idempotency_key_invalid",
    '"' + "k" * 256 + '"': "idempotency_key_invalid",
    "two words": "idempotency_key_invalid",
    '"unfinished': "idempotency_key_invalid",
    '""': "idempotency_key_invalid",
    '"k";p=1': "idempotency_key_invalid",
    "tab\tkey": "idempotency_key_invalid",
}


@pytest.mark.parametrize(("key", "code"), KEYS.items())
async def test_a_bad_idempotency_key_is_refused(client: Client, key: str, code: str) -> None:
    """Missing, too long, or not visible ASCII."""
    body = json.dumps(TRANSFER).encode()
    answer = await client.send("POST", "/v1/intents", body, idempotency_key=key, user_id="alice")
    assert (answer.status, answer.code) == (400, code)


async def test_a_key_of_255_characters_is_accepted(client: Client) -> None:
    """The bound itself is inside."""
    assert (await client.post(key="k" * 255)).status == 202


async def test_who_is_not_known_gets_401(stand: Stand, client: Client) -> None:
    """Missing, expired and forged signatures, unknown and disabled keys."""
    body, target = json.dumps(TRANSFER).encode(), "/v1/intents"
    named = {"idempotency_key": "k", "user_id": "alice"}

    async def code(headers: Mapping[str, str]) -> tuple[int, str | None]:
        answer = await client.raw("POST", target, body, headers)
        assert "WWW-Authenticate" in answer.headers
        return answer.status, answer.code

    good = client.signed("POST", target, body, **named)
    for name in ("X-Service-Key", "X-Timestamp", "X-Signature"):
        assert await code({key: value for key, value in good.items() if key != name}) == (401, "signature_missing")
    now = int(time.time())
    for timestamp in (now - 302, now + 302, "1e9", "-5", "", "9" * 30, "soon"):
        stale = client.signed("POST", target, body, timestamp=timestamp, **named)
        assert await code(stale) == (401, "signature_expired"), timestamp
    forged = {
        "another body": client.signed("POST", target, body + b" ", **named),
        "another path": client.signed("POST", "/v1/accounts", body, **named),
        "another method": client.signed("PUT", target, body, **named),
        "another key": client.signed("POST", target, body, idempotency_key="other", user_id="alice"),
        "no signature": {**good, "X-Signature": ""},
        "no version": {**good, "X-Signature": good["X-Signature"].removeprefix("v1=")},
        "upper case": {**good, "X-Signature": good["X-Signature"].upper()},
        "cut short": {**good, "X-Signature": good["X-Signature"][:-1]},
        "another secret": Client(client.url, 0, client.session, secret="x" * 32).signed("POST", target, body, **named),
    }
    for case, headers in forged.items():
        assert await code({**headers, "Idempotency-Key": "k"}) == (401, "bad_signature"), case
    unsigned_user = {**client.signed("POST", target, body, idempotency_key="k"), "X-User-Id": "alice"}
    assert await code(unsigned_user) == (401, "bad_signature")
    assert await code({**good, "X-Service-Key": "nobody"}) == (401, "unknown_key")
    assert await stand.entries() == []


async def test_who_may_not_gets_403(stand: Stand, client: Client) -> None:
    """Operations, accounts, addresses and users that a key does not have."""
    keys: Mapping[str, tuple[Mapping[str, Any], dict[str, Any], str, str]] = {
        "reader": ({"accounts": ["user:*"]}, TRANSFER, "alice", "operation_not_permitted"),
        "elsewhere": ({**FREE, "addresses": ["10.0.0.0/8"]}, TRANSFER, "alice", "address_not_permitted"),
        "nowhere": ({**FREE, "addresses": []}, TRANSFER, "alice", "address_not_permitted"),
        "merchant": ({**FREE, "accounts": ["merchant:*"]}, TRANSFER, "alice", "account_not_permitted"),
        "payee": ({**FREE, "accounts": ["user:bob:*"]}, TRANSFER, "alice", "account_not_permitted"),
        "prefix": ({**FREE, "accounts": ["user:ali"]}, TRANSFER, "alice", "account_not_permitted"),
        "mint": ({"operations": ["ADJUSTMENT"], "accounts": ["user:*"]}, ADJUSTMENT, "", "operation_not_permitted"),
        "free": (FREE, TRANSFER, "bob", "foreign_user"),
        "free2": (FREE, TRANSFER, "", "foreign_user"),
    }
    for key, (permissions, *_) in keys.items():
        await stand.add_key(key, SECRET, permissions)
    async with stand.gateway() as running:
        for key, (_, operation, user_id, code) in keys.items():
            caller = Client(running.url, running.port, running.session, key=key)
            answer = await caller.post(operation, user_id=user_id)
            assert (answer.status, answer.code) == (403, code), key
    assert await stand.entries() == []
    assert client.key not in keys


async def test_a_key_with_unreadable_permissions_is_unusable_and_the_others_are_not(stand: Stand) -> None:
    """Nothing is granted by a document that is not understood."""
    await stand.add_key("odd", SECRET, {"operations": ["P2P_TRANSFER"], "everything": True})
    await stand.add_key("cut", SECRET, FREE)
    await stand.pool.execute("UPDATE pm.service_key SET secret = 'k2:AAAA:BBBB' WHERE id = 'cut'")
    async with stand.gateway() as client:
        for key in ("odd", "cut"):
            caller = Client(client.url, client.port, client.session, key=key)
            assert (await caller.post()).code == "unknown_key"
        assert (await client.post()).status == 202


HEADERS: Mapping[str, tuple[dict[str, str], int, str]] = {
    "another type": ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    "a compressed body": ({"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
    "a user that is none": ({"X-User-Id": "alice:THB"}, 400, "bad_header"),
    "a user of 65 characters": ({"X-User-Id": "a" * 65}, 400, "bad_header"),
    "a user beyond ASCII": ({"X-User-Id": "ålice"}, 400, "bad_header"),
    "a time in other digits": ({"X-Timestamp": "\u0661" * 10}, 400, "bad_header"),
    "an expectation": ({"Expect": "the-unexpected"}, 417, "expectation_failed"),
}


@pytest.mark.parametrize("case", HEADERS)
async def test_a_bad_header_is_refused(client: Client, case: str) -> None:
    """Each with its code."""
    changed, status, code = HEADERS[case]
    body = json.dumps(TRANSFER).encode()
    headers = {**client.signed("POST", "/v1/intents", body, idempotency_key="k", user_id="alice"), **changed}
    answer = await client.raw("POST", "/v1/intents", body, headers)
    assert (answer.status, answer.code) == (status, code)


async def test_a_wait_that_cannot_be_read_is_ignored(client: Client) -> None:
    """A preference never fails a request."""
    for preference in ("wait=soon", "wait=-1", "wait=", "wait=99999999999", "handling=strict", ";;,", "wait"):
        assert (await client.post(headers={"Prefer": preference})).status == 202, preference


PATHS: Mapping[tuple[str, str], tuple[int, str]] = {
    ("GET", "/"): (404, "not_found"),
    ("GET", "/v1/intents/"): (400, "bad_intent_id"),
    ("GET", "/v2/intents"): (404, "not_found"),
    ("GET", "/v1/intents"): (405, "method_not_allowed"),
    ("DELETE", "/v1/intents"): (405, "method_not_allowed"),
    ("PUT", "/v1/accounts/user:alice:THB/balance"): (405, "method_not_allowed"),
    ("POST", "/livez"): (405, "method_not_allowed"),
    ("GET", "/v1/intents/7"): (400, "bad_intent_id"),
    ("GET", "/v1/intents/00000000-0000-0000-0000-000000000000"): (400, "bad_intent_id"),
    ("GET", "/v1/intents/0198c1f2-0000-7000-8000-000000000000"): (404, "intent_not_found"),
    ("GET", "/v1/intents/0198c1f2-0000-7000-8000-000000fe0000"): (404, "intent_not_found"),
    ("POST", "/v1/intents/0198c1f2-0000-7000-8000-000000000000/cancel"): (404, "intent_not_found"),
    ("GET", "/v1/intents/0198c1f2-0000-7000-8000-000000000000?a=1"): (400, "bad_parameter"),
    ("GET", "/v1/intents/%FF%FE"): (400, "bad_intent_id"),
    ("GET", "/v1/accounts/user:nobody:THB/balance"): (404, "account_not_found"),
    ("GET", "/v1/accounts/user:nobody:THB/history"): (404, "account_not_found"),
    ("GET", "/v1/accounts/transit:THB/balance"): (404, "account_not_found"),
    ("GET", "/v1/accounts/equity:THB/balance"): (403, "account_not_permitted"),
    ("GET", "/v1/accounts/bank:x:THB/balance"): (400, "bad_account_name"),
    ("GET", "/v1/accounts/user:x:XYZ/balance"): (400, "unknown_currency"),
    ("GET", "/v1/accounts/user:x:THB%00/balance"): (400, "bad_account_name"),
    ("GET", "/v1/accounts/user:x:THB/history?limit=0"): (400, "bad_parameter"),
    ("GET", "/v1/accounts/user:x:THB/history?limit=101"): (400, "bad_parameter"),
    ("GET", "/v1/accounts/user:x:THB/history?limit=%D9%A1"): (400, "bad_parameter"),
    ("GET", "/v1/accounts/user:x:THB/history?limit=1&limit=2"): (400, "bad_parameter"),
    ("GET", "/v1/accounts/user:x:THB/history?cursor=zz"): (400, "bad_parameter"),
    ("GET", "/v1/accounts/user:x:THB/history?page=2"): (400, "bad_parameter"),
    ("GET", "/v1/accounts/user:x:THB/history?" + "&".join(f"a{n}=1" for n in range(50))): (400, "bad_parameter"),
    ("GET", "/v1/accounts/" + "x" * 3000 + "/history"): (400, "bad_request"),
}


async def test_every_bad_path_has_its_code(stand: Stand) -> None:
    """Unknown routes, methods, ids, accounts and parameters, each as a problem document."""
    wrong = {}
    async with stand.gateway() as client:
        for (method, target), expected in PATHS.items():
            answer = await _exactly(client, method, target)
            if answer[:2] != expected:
                wrong[method, target[:80]] = (answer, expected)
    assert wrong == {}


async def _exactly(client: Client, method: str, target: str) -> tuple[int, str]:
    """Send a target byte for byte, which an HTTP library would tidy up first."""
    signed = client.signed(method, target)
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in signed.items()]
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"application/problem+json" in head
    return int(head.split()[1]), json.loads(body)["code"]


async def test_a_method_that_is_not_allowed_says_which_are(client: Client) -> None:
    """RFC 9110 asks for it."""
    answer = await client.raw("DELETE", "/v1/intents", b"", {})
    assert answer.headers["Allow"] == "POST"


async def test_a_body_over_64_kib_is_refused_before_it_is_read(client: Client) -> None:
    """By its announced length at once, and unannounced as soon as it passes the bound."""
    head = _head(client, b"Content-Length: 99999999")
    assert await _first_answer(client, head + b'{"a":') == 413
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    assert await _first_answer(client, _head(client, b"Transfer-Encoding: chunked") + chunk * 40) == 413


async def test_a_body_that_does_not_arrive_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stalls does not hold a connection for ever."""
    monkeypatch.setattr(gateway.body, "BODY_TIMEOUT_S", 0.1)
    assert await _first_answer(client, _head(client, b"Content-Length: 100") + b'{"a":') == 408


async def test_64_kib_are_just_allowed(client: Client) -> None:
    """The bound itself is inside."""
    body = json.dumps(TRANSFER).encode()
    padded = body + b" " * (64 * 1024 - len(body))
    answer = await client.send("POST", "/v1/intents", padded, idempotency_key="k", user_id="alice")
    assert answer.status == 202
    answer = await client.send("POST", "/v1/intents", padded + b" ", idempotency_key="l", user_id="alice")
    assert (answer.status, answer.code) == (413, "body_too_large")


def _head(client: Client, framing: bytes) -> bytes:
    signed = client.signed("POST", "/v1/intents", b"x", idempotency_key="k", user_id="alice")
    lines = [f"{name}: {value}".encode() for name, value in signed.items()]
    return b"\r\n".join([b"POST /v1/intents HTTP/1.1", b"Host: x", framing, *lines, b"", b""])


async def _first_answer(client: Client, request: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(request)
    async with asyncio.timeout(5):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_a_client_that_waits_to_be_told_to_go_on_is_told(client: Client) -> None:
    """Expect: 100-continue, as curl sends it with larger bodies."""
    body = json.dumps(TRANSFER).encode()
    signed = client.signed("POST", "/v1/intents", body, idempotency_key="k", user_id="alice")
    lines = [f"{name}: {value}".encode() for name, value in signed.items()]
    framing = [b"Host: x", b"Expect: 100-continue", b"Content-Length: %d" % len(body)]
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"\r\n".join([b"POST /v1/intents HTTP/1.1", *framing, *lines, b"", b""]))
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(body)
        assert (await reader.readline()).split()[1] == b"202"
    writer.close()


async def test_a_header_that_must_be_unique_may_not_stand_there_twice(client: Client) -> None:
    """Two proxies could choose differently."""
    body = json.dumps(TRANSFER).encode()
    signed = client.signed("POST", "/v1/intents", body, idempotency_key="k", user_id="alice")
    lines = [f"{name}: {value}".encode() for name, value in signed.items()]
    for twice in (b"Idempotency-Key: l", b"X-User-Id: bob", b"X-Signature: v1=0", b"X-Service-Key: shop"):
        head = [b"POST /v1/intents HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *lines, twice, b"", b""]
        assert await _first_answer(client, b"\r\n".join(head) + body) == 400, twice
