"""The HTTP side of the IPPS sandbox: requests in, decisions of the `Bank`, answers out. The package documents it."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field

from adapters.ipps.amounts import parse_satang
from adapters.ipps.defects import BadQr
from adapters.sandbox.agenda import Action
from adapters.sandbox.answers import Answer, Body, Refused, read_body
from adapters.sandbox.callbacks import News
from adapters.sandbox.ipps.bank import Bank, Order
from adapters.sandbox.ipps.control import IppsControl
from adapters.sandbox.ipps.payables import NotPayable, payable
from adapters.sandbox.ipps.settlement import ZONE_MINUTES, write_file
from adapters.sandbox.ipps.telling import ERROR, lookup_answer, news, refusal_answer, transfer_answer
from adapters.sandbox.parts import Parts, Profile
from adapters.sandbox.scenario import Scenario
from adapters.sandbox.settlement import SettlementFiles
from adapters.sandbox.stage import Call, script_of
from adapters.sandbox.terms import SubmitFence

PROFILE: Final = Profile(
    name="ipps",
    operations=frozenset({"lookup", "transfer", "status", "cancel"}),
    main_operation="transfer",
    amount_max_minor=70_000_000,
)

Amount = Annotated[str, Field(pattern=r"^[0-9]{1,10}\.[0-9]{2}\z")]
Note = Annotated[str, Field(max_length=400)]
Script = Annotated[str, Field(max_length=400)]


class LookupBody(Body):
    """POST /v1/lookups."""

    proxy_type: Literal["MOBILE", "NATIONAL_ID", "EWALLET", "BANK_ACCOUNT", "BILLER", "QR"]
    proxy_value: str = Field(min_length=1, max_length=512)
    amount: Amount | None = None
    ref1: str | None = None
    ref2: str | None = None
    ref3: str | None = None
    note: Note | None = None
    test_scenario: Script | None = None


class TransferBody(Body):
    """POST /v1/transfers."""

    lookup_ref: str = Field(min_length=1, max_length=64)
    partner_txn_uid: str = Field(pattern=r"^[A-Z0-9]{1,15}\z")
    amount: Amount
    currency: Literal["THB"]
    note: Note | None = None
    test_scenario: Script | None = None


class Ipps:
    """IPPS's side of its sandbox."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._bank = Bank(parts)
        self._control = IppsControl(self._bank)
        self._files = SettlementFiles(
            psp=PROFILE.name,
            zone_minutes=ZONE_MINUTES,
            now_ms=parts.clock.now_ms,
            write=partial(write_file, self._bank),
            suffix="txt",
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the API."""
        return [
            web.post("/v1/lookups", self.look_up),
            web.post("/v1/transfers", self.transfer),
            web.get("/v1/transfers/{uid}", self.status),
            web.post("/v1/transfers/{uid}/cancel", self.cancel),
        ]

    def control_routes(self) -> list[web.RouteDef]:
        """Return the routes of control that only IPPS has."""
        return [*self._control.routes(), web.post("/control/settlement-files", self._files.make)]

    def actions(self) -> Mapping[str, Action]:
        """Return what the bank's tasks do."""
        return self._bank.actions()

    def books(self, reference: str | None) -> dict[str, object]:
        """Return what really happened."""
        return self._control.books(reference)

    def news(self, reference: str) -> News:
        """Return the latest news of a reference."""
        transfer = self._bank.transfer_of(reference)
        if transfer is None:
            raise Refused(404, "NOT_FOUND", "nothing is known of this reference")
        return news(transfer)

    def refusal(self, refused: Refused) -> dict[str, object]:
        """Put a refusal into IPPS's words."""
        return {"statusCode": ERROR, "errorCode": refused.code, "errorDesc": refused.detail, **refused.extra}

    async def look_up(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/lookups."""
        body = await read_body(request, LookupBody)
        script = script_of(body.test_scenario, body.note)
        amount_satang = None if body.amount is None else _satang(body.amount)
        facts = {"proxyType": body.proxy_type, "proxyValue": body.proxy_value, "amount": body.amount or ""}

        def commit(scenario: Scenario) -> Answer:
            if scenario.decline is not None:
                return refusal_answer(scenario.decline, "as the scenario says")
            try:
                found = payable(
                    body.proxy_type,
                    body.proxy_value,
                    refs=(body.ref1, body.ref2, body.ref3),
                    amount_satang=amount_satang,
                )
            except NotPayable as error:
                return refusal_answer(error.code, str(error))
            if (found.amount_satang or 0) > self._parts.contract.terms.amount_max_minor:
                return refusal_answer("OVER_LIMIT", "the amount is over the limit")
            return lookup_answer(self._bank.look_up(found, script))

        return await self._parts.desk.serve(request, Call("lookup", body.proxy_value, script, facts), commit)

    async def transfer(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/transfers."""
        body = await read_body(request, TransferBody)
        lookup = self._bank.lookups.get(body.lookup_ref)
        script = script_of(body.test_scenario, body.note) or (lookup.script if lookup else "")
        order = Order(
            partner_txn_uid=body.partner_txn_uid,
            lookup_ref=body.lookup_ref,
            amount_satang=_satang(body.amount),
            arrived_ms=self._parts.clock.now_ms(),
            script=script,
        )
        facts = {"lookupRef": body.lookup_ref, "amount": body.amount}
        if lookup is not None:
            facts |= {"proxyType": lookup.payable.proxy_type, "proxyValue": lookup.payable.proxy_value}
        call = Call("transfer", body.partner_txn_uid, script, facts)
        return await self._parts.desk.serve(
            request, call, lambda scenario: transfer_answer(self._bank.transfer(order, scenario))
        )

    async def status(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/transfers/{uid}."""
        call = self._call("status", request.match_info["uid"])
        return await self._parts.desk.serve(request, call, lambda _: transfer_answer(self._bank.find(call.reference)))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/transfers/{uid}/cancel."""
        if self._parts.contract.terms.submit_fence is not SubmitFence.CANCEL:
            raise Refused(404, "NO_SUCH_PATH", "there is no such path")
        call = self._call("cancel", request.match_info["uid"])
        return await self._parts.desk.serve(request, call, lambda _: transfer_answer(self._bank.cancel(call.reference)))

    def _call(self, operation: str, uid: str) -> Call:
        """Describe a call about a transfer, which inherits the transfer's script."""
        transfer = self._bank.transfer_of(uid)
        if transfer is None:
            return Call(operation, uid, "")
        facts = {"proxyType": transfer.proxy_type, "proxyValue": transfer.proxy_value}
        return Call(operation, uid, transfer.script, facts)


def _satang(text: str) -> int:
    try:
        return parse_satang(text)
    except BadQr as error:
        raise Refused(400, "INVALID_REQUEST", f"amount: {error.code}") from None


def build(parts: Parts) -> Ipps:
    """Build the provider."""
    return Ipps(parts)
