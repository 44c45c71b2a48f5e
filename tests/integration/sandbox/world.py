"""Everybody a sandbox deals with: partners that call it, and a receiver of its callbacks."""

import hmac
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

from adapters.sandbox.client import SandboxControl

SECRET = "callback-secret-of-the-tests"
WAIT_S = 0.4
"""How long an impatient partner waits for an answer."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One callback as it arrived."""

    body: dict[str, Any]
    raw: bytes
    timestamp: int
    genuine: bool
    """The signature is right; its age is another matter."""


@dataclass(slots=True)
class Receiver:
    """A partner's callback endpoint: remembers everything, answers as told (200 by default)."""

    psp: str
    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    answers: deque[int] = field(default_factory=deque)

    async def receive(self, request: web.Request) -> web.Response:
        """Take a callback and verify it as the contract says."""
        raw = await request.read()
        timestamp = request.headers[f"X-{self.psp}-Timestamp"]
        right = hmac.new(SECRET.encode(), timestamp.encode() + b"." + raw, "sha256").hexdigest()
        genuine = hmac.compare_digest(right, request.headers[f"X-{self.psp}-Signature"])
        self.heard.append(Heard(json.loads(raw), raw, int(timestamp), genuine))
        status = self.answers.popleft() if self.answers else 200
        return web.Response(status=status, headers={"Location": self.url} if status // 100 == 3 else None)

    def statuses(self) -> list[tuple[str, bool]]:
        """What was heard, in order: status and whether it was truly signed."""
        return [(heard.body["status"], heard.genuine) for heard in self.heard]


@asynccontextmanager
async def receiving(psp: str) -> AsyncIterator[Receiver]:
    """Serve a receiver of a provider's callbacks."""
    receiver = Receiver(psp)
    app = web.Application()
    app.router.add_post("/callbacks", receiver.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{site.port}/callbacks"
        yield receiver
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Said:
    """An HTTP answer."""

    status: int
    body: dict[str, Any]
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Partner:
    """Calls a sandbox's API; every call is a connection of its own, unless the session says otherwise."""

    http: ClientSession
    url: str
    control: SandboxControl

    async def call(self, method: str, path: str, body: Any = None, *, wait_s: float = 10.0) -> Said:
        """Make a call; whatever aiohttp raises is what the partner saw."""
        timeout = ClientTimeout(total=wait_s)
        async with self.http.request(method, self.url + path, json=body, timeout=timeout) as answer:
            return Said(answer.status, await answer.json(), answer.headers.get("Retry-After"))


@dataclass(frozen=True, slots=True)
class IppsPartner(Partner):
    """A partner of IPPS."""

    async def look_up(self, proxy_value: str = "0066801234567", proxy_type: str = "MOBILE", **more: str) -> Said:
        """POST /v1/lookups."""
        return await self.call("POST", "/v1/lookups", {"proxyType": proxy_type, "proxyValue": proxy_value, **more})

    async def ref(self, proxy_value: str = "0066801234567", **more: str) -> str:
        """Look somebody up, and return the reference."""
        return str((await self.look_up(proxy_value, **more)).body["lookupRef"])

    async def transfer(
        self, uid: str, lookup_ref: str, amount: str = "100.00", *, wait_s: float = 10.0, **more: str
    ) -> Said:
        """POST /v1/transfers."""
        body = {"lookupRef": lookup_ref, "partnerTxnUid": uid, "amount": amount, "currency": "THB", **more}
        return await self.call("POST", "/v1/transfers", body, wait_s=wait_s)

    async def pay(self, uid: str, scenario: str = "success", *, wait_s: float = 10.0) -> Said:
        """Look up and transfer 100 baht under a scenario."""
        return await self.transfer(uid, await self.ref(), wait_s=wait_s, testScenario=scenario)

    async def status(self, uid: str) -> Said:
        """GET /v1/transfers/{uid}."""
        return await self.call("GET", f"/v1/transfers/{uid}")

    async def cancel(self, uid: str) -> Said:
        """POST /v1/transfers/{uid}/cancel."""
        return await self.call("POST", f"/v1/transfers/{uid}/cancel")

    async def paid(self, uid: str) -> tuple[int, int]:
        """What the books say: how many payouts, and satang paid in the end."""
        books = await self.control.books(uid)
        return books["payouts"], books["paidMinor"]


@dataclass(frozen=True, slots=True)
class QpPartner(Partner):
    """A partner of QP."""

    async def create(self, order: str, amount: int | None = 30_510, *, wait_s: float = 10.0, **more: Any) -> Said:
        """POST /qp/v1/qrs."""
        body = {"order": order, "qrType": "dynamic", **more} | ({} if amount is None else {"amount": amount})
        return await self.call("POST", "/qp/v1/qrs", body, wait_s=wait_s)

    async def find(self, order: str) -> list[dict[str, Any]]:
        """GET /qp/v1/qrs?order=…."""
        return list((await self.call("GET", f"/qp/v1/qrs?order={order}")).body["qrs"])

    async def status(self, order: str) -> str:
        """The state of an order's code."""
        return str((await self.find(order))[0]["status"])

    async def payments(self, order: str) -> list[dict[str, Any]]:
        """GET /qp/v1/qrs/{qrcId}/payments, of an order."""
        qrc_id = (await self.find(order))[0]["qrcId"]
        return list((await self.call("GET", f"/qp/v1/qrs/{qrc_id}/payments")).body["payments"])

    async def somebody_pays(self, order: str, **wish: Any) -> list[dict[str, Any]]:
        """Have control pay the code."""
        return list((await self.control.call("POST", "/control/pay", {"order": order, **wish}))["payments"])

    async def paid(self, order: str) -> tuple[int, int]:
        """What the books say: how many accepted payments, and kopecks paid in the end."""
        books = await self.control.books(order)
        return books["accepted"], books["paidMinor"]
