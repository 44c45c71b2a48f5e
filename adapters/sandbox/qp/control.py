"""What control can do at QP beyond the common: show its books, pay codes, and make up QP's mind."""

from aiohttp import web
from pydantic import Field

from adapters.sandbox.answers import Body, Refused, read_body
from adapters.sandbox.books import Record
from adapters.sandbox.qp.codes import Codes
from adapters.sandbox.qp.ledgers import Ledgers
from adapters.sandbox.qp.payments import Payments
from adapters.sandbox.qp.records import MovementKind, Payment, PaymentStatus, Qr, RefundStatus
from adapters.sandbox.qp.refunds import Refunds
from adapters.sandbox.scenario import BadScenario, Scenario
from adapters.sandbox.script import AMOUNT_MINOR_MAX, parse_scenario


class PayBody(Body):
    """POST /control/pay."""

    order: str | None = None
    qrc_id: str | None = None
    amount: int | None = Field(default=None, ge=1, le=AMOUNT_MINOR_MAX)
    count: int = Field(default=1, ge=1, le=100)
    force: bool = False
    scenario: str = "success"


class Verdict(Body):
    """POST /control/payments/{id}/… and /control/refunds/{id}/…."""

    scenario: str = "success"
    error_code: str = Field(default="DECLINED", pattern=r"^[A-Z_]{1,40}\z")


class QpControl:
    """Control over QP's books."""

    def __init__(self, *, ledgers: Ledgers, codes: Codes, payments: Payments, refunds: Refunds) -> None:
        self._ledgers = ledgers
        self._codes = codes
        self._payments = payments
        self._refunds = refunds

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/control/pay", self.pay),
            web.post("/control/qrs/{qrc}/expire", self.expire),
            web.post("/control/payments/{payment}/{verdict:accept|decline|reverse}", self.judge_payment),
            web.post("/control/refunds/{refund}/{verdict:complete|decline}", self.judge_refund),
        ]

    def books(self, reference: str | None) -> dict[str, object]:
        """Return codes, payments, refunds and movements, all or those of an order, and what was paid in all."""
        ledgers = self._ledgers
        movements = ledgers.movements.rows(reference)
        paid = [row.amount_kopecks for row in movements if row.kind is MovementKind.PAYMENT]
        back = [row.amount_kopecks for row in movements if row.kind is not MovementKind.PAYMENT]
        return {
            "qrs": [_dump(self._codes.current(row)) for row in ledgers.qrs.rows(reference)],
            "payments": [_dump(row) for row in ledgers.payments.rows(reference)],
            "refunds": [_dump(row) for row in ledgers.refunds.rows(reference)],
            "movements": [_dump(row) for row in movements],
            "accepted": len(paid),
            "paidMinor": sum(paid) - sum(back),
        }

    async def pay(self, request: web.Request) -> web.Response:
        """Pay a code, so many times."""
        body = await read_body(request, PayBody)
        scenario = _scenario(body.scenario)
        qr = self._code(body)
        made = [
            self._payments.pay(self._codes.get(qr.qrc_id), scenario, amount_kopecks=body.amount, force=body.force)
            for _ in range(body.count)
        ]
        return web.json_response({"payments": [_dump(payment) for payment in made]})

    async def expire(self, request: web.Request) -> web.Response:
        """Let a code's time be over."""
        return web.json_response(_dump(self._codes.expire(self._codes.get(request.match_info["qrc"]))))

    async def judge_payment(self, request: web.Request) -> web.Response:
        """Accept or decline a payment under way, or reverse an accepted one."""
        verdict = await read_body(request, Verdict)
        payment = self._ledgers.payments.get(request.match_info["payment"])
        if payment is None:
            raise Refused(404, "NOT_FOUND", "there is no such payment")
        word = request.match_info["verdict"]
        wanted = PaymentStatus.ACCEPTED if word == "reverse" else PaymentStatus.IN_PROGRESS
        if payment.status is not wanted:
            raise Refused(409, "WRONG_STATUS", f"it is {payment.status}")
        return web.json_response(_dump(self._judged(payment, word, verdict)))

    async def judge_refund(self, request: web.Request) -> web.Response:
        """Complete or decline a refund under way."""
        verdict = await read_body(request, Verdict)
        refund = self._refunds.get(request.match_info["refund"])
        if refund.status is not RefundStatus.IN_PROGRESS:
            raise Refused(409, "WRONG_STATUS", f"it is {refund.status}")
        code = None if request.match_info["verdict"] == "complete" else verdict.error_code
        return web.json_response(_dump(self._refunds.finish(refund, _scenario(verdict.scenario), code=code)))

    def _judged(self, payment: Payment, word: str, verdict: Verdict) -> Payment:
        scenario = _scenario(verdict.scenario)
        if word == "reverse":
            return self._payments.reverse(payment, scenario)
        return self._payments.finish(payment, scenario, code=None if word == "accept" else verdict.error_code)

    def _code(self, body: PayBody) -> Qr:
        qr = self._ledgers.qr_of(body.order or "") if body.qrc_id is None else self._codes.get(body.qrc_id)
        if qr is None:
            raise Refused(404, "NOT_FOUND", "there is no such code")
        return qr


def _scenario(text: str) -> Scenario:
    try:
        return parse_scenario(text)
    except BadScenario as error:
        raise Refused(400, "INVALID_SCENARIO", str(error)) from None


def _dump(row: Record) -> dict[str, object]:
    return row.model_dump(mode="json", by_alias=True)
