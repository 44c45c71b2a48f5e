"""QP's decisions about payments: begun, accepted, declined, taken back. Each is one synchronous step.

A payment follows its own states; its code follows it only as far as the code is still open. This module must never
move money without a `Movement`, nor anything final without telling the partner.
"""

import secrets
from typing import Final

from pydantic import JsonValue

from adapters.sandbox.agenda import Task
from adapters.sandbox.answers import Refused
from adapters.sandbox.parts import Parts
from adapters.sandbox.qp.codes import Codes
from adapters.sandbox.qp.ledgers import Ledgers
from adapters.sandbox.qp.records import MovementKind, Payment, PaymentStatus, Qr, QrStatus, QrType
from adapters.sandbox.qp.telling import payment_news
from adapters.sandbox.scenario import Scenario
from adapters.sandbox.script import parse_scenario

FINISH: Final = "finish"
REVIVE: Final = "revive"
REVERSE: Final = "reverse"
_AMOUNT_OPEN: Final = 10_000
"""What somebody pays who may choose: 100 roubles."""
_P = PaymentStatus


class Payments:
    """The payments in QP's books."""

    def __init__(self, parts: Parts, ledgers: Ledgers, codes: Codes) -> None:
        self._parts = parts
        self._ledgers = ledgers
        self._codes = codes

    def pay(self, qr: Qr, scenario: Scenario, *, amount_kopecks: int | None, force: bool) -> Payment:
        """Pay a code.

        Args:
            qr: the code.
            scenario: whether the payment is under way for a while, declined, reversed, and how that is told.
            amount_kopecks: how much; by default what the scenario or else the code says.
            force: pay even what no bank would let through.

        Raises:
            Refused: 409 NOT_PAYABLE.
        """
        qr = self._codes.current(qr)
        if qr.status is not QrStatus.NEW and not force:
            raise Refused(409, "NOT_PAYABLE", f"the code is {qr.status}")
        wanted = (amount_kopecks, scenario.paid_amount_minor, qr.amount_kopecks)
        payment = self._ledgers.payments.put(
            Payment(
                payment_id="PM" + secrets.token_hex(10).upper(),
                qrc_id=qr.qrc_id,
                order=qr.order,
                amount_kopecks=next((amount for amount in wanted if amount), _AMOUNT_OPEN),
                status=_P.IN_PROGRESS,
                error_code=None,
                created_at_ms=self._parts.clock.now_ms(),
                script=qr.script,
            )
        )
        if qr.status is QrStatus.NEW and qr.qr_type is QrType.DYNAMIC:
            self._codes.change(qr, status=QrStatus.IN_PROGRESS)
        if not scenario.processing:
            return self.finish(payment, scenario, code=scenario.payment_decline)
        if scenario.final_after_ms is not None:
            self._later(FINISH, payment, scenario, scenario.final_after_ms)
        return payment

    def finish(self, payment: Payment, scenario: Scenario, *, code: str | None) -> Payment:
        """Make a payment final: accepted, or declined with a code."""
        status = _P.ACCEPTED if code is None else _P.DECLINED
        final = self._ledgers.payments.put(payment.model_copy(update={"status": status, "error_code": code}))
        self._follow(self._codes.get(final.qrc_id), accepted=code is None)
        if code is None:
            self._ledgers.move(MovementKind.PAYMENT, final.payment_id, final.order, final.amount_kopecks)
            if scenario.reversal_after_ms is not None:
                self._later(REVERSE, final, scenario, scenario.reversal_after_ms)
        elif scenario.revived_after_ms is not None:
            self._later(REVIVE, final, scenario, scenario.revived_after_ms)
        self._parts.callbacks.announce(payment_news(final), scenario)
        return final

    def reverse(self, payment: Payment, scenario: Scenario) -> Payment:
        """Take an accepted payment back."""
        taken_back = self._ledgers.payments.put(payment.model_copy(update={"status": _P.REVERSED}))
        self._ledgers.move(MovementKind.REVERSAL, payment.payment_id, payment.order, payment.amount_kopecks)
        self._parts.callbacks.announce(payment_news(taken_back), scenario)
        return taken_back

    async def on_pay(self, task: Task) -> Task:
        """Pay as the code's scenario said; what comes after the first payment, or too late, takes force."""
        scenario = parse_scenario(str(task.data["scenario"]))
        qr = self._codes.get(str(task.data["qrcId"]))
        for number in range(scenario.payments):
            force = number > 0 or scenario.paid_after_expiry
            if force or qr.status is QrStatus.NEW:
                self.pay(qr, scenario, amount_kopecks=None, force=force)
            qr = self._codes.get(qr.qrc_id)
        return task.model_copy(update={"state": "done"})

    async def carry_on(self, task: Task) -> Task:
        """Do what a scenario put on the agenda, unless the payment has moved on meanwhile."""
        payment = self._ledgers.payments.get(str(task.data["paymentId"]))
        scenario = parse_scenario(str(task.data["scenario"]))
        match task.action, payment:
            case "finish", Payment(status=PaymentStatus.IN_PROGRESS):
                self.finish(payment, scenario, code=scenario.payment_decline)
            case "revive", Payment(status=PaymentStatus.DECLINED):
                self.finish(payment, scenario, code=None)
            case "reverse", Payment(status=PaymentStatus.ACCEPTED):
                self.reverse(payment, scenario)
        return task.model_copy(update={"state": "done"})

    def _follow(self, qr: Qr, *, accepted: bool) -> None:
        """Let a dynamic code follow its payment, if it is still open."""
        if qr.qr_type is QrType.STATIC or qr.status not in (QrStatus.NEW, QrStatus.IN_PROGRESS):
            return
        if accepted:
            self._codes.change(qr, status=QrStatus.PAID)
            return
        declines = qr.declines + 1
        over = declines >= self._parts.contract.terms.decline_tries_max
        status = QrStatus.CANCELLED if over else QrStatus.NEW
        self._codes.current(self._codes.change(qr, status=status, declines=declines))

    def _later(self, action: str, payment: Payment, scenario: Scenario, in_ms: int) -> None:
        data: dict[str, JsonValue] = {"paymentId": payment.payment_id, "scenario": scenario.text}
        self._parts.agenda.add(action, payment.order, in_ms=in_ms, data=data)
