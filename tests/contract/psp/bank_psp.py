"""The adapter's side of the tests' bank: what a PSP folder has in `manifest.py`, `client.py` and `mapping.py`."""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession
from pydantic import SecretStr

from adapters.runtime.http import Reply, exchange
from adapters.runtime.main import run_adapter
from adapters.runtime.psp import (
    Ambiguous,
    Answer,
    BadCallback,
    Call,
    CallbackRules,
    Definite,
    NotSent,
    Observation,
    Ready,
)
from adapters.runtime.settings import AdapterSettings
from shared.contracts import Outcome
from shared.psp import FenceKind, Manifest, OperationRules, PollSchedule, ReferenceFormat, SubmitFence

PSP = "bank"
PAYOUT = "BANK_PAYOUT"
PERIODS = {FenceKind.RESUBMIT: (3600, 60), FenceKind.REFERENCE_TTL: (2, 1)}
_OUTCOMES = {
    "PAID": Outcome.PAID,
    "PROCESSING": Outcome.PENDING,
    "DECLINED": Outcome.DECLINED,
    "CANCELLED": Outcome.EXPIRED,
}


def manifest_of(fence: FenceKind, *, job_ttl_s: int = 3600) -> Manifest:
    """Return the manifest of a bank with that fence."""
    period_s, margin_s = PERIODS.get(fence, (0, 0))
    return Manifest(
        psp=PSP,
        channel=PSP.upper(),
        operations={PAYOUT: OperationRules("out", "THB", 1, 10_000_000)},
        reference=ReferenceFormat("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 15),
        status_by_our_reference=True,
        submit_fence=SubmitFence(fence, period_s, margin_s),
        final_answers=("over_limit", "reference_barred"),
        job_ttl_s=job_ttl_s,
        poll=PollSchedule(first_s=1),
    )


class BankPsp:
    """The bank, as the runtime sees it."""

    def __init__(
        self, manifest: Manifest, *, url: str, session: ClientSession, callbacks: CallbackRules | None = None
    ) -> None:
        self._manifest = manifest
        self._url = url
        self._session = session
        self._callbacks = callbacks

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def callbacks(self) -> CallbackRules | None:
        return self._callbacks

    async def prepare(self, call: Call) -> Ready | Answer:
        reply = await self._post("/prepare", call, {"to": call.opened["to"]})
        if not isinstance(reply, Reply):
            return reply
        told = _json(reply)
        if reply.status == 422 and told is not None:
            return Definite(Outcome.DECLINED, code="unknown_payee", final=True)
        if reply.status != 200 or told is None:
            return Ambiguous(f"http_{reply.status}", reply.retry_after_s)
        return Ready({"ticket": str(told["ticket"])})

    async def submit(self, call: Call) -> Answer:
        job = call.job
        reply = await self._post("/payments", call, {"amount": job.amount_minor, "ticket": call.prepared["ticket"]})
        return reply if not isinstance(reply, Reply) else self._answer(reply, call)

    async def inquire(self, call: Call) -> Answer:
        url = f"{self._url}/payments/{call.job.reference}"
        reply = await exchange(self._session, "GET", url, timeout_s=call.timeout_s)
        return reply if not isinstance(reply, Reply) else self._answer(reply, call)

    async def cancel(self, call: Call) -> Answer:
        reply = await self._post(f"/payments/{call.job.reference}/cancel", call, {})
        if isinstance(reply, Reply) and reply.status == 404:
            return Ambiguous("no_cancellation")
        return reply if not isinstance(reply, Reply) else self._answer(reply, call)

    def parse_callback(self, headers: Mapping[str, str], raw: bytes) -> Observation:  # noqa: ARG002 - the port's signature
        try:
            told = json.loads(raw)
            return Observation(_definite(told, "THB"), told["reference"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadCallback(type(error).__name__) from None

    async def _post(self, path: str, call: Call, body: dict[str, Any]) -> Reply | NotSent | Ambiguous:
        body |= {"reference": call.job.reference, "scenario": call.test_scenario}
        return await exchange(self._session, "POST", self._url + path, timeout_s=call.timeout_s, json=body)

    def _answer(self, reply: Reply, call: Call) -> Answer:
        told = _json(reply)
        code = None if told is None else told.get("code")
        match reply.status, code:
            case 200, _ if told is not None:
                return _definite(told, call.job.currency)
            case 404, "NOT_FOUND":
                return Definite(Outcome.NOT_FOUND)
            case 409, "BARRED":
                return Definite(Outcome.DECLINED, code="reference_barred", final=True)
            case 409, "TICKET_EXPIRED":
                return NotSent("ticket_expired")
            case 429, _:
                return NotSent("throttled", reply.retry_after_s, throttled=True)
            case _:
                # A duplicate among others: something under this reference has happened.
                return Ambiguous(f"http_{reply.status}", reply.retry_after_s)


def _json(reply: Reply) -> dict[str, Any] | None:
    try:
        told = json.loads(reply.body)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _definite(told: dict[str, Any], currency: str) -> Definite:
    outcome = _OUTCOMES[told["status"]]
    return Definite(
        outcome,
        psp_transaction_id=told.get("transaction"),
        amount_minor=told.get("amount"),
        currency=currency if "amount" in told else None,
        code=told.get("code"),
        final=outcome is not Outcome.PENDING,
    )


class BankSettings(AdapterSettings):
    """What the bank's adapter needs to know besides."""

    bank_url: str
    bank_fence: FenceKind
    bank_job_ttl_s: int = 3600
    bank_secret: SecretStr | None = None


@asynccontextmanager
async def open_bank(settings: BankSettings, session: ClientSession) -> AsyncIterator[BankPsp]:
    """Make the bank's adapter."""
    secret = settings.bank_secret
    rules = None if secret is None else callback_rules(secret.get_secret_value().encode())
    manifest = manifest_of(settings.bank_fence, job_ttl_s=settings.bank_job_ttl_s)
    yield BankPsp(manifest, url=settings.bank_url, session=session, callbacks=rules)


def callback_rules(secret: bytes) -> CallbackRules:
    """Return how the bank signs."""
    return CallbackRules(
        path="/callbacks/bank",
        timestamp_header="X-Bank-Timestamp",
        signature_header="X-Bank-Signature",
        secrets=(secret,),
        networks=("127.0.0.0/8",),
    )


if __name__ == "__main__":
    sys.exit(run_adapter(BankSettings, open_bank, name=PSP))
