"""What control can do at IPPS beyond the common: show its books, and make up its mind for it."""

from aiohttp import web
from pydantic import Field

from adapters.sandbox.answers import Body, Refused, read_body
from adapters.sandbox.ipps.bank import Bank
from adapters.sandbox.ipps.records import MovementKind, Transfer, TransferStatus
from adapters.sandbox.scenario import BadScenario, Scenario
from adapters.sandbox.script import parse_scenario

_S = TransferStatus


class Verdict(Body):
    """POST /control/transfers/{uid}/settle, reject or reverse."""

    scenario: str = "success"
    error_code: str = Field(default="DECLINED", pattern=r"^[A-Z_]{1,40}\z")


class IppsControl:
    """Control over a `Bank`."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/control/transfers/{uid}/settle", self.settle),
            web.post("/control/transfers/{uid}/reject", self.reject),
            web.post("/control/transfers/{uid}/reverse", self.reverse),
        ]

    def books(self, reference: str | None) -> dict[str, object]:
        """Return look-ups, transfers, movements and bars, and what was paid in all.

        With a reference: its transfers, movements and bar, and the look-ups they came from.
        """
        bank = self._bank
        transfers, movements = bank.transfers.rows(reference), bank.movements.rows(reference)
        payouts = [row.amount_satang for row in movements if row.kind is MovementKind.PAYOUT]
        reversals = [row.amount_satang for row in movements if row.kind is MovementKind.REVERSAL]
        used = {row.lookup_ref for row in transfers}
        lookups = [row for row in bank.lookups.rows() if reference is None or row.lookup_ref in used]
        return {
            "lookups": [row.model_dump(mode="json", by_alias=True) for row in lookups],
            "transfers": [row.model_dump(mode="json", by_alias=True) for row in transfers],
            "movements": [row.model_dump(mode="json", by_alias=True) for row in movements],
            "bars": [row.model_dump(mode="json", by_alias=True) for row in bank.bars.rows(reference)],
            "payouts": len(payouts),
            "paidMinor": sum(payouts) - sum(reversals),
        }

    async def settle(self, request: web.Request) -> web.Response:
        """Settle what is under way, or was rejected."""
        transfer, verdict = await self._read(request, _S.PROCESSING, _S.REJECTED)
        return _shown(self._bank.conclude(transfer, _scenario(verdict), code=None))

    async def reject(self, request: web.Request) -> web.Response:
        """Reject what is under way."""
        transfer, verdict = await self._read(request, _S.PROCESSING)
        return _shown(self._bank.conclude(transfer, _scenario(verdict), code=verdict.error_code))

    async def reverse(self, request: web.Request) -> web.Response:
        """Take back what is settled."""
        transfer, verdict = await self._read(request, _S.SETTLED)
        return _shown(self._bank.reverse(transfer, _scenario(verdict)))

    async def _read(self, request: web.Request, *wanted: TransferStatus) -> tuple[Transfer, Verdict]:
        verdict = await read_body(request, Verdict)
        transfer = self._bank.transfer_of(request.match_info["uid"])
        if transfer is None:
            raise Refused(404, "NOT_FOUND", "nothing is known of this reference")
        if transfer.status not in wanted:
            raise Refused(409, "WRONG_STATUS", f"it is {transfer.status}")
        return transfer, verdict


def _scenario(verdict: Verdict) -> Scenario:
    try:
        return parse_scenario(verdict.scenario)
    except BadScenario as error:
        raise Refused(400, "INVALID_SCENARIO", str(error)) from None


def _shown(transfer: Transfer) -> web.Response:
    return web.json_response(transfer.model_dump(mode="json", by_alias=True))
