"""Callbacks over real HTTP: address, signature, sense; and what comes of copies, forgeries and outages."""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from adapters.runtime.callbacks import BODY_BYTES_MAX, Receiver
from adapters.runtime.metrics import AdapterMetrics
from adapters.runtime.psp import CallbackRules
from adapters.runtime.work import Teller
from shared.clock import wall_ms
from shared.contracts import Kind, Outcome, Source
from shared.psp import FenceKind
from shared.sealing import unseal
from shared.streams.client import connect
from shared.streams.permits import Replicas
from tests.contract.psp.bank import Bank
from tests.contract.psp.bank_psp import BankPsp, callback_rules, manifest_of
from tests.integration.adapters.runtime.processes import AdapterProcess
from tests.integration.adapters.runtime.scene import RING, told
from tests.ports import Lease
from tests.waiting import until

SECRET, NEXT_SECRET = b"agreed", b"agreed next"
PAID = {"status": "PAID", "transaction": "X1", "amount": 500, "reference": "REF1"}
RULES = replace(callback_rules(SECRET), secrets=(SECRET, NEXT_SECRET))


class Door:
    """A receiver that listens, and what knocks at it."""

    def __init__(self, url: str, http: ClientSession, registry: CollectorRegistry) -> None:
        self._url = url
        self._http = http
        self._registry = registry

    async def knock(
        self,
        told_: object = PAID,
        *,
        raw: bytes | None = None,
        secret: bytes = SECRET,
        age_s: float = 0,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Send a callback; return the status."""
        body = json.dumps(told_).encode() if raw is None else raw
        timestamp = str(int(wall_ms() / 1000 - age_s))
        signed = {"X-Bank-Timestamp": timestamp, "X-Bank-Signature": sign(secret, timestamp, body)}
        async with self._http.post(self._url, data=body, headers=signed | dict(headers or {})) as answer:
            return answer.status

    def counted(self, fate: str) -> float:
        """Return how many callbacks met that fate."""
        return self._registry.get_sample_value("paymesh_psp_callbacks_total", {"psp": "bank", "fate": fate}) or 0.0


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """Sign as the bank does."""
    return hmac.new(secret, timestamp.encode() + b"." + body, "sha256").hexdigest()


@asynccontextmanager
async def door(redis_url: str, *, rules: CallbackRules = RULES, **changes: Any) -> AsyncIterator[Door]:
    """Open a receiver."""
    client, registry = connect(redis_url), CollectorRegistry()
    async with ClientSession() as http:
        psp = BankPsp(manifest_of(FenceKind.NONE), url="http://nowhere.invalid", session=http, callbacks=rules)
        wiring: dict[str, Any] = {"proxies": (), "replicas": Replicas(), "clock_ms": wall_ms} | changes
        receiver = Receiver(
            client=client,
            psp=psp,
            rules=rules,
            keyring=RING,
            teller=Teller(psp.manifest, wall_ms),
            metrics=AdapterMetrics(registry),
            **wiring,
        )
        runner = web.AppRunner(receiver.application(), access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield Door(f"http://127.0.0.1:{runner.addresses[0][1]}{rules.path}", http, registry)
        finally:
            await runner.cleanup()
            await client.aclose()


async def test_a_genuine_callback_is_an_observation_before_it_is_acknowledged(client: Redis, redis_url: str) -> None:
    """With the bytes as they came, sealed."""
    async with door(redis_url) as at:
        assert await at.knock() == 200
        ((kind, seen),) = await told(client)
        assert at.counted("taken") == 1
    assert kind == Kind.OBSERVATION
    assert (seen.source, seen.outcome, seen.intent_id) == (Source.CALLBACK, Outcome.PAID, None)
    assert (seen.reference, seen.psp_transaction_id, seen.amount_minor) == ("REF1", "X1", 500)
    assert seen.raw is not None
    raw = unseal(RING, context=f"callback:bank:{seen.callback_id}", field="raw", sealed=seen.raw)
    assert json.loads(base64.b64decode(raw)) == PAID


async def test_copies_are_told_apart_from_news_by_their_name(client: Redis, redis_url: str) -> None:
    """Every copy is taken in; the same bytes have the same keyed name, other bytes another."""
    async with door(redis_url) as at:
        for _ in range(3):
            assert await at.knock() == 200
        assert await at.knock(PAID | {"transaction": "X2"}) == 200
        names = [seen.callback_id for _, seen in await told(client)]
    assert len(names) == 4
    assert len(set(names)) == 2


async def test_either_secret_verifies_while_one_replaces_the_other(client: Redis, redis_url: str) -> None:
    """Rotation loses no callback."""
    async with door(redis_url) as at:
        assert await at.knock(secret=NEXT_SECRET) == 200
    assert len(await told(client)) == 1


@pytest.mark.parametrize(
    ("changes", "status", "fate"),
    [
        ({"secret": b"another"}, 401, "bad_signature"),
        ({"age_s": 301}, 401, "bad_signature"),
        ({"age_s": -301}, 401, "bad_signature"),
        ({"headers": {"X-Bank-Timestamp": "soon"}}, 401, "bad_signature"),
        ({"headers": {"X-Bank-Timestamp": "1" * 40}}, 401, "bad_signature"),
        ({"headers": {"X-Bank-Timestamp": "²"}}, 401, "bad_signature"),
        ({"headers": {"X-Bank-Signature": ""}}, 401, "bad_signature"),
        ({"headers": {"X-Bank-Signature": "ü"}}, 401, "bad_signature"),
        ({"headers": {"X-Bank-Signature": ",".join("0" * 64 for _ in range(50))}}, 401, "bad_signature"),
        ({"raw": b"{"}, 400, "nonsense"),
        ({"told_": PAID | {"status": "HAPPY"}}, 400, "nonsense"),
        ({"told_": PAID | {"amount": -5}}, 400, "nonsense"),
        ({"told_": PAID | {"transaction": "X" * 500}}, 400, "nonsense"),
    ],
)
async def test_what_is_forged_old_or_senseless_is_refused_and_counted(
    client: Redis, redis_url: str, changes: dict[str, Any], status: int, fate: str
) -> None:
    """And nobody ever reads it."""
    async with door(redis_url) as at:
        assert await at.knock(**changes) == status
        assert at.counted(fate) == 1
    assert await told(client) == []


async def test_a_signature_covers_timestamp_and_every_byte_of_the_body(client: Redis, redis_url: str) -> None:
    """A replay under a fresh timestamp is a forgery, and so is one byte more."""
    async with door(redis_url) as at:
        body = json.dumps(PAID).encode()
        old = str(int(wall_ms() / 1000) - 200)
        fresh = str(int(wall_ms() / 1000))
        genuine = sign(SECRET, old, body)
        assert await at.knock(raw=body, headers={"X-Bank-Signature": genuine, "X-Bank-Timestamp": fresh}) == 401
        assert await at.knock(raw=body + b" ", headers={"X-Bank-Signature": genuine, "X-Bank-Timestamp": old}) == 401
        assert await at.knock(raw=body, headers={"X-Bank-Signature": genuine, "X-Bank-Timestamp": old}) == 200
    assert len(await told(client)) == 1


@pytest.mark.parametrize("networks", [(), ("10.0.0.0/8",), ("::1/128",)])
async def test_an_address_that_is_not_allowed_is_refused_whatever_it_says(
    client: Redis, redis_url: str, networks: tuple[str, ...]
) -> None:
    """An empty list allows nobody; a header of the caller's own changes nothing."""
    async with door(redis_url, rules=replace(RULES, networks=networks)) as at:
        assert await at.knock() == 403
        assert await at.knock(headers={"X-Forwarded-For": "10.1.2.3"}) == 403
        assert at.counted("foreign_address") == 2
    assert await told(client) == []


async def test_our_own_proxy_is_believed_about_whom_it_speaks_for(client: Redis, redis_url: str) -> None:
    """Its own addition, the last of the list; what stood there before may be invented."""
    async with door(redis_url, rules=replace(RULES, networks=("10.0.0.0/8",)), proxies=("127.0.0.0/8",)) as at:
        assert await at.knock(headers={"X-Forwarded-For": "192.0.2.1, 10.1.2.3"}) == 200
        assert await at.knock(headers={"X-Forwarded-For": "10.1.2.3, 192.0.2.1"}) == 403
        assert await at.knock(headers={"X-Forwarded-For": "10.1.2.3, "}) == 403
    assert len(await told(client)) == 1


async def test_a_callback_that_could_not_be_stored_is_not_acknowledged(
    client: Redis, redis_url: str, lease: Lease
) -> None:
    """The bank comes again; too few replicas count as not stored."""
    async with door(redis_url, replicas=Replicas(1, 20)) as at:
        assert await at.knock() == 503
        assert at.counted("not_stored") == 1
    async with door(f"redis://127.0.0.1:{lease()}/0") as at:
        assert await at.knock() == 503
    assert {seen.outcome for _, seen in await told(client)} <= {Outcome.PAID}


async def test_a_body_that_is_too_long_is_refused(client: Redis, redis_url: str) -> None:
    """Before anything is computed over it."""
    async with door(redis_url) as at:
        assert await at.knock(raw=b" " * (BODY_BYTES_MAX + 1)) == 413
    assert await told(client) == []


@pytest.mark.parametrize("fence", [FenceKind.NONE], indirect=True)
async def test_an_adapter_process_receives_callbacks(
    client: Redis, redis_url: str, bank: Bank, lease: Lease, tmp_path: Path
) -> None:
    """On its own port, beside its health."""
    ports = lease(), lease()
    adapter = AdapterProcess(
        tmp_path / "adapter",
        redis_url,
        bank,
        callback_host="127.0.0.1",
        callback_port=ports[0],
        health_port=ports[1],
        bank_secret=SECRET.decode(),
    )
    try:
        await until(lambda: adapter.ready, "an adapter", timeout_s=60)
        async with ClientSession() as http:
            at = Door(f"http://127.0.0.1:{ports[0]}{RULES.path}", http, CollectorRegistry())
            assert await at.knock() == 200
            assert await at.knock(secret=b"x") == 401
            for path in ("livez", "readyz"):
                async with http.get(f"http://127.0.0.1:{ports[1]}/{path}") as answer:
                    assert answer.status == 200
            async with http.get(f"http://127.0.0.1:{ports[1]}/metrics") as answer:
                assert 'paymesh_psp_callbacks_total{fate="bad_signature",psp="bank"} 1.0' in await answer.text()
        assert adapter.leave() == 0
    finally:
        adapter.end()
    assert len(await told(client)) == 1
