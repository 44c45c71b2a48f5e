"""The mesh of the on-call drill as whoever breaks it has it: its door, its PSP's sandbox, its processes, its stores.

Nothing here puts anything right: that is for `paymesh` commands alone.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp
import psutil

from adapters.sandbox.client import SandboxControl
from ops.client import Answer, Client, new_idempotency_key, open_client
from ops.embedded.services import Stores
from ops.stores import OpenStores, open_stores
from tests.e2e.conftest import Home
from tests.integration.ops.processes import ROOT, wait_gone

T = TypeVar("T")

PAYER: Final = "user:alice:THB"
PAYEE: Final = "user:bob:THB"
WITHDRAWN_MINOR: Final = 25_000
_FUNDED_MINOR: Final = 100_000_000
_STOP_S: Final = 60


@dataclass(frozen=True, slots=True)
class DrillMesh:
    """A running mesh."""

    home: Home
    process: "subprocess.Popen[str]"
    told: Mapping[str, str]

    def children(self) -> dict[str, int]:
        """Return process ids by name, as the mesh has recorded them."""
        return {name: pid for name, pid, _ in self._run()["children"]}

    def signal(self, name: str, number: int) -> None:
        """Send a signal to one of its processes."""
        os.kill(self.children()[name], number)

    def client(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do something as a service that pays."""

        async def done() -> T:
            told = self.told
            async with open_client(url=told["url"], key=told["key"], secret=told["secret"]) as client:
                return await work(client)

        return asyncio.run(done())

    def sandbox(self, work: Callable[[SandboxControl], Awaitable[T]]) -> T:
        """Do something to the PSP."""

        async def done() -> T:
            async with aiohttp.ClientSession() as http:
                return await work(SandboxControl(http=http, control_url=self.told["ipps"]))

        return asyncio.run(done())

    def stores(self, work: Callable[[OpenStores], Awaitable[T]]) -> T:
        """Do something to the stores that no program of ours would."""
        environ = self._run()["environ"]
        found = Stores(environ["REDIS_URL"], environ["DATABASE_URL"], None, None)

        async def done() -> T:
            async with open_stores(found.settings()) as opened:
                return await work(opened)

        return asyncio.run(done())

    def post(self, operation: Mapping[str, Any], *, key: str | None = None) -> Answer:
        """Post an intent, once."""
        return self.client(
            lambda client: client.post_intent(operation, idempotency_key=key or new_idempotency_key(), user_id="alice")
        )

    def accepted(self, operation: Mapping[str, Any], *, key: str | None = None) -> str:
        """Post an intent that has to be accepted; return its id."""
        answer = self.post(operation, key=key)
        assert answer.status in (200, 202), answer
        return str(answer.document["id"])

    def withdraw(self) -> str:
        """Post a withdrawal that has to be accepted; return its id."""
        return self.accepted(WITHDRAWAL)

    def state(self, intent: str) -> str:
        """Say where an intent stands."""
        return str(self.client(lambda client: client.intent(intent)).document["state"])

    def decided(self, intents: Sequence[str], *, timeout_s: float = 30) -> set[str]:
        """Wait until intents have ended; return how."""

        async def all_decided(client: Client) -> set[str]:
            answers = [await client.decided(intent, timeout_s=timeout_s) for intent in intents]
            return {str(answer.document["state"]) for answer in answers}

        return self.client(all_decided)

    def fund(self) -> None:
        """Open the wallets, and put money into one."""

        async def work(client: Client) -> None:
            for wallet in (PAYER, PAYEE):
                assert (await client.open_account(wallet)).accepted
            grant = {
                "operation_type": "ADJUSTMENT",
                "account": PAYER,
                "direction": "CREDIT",
                "amount_minor": _FUNDED_MINOR,
                "currency": "THB",
            }
            answer = await client.send_until_answered(grant, idempotency_key=new_idempotency_key(), wait_s=10)
            assert answer.document["state"] == "SETTLED", answer

        self.client(work)

    def _run(self) -> Any:
        return json.loads((self.home.path / "dev" / "run.json").read_text())


PAYMENT: Final = {
    "operation_type": "P2P_TRANSFER",
    "from_account": PAYER,
    "to_account": PAYEE,
    "amount_minor": 100,
    "currency": "THB",
}
WITHDRAWAL: Final = {
    "operation_type": "IPPS_WITHDRAWAL",
    "from_account": PAYER,
    "amount_minor": WITHDRAWN_MINOR,
    "currency": "THB",
    "proxy_type": "MOBILE",
    "proxy": "081-234-5678",
}


@contextmanager
def drill_mesh(home: Home) -> Iterator[DrillMesh]:
    """Keep the mesh up for the length of the block, where commands take it for the `paymesh dev` of the folder."""
    log = home.path / "drill.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.hold_drill", str(home.path / "dev")],
            cwd=ROOT, env=home.environ(), stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"the mesh did not come up:\n{log.read_text()}"
        yield DrillMesh(home, process, json.loads(line))
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(_STOP_S)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        wait_gone(family)
