"""A bank that exists in tests only: real HTTP, books of its own, and any kind of submit fence.

It knows preparations (a ticket that expires), payments under the partner's reference, inquiries and cancellations,
and understands the scenarios of the sandboxes as far as they are about one call: ``success``, ``decline:<code>``,
``processing``, ``timeout_…``, ``reset_…``, ``malformed_…``, ``http_<status>_…[:<s>]`` with ``before_commit`` or
``after_commit``, and ``slow:<ms>``; and of its own ``on_prepare``, ``on_inquiry`` and ``on_cancel``, which move faults.
Besides, a test may hold calls before or after their commit, until it lets them go.
"""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from shared.psp import FenceKind
from tests.waiting import pace

_FAULT = re.compile(r"(timeout|reset|malformed|http_(\d+))_(before|after)_commit(?::(\d+))?")
_MOVED = {"on_inquiry": "inquire", "on_prepare": "prepare", "on_cancel": "cancel"}


@dataclass
class Payment:
    """What the bank has under one submission."""

    reference: str
    amount: int
    status: str
    transaction: str
    code: str | None = None


@dataclass
class Held:
    """Calls that are not let through: how many have come, and what lets them go."""

    come: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)


class Bank:
    """The bank; everything it does is in `payments`, `barred` and `calls`."""

    def __init__(self, fence: FenceKind, *, ticket_ttl_s: float = 60.0, remembers_s: float = 3600.0) -> None:
        self.fence = fence
        self.ticket_ttl_s = ticket_ttl_s
        self.remembers_s = remembers_s
        self.payments: list[Payment] = []
        self.barred: set[str] = set()
        self.calls: Counter[tuple[str, str]] = Counter()
        self.url = ""
        self.later_s = 0.0
        """How far the bank's clock is ahead."""
        self.closing = asyncio.Event()
        self._tickets: dict[str, float] = {}
        self._first_seen: dict[str, float] = {}
        self._scenarios: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._held: dict[str, Held] = {}

    # What tests ask and say.

    def paid(self, reference: str) -> int:
        """Return how often money moved under a reference."""
        return sum(payment.status == "PAID" for payment in self.payments if payment.reference == reference)

    def played(self, reference: str, scenario: str) -> None:
        """Play a scenario for a reference from now on."""
        self._scenarios[reference] = scenario

    def hold(self, point: str) -> Held:
        """Hold every call at a point from now on: `pay` or `paid` (before and after its commit) and the like."""
        return self._held.setdefault(point, Held())

    def let_go(self) -> None:
        """Let every held call go, and hold no more."""
        for held in self._held.values():
            held.free.set()
        self._held.clear()

    # The API.

    def application(self) -> web.Application:
        """Return the bank's API."""
        application = web.Application()
        application.router.add_post("/prepare", self._prepare)
        application.router.add_post("/payments", self._pay)
        application.router.add_get("/payments/{reference}", self._inquire)
        application.router.add_post("/payments/{reference}/cancel", self._cancel)
        return application

    async def _prepare(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        return await self._play(request, body, "prepare", lambda _: self._ticket(body))

    async def _pay(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        return await self._play(request, body, "pay", lambda scenario: self._commit(body, scenario))

    async def _inquire(self, request: web.Request) -> web.StreamResponse:
        body = {"reference": request.match_info["reference"]}
        return await self._play(request, body, "inquire", lambda _: self._found(body["reference"]))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        body = {"reference": request.match_info["reference"]}
        return await self._play(request, body, "cancel", lambda _: self._bar(body["reference"]))

    async def _body(self, request: web.Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        if scenario := body.get("scenario"):
            self._scenarios.setdefault(body["reference"], scenario)
        return body

    async def _play(
        self, request: web.Request, body: dict[str, Any], call: str, commit: Callable[[str], tuple[int, dict[str, Any]]]
    ) -> web.StreamResponse:
        reference = body["reference"]
        self.calls[call, reference] += 1
        scenario = self._scenarios.get(reference, "success")
        wanted = next((call for word, call in _MOVED.items() if word in scenario), "pay")
        words = scenario.split("+") if call == wanted else ["success"]
        for word in words:
            if word.startswith("slow:"):
                await self._wait(pace(int(word.removeprefix("slow:")) / 1000))
        await self._pass(call)
        fault = next((found for word in words if (found := _FAULT.fullmatch(word))), None)
        if fault is not None and fault[3] == "before":
            return await self._fail(request, fault)
        status, answer = commit(scenario)
        await self._pass("paid" if call == "pay" else f"after_{call}")
        if fault is not None:
            return await self._fail(request, fault)
        return web.json_response(answer, status=status)

    async def _pass(self, point: str) -> None:
        if (held := self._held.get(point)) is not None:
            held.come += 1
            await self._wait(held.free.wait())

    async def _fail(self, request: web.Request, fault: re.Match[str]) -> web.StreamResponse:
        if fault[2]:
            headers = {"Retry-After": fault[4]} if fault[4] else {}
            return web.json_response({"error": "fault"}, status=int(fault[2]), headers=headers)
        if fault[1] == "timeout":
            await self._wait(asyncio.Event().wait())
        response = web.StreamResponse(headers={"Content-Length": "100", "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"status": "PA')
        if fault[1] == "reset" and request.transport is not None:
            request.transport.abort()
        return response

    async def _wait(self, what: Awaitable[object]) -> None:
        """Wait, but not beyond the bank's closing time."""
        ends = [asyncio.ensure_future(what), asyncio.ensure_future(self.closing.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
                with suppress(asyncio.CancelledError):
                    await end

    # The books.

    def _ticket(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body["to"] == "nobody":
            return 422, {"code": "UNKNOWN_PAYEE"}
        ticket = f"T{next(self._numbers)}"
        self._tickets[ticket] = self._now_s() + self.ticket_ttl_s
        return 200, {"ticket": ticket}

    def _commit(self, body: dict[str, Any], scenario: str) -> tuple[int, dict[str, Any]]:
        reference, now_s = body["reference"], self._now_s()
        known = [payment for payment in self.payments if payment.reference == reference]
        if reference in self.barred:
            return 409, {"code": "BARRED"}
        if known and self.fence is FenceKind.RESUBMIT and now_s < self._first_seen[reference] + self.remembers_s:
            return self._told(known[0])
        if known and self.fence in (FenceKind.CANCEL, FenceKind.REFERENCE_TTL):
            return 409, {"code": "DUPLICATE"}
        if now_s >= self._tickets.get(body["ticket"], 0.0):
            return 409, {"code": "TICKET_EXPIRED"}
        self._first_seen.setdefault(reference, now_s)
        code = next(
            (word.removeprefix("decline:") for word in scenario.split("+") if word.startswith("decline:")), None
        )
        status = "DECLINED" if code else "PROCESSING" if "processing" in scenario.split("+") else "PAID"
        self.payments.append(Payment(reference, body["amount"], status, f"X{next(self._numbers)}", code))
        return self._told(self.payments[-1])

    def _found(self, reference: str) -> tuple[int, dict[str, Any]]:
        known = [payment for payment in self.payments if payment.reference == reference]
        if known:
            return self._told(known[-1])
        return (200, {"status": "CANCELLED"}) if reference in self.barred else (404, {"code": "NOT_FOUND"})

    def _bar(self, reference: str) -> tuple[int, dict[str, Any]]:
        if self.fence is not FenceKind.CANCEL:
            return 404, {"code": "NO_SUCH_PATH"}
        known = [payment for payment in self.payments if payment.reference == reference]
        if known:
            return self._told(known[-1])
        self.barred.add(reference)
        return 200, {"status": "CANCELLED"}

    def _told(self, payment: Payment) -> tuple[int, dict[str, Any]]:
        told: dict[str, Any] = {"status": payment.status, "transaction": payment.transaction, "amount": payment.amount}
        return 200, told | ({"code": payment.code} if payment.code else {})

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() + self.later_s


@asynccontextmanager
async def served(bank: Bank, *, port: int = 0) -> AsyncIterator[Bank]:
    """Open the bank for the length of a block."""
    runner = web.AppRunner(bank.application(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        bank.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield bank
    finally:
        bank.closing.set()
        bank.let_go()
        await runner.cleanup()
