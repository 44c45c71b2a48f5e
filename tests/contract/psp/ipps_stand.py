"""The stand of IPPS: its adapter against its sandbox over HTTP, one for each submit fence that can be agreed on."""

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import aiohttp
from pydantic import SecretStr

from adapters.ipps.callbacks import callback_rules
from adapters.ipps.client import IppsPsp
from adapters.ipps.emvco import encode
from adapters.ipps.manifest import PSP, QR_PAY, WITHDRAWAL, Terms, manifest_of
from adapters.ipps.payees import Bill
from adapters.runtime.http import open_session
from adapters.runtime.psp import Call
from adapters.sandbox.client import SandboxControl
from adapters.sandbox.ipps.api import PROFILE, build
from adapters.sandbox.serve import Sandbox, open_sandbox
from adapters.sandbox.settings import SandboxSettings
from adapters.sandbox.terms import SubmitFence
from ops.embedded.ports import leased_port
from shared.contracts import Action, JobMessage
from shared.ids import intent_id
from shared.psp import FenceKind
from tests.contract.psp.stand import Where
from tests.integration.sandbox.world import SECRET, Heard, Receiver, receiving
from tests.waiting import until

VARIANTS: Final = tuple(FenceKind)
API_KEY: Final = SecretStr("key-of-the-tests")
AMOUNT_SATANG: Final = 12_345
_BILL = Bill("099400016550100", "CUSTOMER-77", "INVOICE-42")
CODE = encode(_BILL, amount_satang=AMOUNT_SATANG)
TYPED, TRAVELLING = "080-123-4567", "0066801234567"
NAME, COMMENT = "Somchai Prasert", "rent for May"
_OPENED = {
    WITHDRAWAL: {"proxy_type": "MOBILE", "proxy": TYPED, "recipient_name": NAME, "comment": COMMENT},
    QR_PAY: {"qr": CODE, "comment": COMMENT},
}
_CALLED: Final[dict[Where, str]] = {
    "submit": "transfer",
    "inquire": "status",
    "prepare": "lookup",
    "cancel": "cancel",
}


class IppsStand:
    """The IPPS adapter with its sandbox."""

    personal: Sequence[str] = (TYPED, TRAVELLING, "801234567", NAME, COMMENT, CODE, _BILL.ref1, "PRASERT", "***P")

    def __init__(self, sandbox: Sandbox, receiver: Receiver, *, terms: Terms, session: aiohttp.ClientSession) -> None:
        self.control = SandboxControl(http=session, control_url=sandbox.control_url)
        self._receiver = receiver
        self._terms = terms
        self._session = session
        self.psp = self._at(sandbox.url)

    def call(self, operation: str, *, scenario: str = "success", on: Where = "submit", timeout_s: float = 10.0) -> Call:
        job = JobMessage(
            psp=PSP,
            intent_id=str(intent_id(time.time_ns() // 1000, 0, random.getrandbits(38))),
            attempt=1,
            operation=operation,
            action=Action.SUBMIT,
            reference="".join(random.choices(self.psp.manifest.reference.alphabet, k=15)),
            amount_minor=AMOUNT_SATANG,
            currency="THB",
            created_ms=time.time_ns() // 1_000_000,
            epoch="m:1",
        )
        script = None if scenario == "success" else f"{_CALLED[on]}={scenario}"
        return Call(job, _OPENED[operation], timeout_s=timeout_s, test_scenario=script)

    async def paid(self, reference: str) -> int:
        return int((await self.control.books(reference))["payouts"])

    async def pay(self, reference: str) -> None:
        raise NotImplementedError(f"nobody pays into IPPS: {reference}")

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
        def came() -> list[Heard]:
            return [heard for heard in self._receiver.heard if heard.body["partnerTxnUid"] == reference]

        heard = (await until(came, "a callback"))[0]
        assert heard.genuine
        return {}, heard.raw

    def _at(self, url: str) -> IppsPsp:
        return IppsPsp(
            manifest=manifest_of(self._terms),
            base_url=url,
            api_key=API_KEY,
            session=self._session,
            callbacks=callback_rules(secrets=(SECRET.encode(),), networks=()),
        )


@asynccontextmanager
async def open_stand(variant: str = FenceKind.RESUBMIT) -> AsyncIterator[IppsStand]:
    """Open a sandbox of IPPS with that fence, and its adapter."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiving("Ipps"))
        settings = SandboxSettings(
            api_key=API_KEY,
            callback_url=receiver.url,
            callback_secret=SecretStr(SECRET),
            submit_fence=SubmitFence(variant),
        )
        sandbox = await stack.enter_async_context(open_sandbox(PROFILE, build, settings))
        session = await stack.enter_async_context(open_session(connections_max=16, timeout_s=20.0))
        yield IppsStand(sandbox, receiver, terms=Terms(submit_fence=FenceKind(variant)), session=session)
