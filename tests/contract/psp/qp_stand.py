"""The stand of QP: its adapter, and its sandbox over HTTP."""

import hmac
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import ClientSession, web
from pydantic import SecretStr

from adapters.qp import callbacks
from adapters.qp.client import QpApi, QpPsp
from adapters.qp.manifest import MANIFEST
from adapters.runtime.http import open_session
from adapters.runtime.psp import Call
from adapters.sandbox.client import SandboxControl
from adapters.sandbox.qp.api import PROFILE, build
from adapters.sandbox.serve import Sandbox, open_sandbox
from adapters.sandbox.settings import SandboxSettings
from ops.embedded.ports import leased_port
from shared.contracts import Action, JobMessage
from shared.ids import intent_id
from tests.contract.psp.stand import Where
from tests.waiting import until

SECRET = "agreed with the tests"
KEY = "key of the tests"
_OPERATIONS = {"submit": ["create"], "inquire": ["find", "get", "payments"], "prepare": [], "cancel": ["delete"]}


class QpStand:
    """QP's adapter with its sandbox."""

    personal: Sequence[str] = ("with love, Masha",)

    def __init__(self, sandbox: Sandbox, session: ClientSession, control: SandboxControl) -> None:
        self._url = sandbox.url
        self._session = session
        self.control = control
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.psp = self._at(sandbox.url)

    def call(self, operation: str, *, scenario: str = "success", on: Where = "submit", timeout_s: float = 10.0) -> Call:
        job = JobMessage(
            psp=MANIFEST.psp,
            intent_id=str(intent_id(time.time_ns() // 1000, 0, random.getrandbits(38))),
            attempt=1,
            operation=operation,
            action=Action.SUBMIT,
            reference="".join(random.choices(MANIFEST.reference.alphabet, k=MANIFEST.reference.length)),
            amount_minor=30_510,
            currency="RUB",
            created_ms=time.time_ns() // 1_000_000,
            epoch="m:1",
        )
        script = ";".join(f"{name}={scenario}" for name in _OPERATIONS[on]) or "success"
        return Call(job, {"comment": self.personal[0]}, timeout_s=timeout_s, test_scenario=script)

    async def paid(self, reference: str) -> int:
        return int((await self.control.books(reference))["accepted"])

    async def pay(self, reference: str) -> None:
        await self.control.call("POST", "/control/pay", {"order": reference})

    async def age(self, seconds: float) -> None:
        await self.control.advance(int(seconds * 1000))

    @asynccontextmanager
    async def out_of_reach(self) -> AsyncIterator[None]:
        with leased_port() as nobodys:
            here, self.psp = self.psp, self._at(f"http://127.0.0.1:{nobodys}")
            try:
                yield
            finally:
                self.psp = here

    async def callback(self, reference: str) -> tuple[dict[str, str], bytes] | None:
        def about() -> list[tuple[dict[str, str], bytes]]:
            return [heard for heard in self.heard if reference.encode() in heard[1]]

        headers, raw = (await until(about, "a callback"))[0]
        rules = self.psp.callbacks
        assert rules is not None
        signed = headers[rules.timestamp_header].encode() + b"." + raw
        right = hmac.new(rules.secrets[0], signed, "sha256").hexdigest()
        assert headers[rules.signature_header] == right
        return headers, raw

    async def hear(self, request: web.Request) -> web.Response:
        """Take a callback."""
        self.heard.append((dict(request.headers), await request.read()))
        return web.Response()

    def _at(self, url: str) -> QpPsp:
        rules = callbacks.rules(secrets=(SECRET.encode(),), networks=())
        return QpPsp(QpApi(session=self._session, url=url, api_key=SecretStr(KEY)), callbacks=rules)


@asynccontextmanager
async def open_stand() -> AsyncIterator[QpStand]:
    """Open a sandbox of QP, and an ear for what it tells."""
    heard = web.Application()
    runner = web.AppRunner(heard, access_log=None, shutdown_timeout=0.1)
    stands: list[QpStand] = []

    async def hear(request: web.Request) -> web.Response:
        return await stands[0].hear(request)

    heard.router.add_post(callbacks.PATH, hear)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        settings = SandboxSettings(
            api_key=SecretStr(KEY),
            callback_url=f"http://127.0.0.1:{site.port}{callbacks.PATH}",
            callback_secret=SecretStr(SECRET),
        )
        async with (
            open_sandbox(PROFILE, build, settings) as sandbox,
            open_session(connections_max=16, timeout_s=20.0) as session,
            ClientSession() as http,
        ):
            stands.append(QpStand(sandbox, session, SandboxControl(http=http, control_url=sandbox.control_url)))
            yield stands[0]
    finally:
        await runner.cleanup()
