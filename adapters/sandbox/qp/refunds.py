"""QP's decisions about refunds: begun, completed, declined. Each is one synchronous step.

All refunds of a payment together, those under way included, are at most the payment.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from adapters.sandbox.agenda import Task
from adapters.sandbox.answers import Refused
from adapters.sandbox.parts import Parts
from adapters.sandbox.qp.ledgers import Ledgers
from adapters.sandbox.qp.records import MovementKind, PaymentStatus, Refund, RefundStatus
from adapters.sandbox.qp.telling import refund_news
from adapters.sandbox.scenario import Scenario
from adapters.sandbox.script import parse_scenario

FINISH_REFUND: Final = "finish_refund"
_R = RefundStatus


@dataclass(frozen=True, slots=True)
class RefundWish:
    """A refund as it was asked for."""

    refund_id: str
    payment_id: str
    amount_kopecks: int
    script: str


class Refunds:
    """The refunds in QP's books."""

    def __init__(self, parts: Parts, ledgers: Ledgers) -> None:
        self._parts = parts
        self._ledgers = ledgers

    def get(self, refund_id: str) -> Refund:
        """Return a refund.

        Raises:
            Refused: 404.
        """
        refund = self._ledgers.refunds.get(refund_id)
        if refund is None:
            raise Refused(404, "NOT_FOUND", "there is no such refund")
        return refund

    def refund(self, wish: RefundWish, scenario: Scenario) -> Refund:
        """Give a payment back, in whole or in part.

        Raises:
            Refused: 404, ORDER_CONFLICT, NOT_REFUNDABLE or REFUND_EXCEEDS_PAYMENT.
        """
        standing = self._ledgers.refunds.get(wish.refund_id)
        if standing is not None:
            if (standing.payment_id, standing.amount_kopecks) != (wish.payment_id, wish.amount_kopecks):
                raise Refused(409, "ORDER_CONFLICT", "the refundId stands for another refund")
            return standing
        payment = self._ledgers.payments.get(wish.payment_id)
        if payment is None:
            raise Refused(404, "NOT_FOUND", "there is no such payment")
        if payment.status is not PaymentStatus.ACCEPTED:
            raise Refused(422, "NOT_REFUNDABLE", f"the payment is {payment.status}")
        if self._ledgers.refunded(payment) + wish.amount_kopecks > payment.amount_kopecks:
            raise Refused(422, "REFUND_EXCEEDS_PAYMENT", "all refunds together are at most the payment")
        refund = self._ledgers.refunds.put(
            Refund(
                refund_id=wish.refund_id,
                payment_id=wish.payment_id,
                order=payment.order,
                amount_kopecks=wish.amount_kopecks,
                status=_R.IN_PROGRESS,
                error_code=None,
                created_at_ms=self._parts.clock.now_ms(),
                script=wish.script or payment.script,
            )
        )
        if not scenario.processing:
            return self.finish(refund, scenario, code=scenario.decline)
        if scenario.final_after_ms is not None:
            data: dict[str, JsonValue] = {"refundId": refund.refund_id, "scenario": scenario.text}
            self._parts.agenda.add(FINISH_REFUND, refund.order, in_ms=scenario.final_after_ms, data=data)
        return refund

    def finish(self, refund: Refund, scenario: Scenario, *, code: str | None) -> Refund:
        """Make a refund final: completed, or declined with a code; tell the partner."""
        status = _R.COMPLETED if code is None else _R.DECLINED
        final = self._ledgers.refunds.put(refund.model_copy(update={"status": status, "error_code": code}))
        if code is None:
            self._ledgers.move(MovementKind.REFUND, final.refund_id, final.order, final.amount_kopecks)
        self._parts.callbacks.announce(refund_news(final), scenario)
        return final

    async def on_finish(self, task: Task) -> Task:
        """Make a refund final that was under way."""
        refund = self._ledgers.refunds.get(str(task.data["refundId"]))
        scenario = parse_scenario(str(task.data["scenario"]))
        if refund is not None and refund.status is _R.IN_PROGRESS:
            self.finish(refund, scenario, code=scenario.decline)
        return task.model_copy(update={"state": "done"})
