"""A stand for real gateways: stores of one mesh, service keys, signed requests, and the orchestrator's part by hand.

Nothing here decides anything: a test says what the orchestrator would have written, and the stand writes it.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from pydantic import SecretStr
from redis.asyncio import Redis

from gateway.main import serve
from gateway.settings import GatewaySettings
from shared import mesh
from shared.contracts import Envelope, IntentMessage, OpenAccountMessage, read_body, read_envelope
from shared.db.pool import Pool
from shared.ids import IntentId, account_id, partition_of, unix_ms_of
from shared.mesh import Mark
from shared.sealing import KeyRing, seal
from shared.signing import SignedRequest, sign
from shared.streams import keys

PARTITIONS = 2
KEYRING = "k2:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=,k1:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
KEY = "shop"
SECRET = "pms_0123456789abcdef0123456789abcdef"
USER = "alice"
FREE: dict[str, Any] = {
    "operations": ["P2P_TRANSFER", "ADJUSTMENT", "IPPS_WITHDRAWAL", "THAI_QR_PAY", "QP_TOPUP"],
    "accounts": ["user:*", "merchant:*", "transit:*"],
    "open_accounts": True,
    "adjustment": {"max_minor": 10_000, "alone_max_minor": 1_000},
}
TRANSFER: dict[str, Any] = {
    "operation_type": "P2P_TRANSFER",
    "from_account": "user:alice:THB",
    "to_account": "user:bob:THB",
    "amount_minor": 1000,
    "currency": "THB",
}
ADJUSTMENT: dict[str, Any] = {
    "operation_type": "ADJUSTMENT",
    "account": "user:alice:THB",
    "direction": "CREDIT",
    "amount_minor": 500,
    "currency": "THB",
}


class PaperLedger:
    """A ledger of nothing but the mesh's mark."""

    def __init__(self) -> None:
        self.mesh_id: UUID | None = None
        self.booked = 0

    async def read(self) -> Mark:
        """Return the mark."""
        return Mark("ledger", self.mesh_id, None, self.booked)

    async def claim(self, mesh_id: UUID) -> UUID:
        """Name the mesh once."""
        self.mesh_id = self.mesh_id or mesh_id
        return self.mesh_id

    async def advance(self, _mesh: UUID, *, since: int, until: int) -> None:
        """Book ticks."""
        self.booked = max(since, until)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gateway said."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]

    @property
    def code(self) -> str | None:
        """The problem's code."""
        return self.document.get("code")

    @property
    def intent(self) -> IntentId:
        """The id of the intent it is about."""
        return IntentId(UUID(self.document["id"]))

    @property
    def replayed(self) -> bool:
        """Whether an earlier request is answered for."""
        return self.headers.get("Idempotent-Replayed") == "true"


