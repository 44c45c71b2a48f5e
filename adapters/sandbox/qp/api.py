"""The HTTP side of the QP sandbox: requests in, decisions, answers out. The package documents it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Final, Literal

from aiohttp import web
from pydantic import Field

from adapters.sandbox.agenda import Action
from adapters.sandbox.answers import Answer, Body, Refused, read_body
from adapters.sandbox.callbacks import News
from adapters.sandbox.parts import Parts, Profile
from adapters.sandbox.qp.codes import PAY, Codes, Wish
from adapters.sandbox.qp.control import QpControl
from adapters.sandbox.qp.ledgers import Ledgers
from adapters.sandbox.qp.payments import FINISH, REVERSE, REVIVE, Payments
from adapters.sandbox.qp.records import Payment, Qr, QrType
from adapters.sandbox.qp.refunds import FINISH_REFUND, Refunds, RefundWish
from adapters.sandbox.qp.settlement import ZONE_MINUTES, write_file
from adapters.sandbox.qp.telling import invented_news, payment_news, shown_payment, shown_qr, shown_refund
from adapters.sandbox.scenario import Scenario
from adapters.sandbox.settlement import SettlementFiles
from adapters.sandbox.stage import Call, script_of

PROFILE: Final = Profile(
    name="qp",
    operations=frozenset({"create", "get", "find", "delete", "payments", "payment", "refund", "refund_status"}),
    main_operation="create",
    amount_max_minor=100_000_000,
)
TTL_SECONDS: Final = 1_200

Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}\z")]
Kopecks = Annotated[int, Field(ge=1, le=999_999_999_999)]
Text = Annotated[str, Field(max_length=400)]


class QrBody(Body):
    """POST /qp/v1/qrs."""

    order: Reference
    amount: Kopecks | None = None
    ttl_seconds: Annotated[int, Field(ge=1, le=259_200)] | None = None
    qr_type: Literal["dynamic", "static"]
    note: Text | None = None
    test_scenario: Text | None = None


class RefundBody(Body):
    """POST /qp/v1/refunds."""

    refund_id: Reference
    payment_id: str = Field(min_length=1, max_length=40)
    amount: Kopecks
    note: Text | None = None
    test_scenario: Text | None = None


class Qp:
    """QP's side of its sandbox."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ledgers = Ledgers(parts)
        self._codes = Codes(parts, self._ledgers)
        self._payments = Payments(parts, self._ledgers, self._codes)
        self._refunds = Refunds(parts, self._ledgers)
        self._control = QpControl(
            ledgers=self._ledgers, codes=self._codes, payments=self._payments, refunds=self._refunds
        )
        self._files = SettlementFiles(
            psp=PROFILE.name,
            zone_minutes=ZONE_MINUTES,
            now_ms=parts.clock.now_ms,
            write=partial(write_file, self._ledgers),
            suffix="csv",
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the API."""
        return [
            web.post("/qp/v1/qrs", self.create),
            web.get("/qp/v1/qrs", self.find),
            web.get("/qp/v1/qrs/{qrc}", self.get),
            web.delete("/qp/v1/qrs/{qrc}", self.delete),
            web.get("/qp/v1/qrs/{qrc}/payments", self.payments),
            web.get("/qp/v1/payments/{payment}", self.payment),
            web.post("/qp/v1/refunds", self.refund),
            web.get("/qp/v1/refunds/{refund}", self.refund_status),
        ]

    def control_routes(self) -> list[web.RouteDef]:
        """Return the routes of control that only QP has."""
        return [*self._control.routes(), web.post("/control/settlement-files", self._files.make)]

    def actions(self) -> Mapping[str, Action]:
        """Return what QP's tasks on the agenda do."""
        carry_on = dict.fromkeys((FINISH, REVIVE, REVERSE), self._payments.carry_on)
        return {PAY: self._payments.on_pay, FINISH_REFUND: self._refunds.on_finish, **carry_on}

    def books(self, reference: str | None) -> dict[str, object]:
        """Return what really happened."""
        return self._control.books(reference)

    def news(self, reference: str) -> News:
        """Return the latest news of an order: of its last payment, or of one that a forger makes up."""
        payments = self._ledgers.payments.of(reference)
        if payments:
            return payment_news(payments[-1])
        qr = self._ledgers.qr_of(reference)
        if qr is None:
            raise Refused(404, "NOT_FOUND", "nothing is known of this order")
        return invented_news(qr, "PM" + "0" * 20)

    def refusal(self, refused: Refused) -> dict[str, object]:
        """Put a refusal into QP's words."""
        return {"code": refused.code, "message": refused.detail, **refused.extra}

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST /qp/v1/qrs."""
        body = await read_body(request, QrBody)
        qr_type = QrType(body.qr_type)
        dynamic = qr_type is QrType.DYNAMIC
        if dynamic and body.amount is None:
            raise Refused(400, "INVALID_REQUEST", "amount: missing")
        if not dynamic and body.ttl_seconds is not None:
            raise Refused(400, "INVALID_REQUEST", "ttlSeconds: static codes do not expire")
        wish = Wish(
            order=body.order,
            qr_type=qr_type,
            amount_kopecks=body.amount,
            ttl_seconds=(body.ttl_seconds or TTL_SECONDS) if dynamic else None,
            script=script_of(body.test_scenario, body.note),
        )
        facts = {"order": body.order, "amount": str(body.amount or ""), "qrType": body.qr_type}
        call = Call("create", body.order, wish.script, facts)
        return await self._serve(request, call, lambda scenario: shown_qr(self._codes.create(wish, scenario)))

    async def find(self, request: web.Request) -> web.StreamResponse:
        """GET /qp/v1/qrs?order=…."""
        order = request.query.get("order", "")
        standing = self._ledgers.qr_of(order)
        call = Call("find", order, standing.script if standing else "", {"order": order})
        return await self._serve(
            request, call, lambda _: {"qrs": [shown_qr(self._codes.current(qr)) for qr in self._ledgers.qrs.of(order)]}
        )

    async def get(self, request: web.Request) -> web.StreamResponse:
        """GET /qp/v1/qrs/{qrcId}."""
        qr = self._codes.get(request.match_info["qrc"])
        return await self._serve(request, _about(qr, "get"), lambda _: shown_qr(self._codes.get(qr.qrc_id)))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """DELETE /qp/v1/qrs/{qrcId}."""
        qr = self._codes.get(request.match_info["qrc"])
        return await self._serve(
            request, _about(qr, "delete"), lambda _: shown_qr(self._codes.cancel(self._codes.get(qr.qrc_id)))
        )

    async def payments(self, request: web.Request) -> web.StreamResponse:
        """GET /qp/v1/qrs/{qrcId}/payments."""
        qr = self._codes.get(request.match_info["qrc"])
        return await self._serve(
            request,
            _about(qr, "payments"),
            lambda _: {"payments": [self._shown(payment) for payment in self._ledgers.payments_of(qr)]},
        )

    async def payment(self, request: web.Request) -> web.StreamResponse:
        """GET /qp/v1/payments/{paymentId}."""
        payment = self._ledgers.payments.get(request.match_info["payment"])
        if payment is None:
            raise Refused(404, "NOT_FOUND", "there is no such payment")
        facts = {"order": payment.order, "paymentId": payment.payment_id, "qrcId": payment.qrc_id}
        call = Call("payment", payment.order, payment.script, facts)
        return await self._serve(
            request, call, lambda _: self._shown(self._ledgers.payments.get(payment.payment_id) or payment)
        )

    async def refund(self, request: web.Request) -> web.StreamResponse:
        """POST /qp/v1/refunds."""
        body = await read_body(request, RefundBody)
        payment = self._ledgers.payments.get(body.payment_id)
        script = script_of(body.test_scenario, body.note) or (payment.script if payment else "")
        wish = RefundWish(body.refund_id, body.payment_id, body.amount, script)
        facts = {"refundId": body.refund_id, "paymentId": body.payment_id, "amount": str(body.amount)}
        call = Call("refund", payment.order if payment else "", script, facts)
        return await self._serve(request, call, lambda scenario: shown_refund(self._refunds.refund(wish, scenario)))

    async def refund_status(self, request: web.Request) -> web.StreamResponse:
        """GET /qp/v1/refunds/{refundId}."""
        refund = self._refunds.get(request.match_info["refund"])
        facts = {"refundId": refund.refund_id, "paymentId": refund.payment_id, "order": refund.order}
        call = Call("refund_status", refund.order, refund.script, facts)
        return await self._serve(request, call, lambda _: shown_refund(self._refunds.get(refund.refund_id)))

    def _shown(self, payment: Payment) -> Mapping[str, object]:
        return shown_payment(payment, self._ledgers.refunded(payment))

    async def _serve(
        self, request: web.Request, call: Call, commit: Callable[[Scenario], Mapping[str, object]]
    ) -> web.StreamResponse:
        return await self._parts.desk.serve(request, call, lambda scenario: Answer(commit(scenario)))


def _about(qr: Qr, operation: str) -> Call:
    """Describe a call about a code, which inherits the code's script."""
    return Call(operation, qr.order, qr.script, {"order": qr.order, "qrcId": qr.qrc_id})


def build(parts: Parts) -> Qp:
    """Build the provider."""
    return Qp(parts)
