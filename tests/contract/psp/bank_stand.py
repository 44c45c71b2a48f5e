"""The stand of the tests' bank, one for each kind of fence."""

import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp

from adapters.runtime.http import open_session
from adapters.runtime.psp import Call
from shared.contracts import Action, JobMessage
from shared.ids import intent_id
from shared.psp import FenceKind
from tests.contract.psp.bank import Bank, served
from tests.contract.psp.bank_psp import PSP, BankPsp, callback_rules, manifest_of
from tests.contract.psp.stand import Where

_MOVED = {"submit": "", "inquire": "on_inquiry+", "prepare": "on_prepare+", "cancel": "on_cancel+"}


class BankStand:
    """The bank's adapter with its bank."""

    personal: Sequence[str] = ("0801234567",)

    def __init__(self, bank: Bank, session: aiohttp.ClientSession) -> None:
        self._bank = bank
        self._session = session
        self._reach = bank.url
        self.psp = self._at(bank.url)

    def call(self, operation: str, *, scenario: str = "success", on: Where = "submit", timeout_s: float = 10.0) -> Call:
        alphabet = self.psp.manifest.reference.alphabet
        job = JobMessage(
            psp=PSP,
            intent_id=str(intent_id(time.time_ns() // 1000, 0, random.getrandbits(38))),
            attempt=1,
            operation=operation,
            action=Action.SUBMIT,
            reference="".join(random.choices(alphabet, k=15)),
            amount_minor=12_345,
            currency="THB",
            created_ms=time.time_ns() // 1_000_000,
            epoch="m:1",
        )
        if scenario != "success":
            self._bank.played(job.reference, _MOVED[on] + scenario)
        return Call(job, {"to": self.personal[0]}, timeout_s=timeout_s)

    async def paid(self, reference: str) -> int:
        return self._bank.paid(reference)

    async def pay(self, reference: str) -> None:
        raise NotImplementedError(f"nobody pays into this bank: {reference}")

    async def age(self, seconds: float) -> None:
        self._bank.later_s += seconds

    @asynccontextmanager
    async def out_of_reach(self) -> AsyncIterator[None]:
        async with served(Bank(self._bank.fence)) as other:
            gone = other.url
        here, self.psp = self.psp, self._at(gone)
        try:
            yield
        finally:
            self.psp = here

    async def callback(self, reference: str) -> tuple[dict[str, str], bytes] | None:
        (payment,) = [payment for payment in self._bank.payments if payment.reference == reference]
        told = {"status": payment.status, "transaction": payment.transaction, "amount": payment.amount}
        return {}, json.dumps(told | {"reference": reference}).encode()

    def _at(self, url: str) -> BankPsp:
        rules = replace(callback_rules(b"s"), networks=())
        return BankPsp(manifest_of(self._bank.fence), url=url, session=self._session, callbacks=rules)


@asynccontextmanager
async def open_stand(fence: FenceKind) -> AsyncIterator[BankStand]:
    """Open a bank with that fence."""
    async with served(Bank(fence)) as bank, open_session(connections_max=16, timeout_s=20.0) as session:
        yield BankStand(bank, session)
