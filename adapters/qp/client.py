"""QP's HTTP API, version 1, and which of its calls answer which of the runtime's questions.

A code is always looked at before its payments, so that a code which has ended shows every payment that began before
its end. This module must never repeat a request, nor make more than one to submit.
"""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from aiohttp import ClientSession
from pydantic import SecretStr

from adapters.qp import callbacks, mapping
from adapters.qp.manifest import MANIFEST
from adapters.qp.words import Code, Codes, Failed, Payments, Refusal, harmless, read
from adapters.runtime.http import Reply, exchange
from adapters.runtime.psp import Ambiguous, Answer, Call, CallbackRules, Definite, NotSent, Observation, Ready
from shared.contracts import Outcome
from shared.psp import Manifest

_LEFT_S_MIN: Final = 0.01


class QpApi:
    """The calls that QP offers."""

    def __init__(self, *, session: ClientSession, url: str, api_key: SecretStr | None) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key.get_secret_value()}"}

    async def create(self, body: Mapping[str, object], *, timeout_s: float) -> Code | Failed:
        """Create a code, or get the one the order has."""
        return read(await self._call("POST", "/qrs", timeout_s, json_body=body), Code)

    async def code(self, qrc_id: str, *, timeout_s: float) -> Code | Failed:
        """Look at a code."""
        return harmless(read(await self._call("GET", f"/qrs/{quote(qrc_id, safe='')}", timeout_s), Code))

    async def find(self, order: str, *, timeout_s: float) -> Codes | Failed:
        """Look for the code of an order; none where the order is unknown."""
        return harmless(read(await self._call("GET", f"/qrs?order={quote(order, safe='')}", timeout_s), Codes))

    async def payments(self, qrc_id: str, *, timeout_s: float) -> Payments | Failed:
        """List the payments of a code."""
        path = f"/qrs/{quote(qrc_id, safe='')}/payments"
        return harmless(read(await self._call("GET", path, timeout_s), Payments))

    async def delete(self, qrc_id: str, *, timeout_s: float) -> Code | Failed:
        """Cancel a code."""
        return read(await self._call("DELETE", f"/qrs/{quote(qrc_id, safe='')}", timeout_s), Code)

    async def _call(
        self, method: str, path: str, timeout_s: float, *, json_body: Mapping[str, object] | None = None
    ) -> Reply | NotSent | Ambiguous:
        return await exchange(
            self._session,
            method,
            f"{self._url}/qp/v1{path}",
            timeout_s=timeout_s,
            headers=self._headers,
            json=json_body,
        )


class QpPsp:
    """The port `Psp`, for QP."""

    def __init__(self, api: QpApi, *, callbacks: CallbackRules | None) -> None:
        self._api = api
        self._callbacks = callbacks

    @property
    def manifest(self) -> Manifest:
        """What QP promises."""
        return MANIFEST

    @property
    def callbacks(self) -> CallbackRules | None:
        """How its callbacks come in."""
        return self._callbacks

    async def prepare(self, call: Call) -> Ready | Answer:
        """Make sure that the job asks for something there is; QP itself needs no preparation."""
        asked = _terms(call)
        return asked if isinstance(asked, Definite) else Ready()

    async def submit(self, call: Call) -> Answer:
        """Create the code."""
        asked = _terms(call)
        if isinstance(asked, Definite):
            return asked
        code = await self._api.create(asked, timeout_s=call.timeout_s)
        match code:
            case Code():
                return mapping.created(code, call)
            case Refusal():
                return mapping.refused(code)
            case failed:
                return failed

    async def inquire(self, call: Call) -> Answer:
        """Look at the code, then at its payments."""
        until_s = _now_s() + call.timeout_s
        code = await self._code(call, until_s)
        return await self._standing(code, call, until_s) if isinstance(code, Code) else code

    async def cancel(self, call: Call) -> Answer:
        """Delete the code; where QP will not, say how it stands."""
        until_s = _now_s() + call.timeout_s
        code = await self._code(call, until_s)
        if not isinstance(code, Code):
            return code
        ended = await self._api.delete(code.qrc_id, timeout_s=_left_s(until_s))
        match ended:
            case Code():
                return await self._standing(ended, call, until_s, given_up=True)
            case Refusal(status=409, code="NOT_CANCELLABLE"):
                now = await self._code(call, until_s)
                return await self._standing(now, call, until_s, given_up=True) if isinstance(now, Code) else now
            case Refusal():
                return mapping.unanswered(ended)
            case failed:
                return failed

    def parse_callback(self, headers: Mapping[str, str], raw: bytes) -> Observation:  # noqa: ARG002 - the port's signature
        """Read a callback."""
        return callbacks.parse(raw)

    async def _code(self, call: Call, until_s: float) -> Code | Answer:
        """Look the job's code up, by QP's id where we have it, else by our order."""
        qrc_id = call.job.psp_ids.get("qrc_id")
        if qrc_id is not None:
            code = await self._api.code(qrc_id, timeout_s=_left_s(until_s))
            if not (isinstance(code, Refusal) and code.status == 404):  # noqa: PLR2004 - HTTP's own number
                return mapping.unanswered(code) if isinstance(code, Refusal) else code
        found = await self._api.find(call.job.reference, timeout_s=_left_s(until_s))
        if isinstance(found, Refusal):
            return mapping.unanswered(found)
        return mapping.found(found) if isinstance(found, Codes) else found

    async def _standing(self, code: Code, call: Call, until_s: float, *, given_up: bool = False) -> Answer:
        listed = await self._api.payments(code.qrc_id, timeout_s=_left_s(until_s))
        match listed:
            case Payments():
                return mapping.standing(code, listed.payments, call, given_up=given_up)
            case Refusal():
                return mapping.unanswered(listed)
            case failed:
                return failed


def _terms(call: Call) -> dict[str, object] | Definite:
    try:
        return mapping.terms(call)
    except mapping.BadTerms as error:
        return Definite(Outcome.DECLINED, code=error.code, detail=str(error), final=True)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _left_s(until_s: float) -> float:
    return max(_LEFT_S_MIN, until_s - _now_s())