@dataclass
class Client:
    """Speaks to one gateway as one service key."""

    url: str
    port: int
    session: aiohttp.ClientSession
    key: str = KEY
    secret: str = SECRET

    def signed(self, method: str, target: str, body: bytes = b"", **named: Any) -> dict[str, str]:
        """Return the headers of a signed request; `named` overrides what is signed and sent."""
        timestamp = str(named.get("timestamp", int(time.time())))
        idempotency_key, user_id = named.get("idempotency_key", ""), named.get("user_id", "")
        request = SignedRequest(method, target, timestamp, idempotency_key, user_id, body)
        signature = sign(self.secret.encode(), request, approves=named.get("approves"))
        headers = {"X-Service-Key": self.key, "X-Timestamp": timestamp, "X-Signature": signature}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        if user_id:
            headers["X-User-Id"] = user_id
        if body:
            headers["Content-Type"] = "application/json"
        return headers

    async def send(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None, **named: Any
    ) -> Answer:
        """Sign and send one request."""
        signed = self.signed(method, target, body, **named)
        return await self.raw(method, target, body, {**signed, **(headers or {})})

    async def raw(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send exactly these headers."""
        async with self.session.request(method, self.url + target, data=body or None, headers=headers) as response:
            text = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(response.status, response.headers, json.loads(text) if is_json and text else {})

    async def post(
        self,
        operation: Mapping[str, Any] = TRANSFER,
        *,
        key: str | None = None,
        user_id: str = USER,
        wait_s: int | None = None,
        path: str = "/v1/intents",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Post an intent under a fresh key unless one is given."""
        extra = dict(headers or {})
        if wait_s is not None:
            extra["Prefer"] = f"wait={wait_s}"
        body = json.dumps(operation).encode()
        return await self.send("POST", path, body, extra, idempotency_key=key or uuid4().hex, user_id=user_id)

    async def refused_as(self, code: str) -> bool:
        """Post something new and say whether it was refused with this code."""
        return (await self.post()).code == code

    async def accepted(self) -> bool:
        """Post something new and say whether it was accepted."""
        return (await self.post()).status in (200, 202)

    async def unready(self) -> bool:
        """Say whether the gateway calls itself not ready."""
        return (await self.raw("GET", "/readyz", b"", {})).status == 503

    async def get(self, intent: str, *, user_id: str = "", wait_s: int | None = None) -> Answer:
        """Ask where an intent stands."""
        headers = {} if wait_s is None else {"Prefer": f"wait={wait_s}"}
        return await self.send("GET", f"/v1/intents/{intent}", headers=headers, user_id=user_id)


@dataclass
class Accepted:
    """One entry as an orchestrator would read it."""

    entry_id: bytes
    envelope: Envelope
    intent: IntentId = field(init=False)

    def __post_init__(self) -> None:
        self.intent = IntentId(UUID(self.envelope.id))

    @property
    def message(self) -> IntentMessage:
        """The body of an intent."""
        body = read_body(self.envelope)
        assert isinstance(body, IntentMessage)
        return body

    @property
    def account(self) -> OpenAccountMessage:
        """The body of an account's opening."""
        body = read_body(self.envelope)
        assert isinstance(body, OpenAccountMessage)
        return body


class Stand:
    """Stores of one mesh, and whoever stands on them."""

    def __init__(self, *, pool: Pool, redis: Redis, database_url: str, redis_url: str, session: aiohttp.ClientSession):
        self.pool = pool
        self.redis = redis
        self.database_url = database_url
        self.redis_url = redis_url
        self.session = session
        self.ring = KeyRing.parse(KEYRING)
        self.ledger = PaperLedger()

    async def install(self) -> None:
        """Make the stores one mesh, with one service key."""
        await mesh.install(
            pool=self.pool,
            redis=self.redis,
            ledger=self.ledger,
            ledger_kind="postgres",
            partitions=PARTITIONS,
            new_id=uuid4(),
        )
        await self.add_key(KEY, SECRET, FREE)

    async def add_key(self, key: str, secret: str, permissions: Mapping[str, Any], *, owner: str | None = None) -> None:
        """Add a service key as the command line would."""
        await self.pool.execute(
            "INSERT INTO pm.service_key (id, owner, permissions, secret) VALUES ($1, $2, $3, $4)",
            key,
            owner or key,
            json.dumps(permissions),
            self.sealed(key, secret),
        )

    def sealed(self, key: str, secret: str) -> str:
        """Return a key's secret as it is stored."""
        return seal(self.ring, context=key, field="secret", text=secret)

    def settings(self, **overrides: Any) -> GatewaySettings:
        """Return settings for one gateway on a free port."""
        values: dict[str, Any] = {
            "redis_url": self.redis_url,
            "database_url": self.database_url,
            "keyring_text": SecretStr(KEYRING),
            "environment": "test",
            "port": 0,
            "pool_max": 4,
            **overrides,
        }
        return GatewaySettings(**values)

    @asynccontextmanager
    async def gateway(self, **overrides: Any) -> AsyncIterator[Client]:
        """Run a gateway in this process for the length of a block."""
        stop = asyncio.Event()
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            async with asyncio.TaskGroup() as tasks:
                await serve(self.settings(**overrides), stop, tasks, listening=port.set_result)

        running = asyncio.create_task(run())
        running.add_done_callback(lambda _: port.cancel())
        try:
            await port
        except asyncio.CancelledError:
            await running
            raise
        try:
            yield Client(f"http://127.0.0.1:{port.result()}", port.result(), self.session)
        finally:
            stop.set()
            await running

    async def entries(self) -> list[Accepted]:
        """Return every entry of every partition, as it would be read."""
        found: list[Accepted] = []
        for partition in range(PARTITIONS):
            reply: Any = await self.redis.xrange(keys.intents(partition))
            found += [Accepted(entry_id, read_envelope(fields)) for entry_id, fields in reply]
        return found

    async def has_entries(self, count: int) -> bool:
        """Say whether so many entries have been accepted."""
        return len(await self.entries()) >= count

    async def only_entry(self) -> Accepted:
        """Return the one entry there is."""
        (entry,) = await self.entries()
        return entry

    async def record(
        self,
        entry: Accepted,
        state: str = "SETTLED",
        *,
        funds: str = "moved",
        error: tuple[str, str] | None = None,
        error_data: Mapping[str, Any] | None = None,
        alias_of: UUID | None = None,
        requires_monitoring: bool = False,
    ) -> None:
        """Write the intent's row as the orchestrator would."""
        message = entry.message
        operation = message.operation
        code, detail = error or (None, None)
        await self.pool.execute(
            """INSERT INTO pm.intent (id, service_key_id, user_id, idempotency_key, operation_type, amount_minor,
                   currency, state, version, funds, error_code, error_detail, alias_of, operation, created_at,
                   error_data, requires_monitoring)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11, $12, $13, $14, $15, $16)
               ON CONFLICT (id) DO UPDATE SET state = $8, funds = $9, error_code = $10, error_detail = $11,
                   error_data = $15""",
            entry.intent,
            message.service_key,
            message.user_id,
            message.idempotency_key,
            operation.operation_type,
            operation.amount_minor,
            operation.currency,
            state,
            funds,
            code,
            detail,
            alias_of,
            operation.model_dump_json(),
            datetime.fromtimestamp(unix_ms_of(entry.intent) / 1000, UTC),
            None if error_data is None else json.dumps(error_data),
            requires_monitoring,
        )

    async def finish(self, entry: Accepted) -> None:
        """Take the entry off its stream and its marker away, as finish does."""
        partition = partition_of(entry.intent)
        await self.redis.xdel(keys.intents(partition), entry.entry_id)
        await self.redis.delete(keys.acc(partition, entry.envelope.id))

    async def hint(self, instance: str, subject: str, state: str) -> int:
        """Publish a hint; return how many gateways heard it."""
        heard: int = await self.redis.publish(keys.gateway_channel(instance), f"{subject} {state}")
        return heard

    async def settle(self, entry: Accepted) -> None:
        """Decide an intent all the way."""
        await self.record(entry)
        await self.finish(entry)
        if entry.message.waiter is not None:
            await self.hint(entry.message.waiter, entry.envelope.id, "SETTLED")

    async def open_account(self, name: str) -> None:
        """Write the account's map row as the orchestrator would."""
        await self.pool.execute(
            "INSERT INTO pm.tb_account_map (name, id, ledger, opened_by) VALUES ($1, $2, 764, 'test')",
            name,
            UUID(int=account_id(name)),
        )
