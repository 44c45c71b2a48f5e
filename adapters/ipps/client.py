"""IPPS over HTTP: look-up → transfer → inquiry by our reference → cancellation, where it is agreed.

What is asked and what an answer means stands in `adapters.ipps.mapping`; what a failed exchange proves, in
`adapters.runtime.http`. Every method makes at most one request. This module must never repeat one.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from aiohttp import ClientSession
from pydantic import SecretStr

from adapters.ipps import mapping
from adapters.ipps.callbacks import parse_callback
from adapters.runtime.http import Reply, exchange
from adapters.runtime.psp import Ambiguous, Answer, Call, CallbackRules, NotSent, Observation, Ready
from shared.errors import BadInput
from shared.psp import FenceKind, Manifest

_LOOKUPS: Final = "/v1/lookups"
_TRANSFERS: Final = "/v1/transfers"


class IppsPsp:
    """IPPS, as the runtime sees it."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        base_url: str,
        api_key: SecretStr | None,
        session: ClientSession,
        callbacks: CallbackRules | None,
    ) -> None:
        self._manifest = manifest
        self._url = base_url
        self._api_key = api_key
        self._session = session
        self._callbacks = callbacks

    @property
    def manifest(self) -> Manifest:
        """What this agreement promises."""
        return self._manifest

    @property
    def callbacks(self) -> CallbackRules | None:
        """How callbacks come in, if this process receives any."""
        return self._callbacks

    async def prepare(self, call: Call) -> Ready | Answer:
        """Look the payee up; what is malformed is declined before anything is sent."""
        try:
            body = mapping.look_up_request(call.job, call.opened)
        except BadInput as error:
            return mapping.declined(error)
        reply = await self._post(_LOOKUPS, call, body)
        return mapping.looked_up(reply, call.job) if isinstance(reply, Reply) else reply

    async def submit(self, call: Call) -> Answer:
        """Transfer, under the look-up that was prepared and no other."""
        if "lookup_ref" not in call.prepared:
            return NotSent("not_prepared")
        reply = await self._post(_TRANSFERS, call, mapping.transfer_request(call.job, call.opened, call.prepared))
        return mapping.submitted(reply, call.job, call.prepared) if isinstance(reply, Reply) else reply

    async def inquire(self, call: Call) -> Answer:
        """Ask by our reference."""
        reply = await self._exchange("GET", _transfer(call), call)
        return mapping.inquired(reply, call.job) if isinstance(reply, Reply) else reply

    async def cancel(self, call: Call) -> Answer:
        """Bar our reference; where that is not agreed, say how it stands."""
        if self._manifest.submit_fence.kind is not FenceKind.CANCEL:
            return await self.inquire(call)
        reply = await self._exchange("POST", f"{_transfer(call)}/cancel", call)
        return mapping.cancelled(reply, call.job) if isinstance(reply, Reply) else reply

    def parse_callback(self, headers: Mapping[str, str], raw: bytes) -> Observation:  # noqa: ARG002 - the port's signature
        """Read a callback that has been verified.

        Raises:
            BadCallback: it makes no sense.
        """
        return parse_callback(raw)

    async def _post(self, path: str, call: Call, body: dict[str, str]) -> Reply | NotSent | Ambiguous:
        scripted = {} if call.test_scenario is None else {"testScenario": call.test_scenario}
        return await self._exchange("POST", path, call, body | scripted)

    async def _exchange(
        self, method: str, path: str, call: Call, body: dict[str, str] | None = None
    ) -> Reply | NotSent | Ambiguous:
        headers = {"Accept": "application/json"}
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key.get_secret_value()}"
        return await exchange(
            self._session, method, self._url + path, timeout_s=call.timeout_s, headers=headers, json=body
        )


def _transfer(call: Call) -> str:
    return f"{_TRANSFERS}/{quote(call.job.reference, safe='')}"
