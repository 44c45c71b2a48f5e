"""A client of control, for tests and demonstrations: one method for each knob, JSON in and out.

It deals with the control port only; what an adapter sees it must learn through the API itself.
"""

from typing import Any

from aiohttp import ClientSession

from adapters.sandbox.outage import Mode

_ERROR_MIN = 400


class ControlError(Exception):
    """Control refused; `status` and `code` say why."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code


class SandboxControl:
    """Control over one sandbox."""

    def __init__(self, *, http: ClientSession, control_url: str) -> None:
        self._http = http
        self._url = control_url

    async def books(self, reference: str | None = None) -> dict[str, Any]:
        """Return what really happened, all of it or under one reference."""
        return await self.call("GET", "/control/books", reference=reference)

    async def calls(self, reference: str | None = None, *, operation: str | None = None) -> list[dict[str, Any]]:
        """Return the calls the API has served or is serving, oldest first."""
        answer = await self.call("GET", "/control/calls", reference=reference, operation=operation)
        return list(answer["calls"])

    async def callbacks(self, reference: str | None = None) -> list[dict[str, Any]]:
        """Return what the sandbox has told or will tell."""
        return list((await self.call("GET", "/control/callbacks", reference=reference))["callbacks"])

    async def tell(self, reference: str, **wish: Any) -> None:
        """Send a callback: `status`, `amountMinor`, `manner`, `copies`."""
        await self.call("POST", "/control/callbacks", {"reference": reference, **wish})

    async def play(
        self,
        scenario: str,
        *,
        on: str | list[str] | None = None,
        times: int | None = None,
        match: dict[str, str] | None = None,
    ) -> str:
        """Put a rule in force; return its id."""
        wish = {"scenario": scenario, "on": on, "times": times, "match": match or {}}
        return str((await self.call("POST", "/control/scenarios", wish))["ruleId"])

    async def play_nothing(self) -> None:
        """Take back all rules."""
        await self.call("DELETE", "/control/scenarios")

    async def begin_outage(self, *, seconds: float, mode: Mode = "refuse", retry_after_s: int | None = None) -> None:
        """Be out of order for so long."""
        wish = {"seconds": seconds, "mode": mode, "retryAfterS": retry_after_s}
        await self.call("POST", "/control/outage", wish)

    async def end_outage(self) -> None:
        """Be in order at once."""
        await self.call("DELETE", "/control/outage")

    async def advance(self, ms: int) -> None:
        """Move the sandbox's clock ahead."""
        await self.call("POST", "/control/clock", {"advanceMs": ms})

    async def change_terms(self, **changes: Any) -> dict[str, Any]:
        """Change terms, by their names in JSON; return those in force."""
        return await self.call("PATCH", "/control/terms", changes)

    async def call(self, method: str, path: str, body: Any = None, **query: str | None) -> dict[str, Any]:
        """Make any call of control, such as a provider's own.

        Raises:
            ControlError: it was refused.
        """
        params = {name: value for name, value in query.items() if value is not None}
        async with self._http.request(method, self._url + path, json=body, params=params) as answer:
            content: dict[str, Any] = await answer.json()
            if answer.status >= _ERROR_MIN:
                raise ControlError(answer.status, content.get("code", ""), content.get("detail", ""))
            return content
