"""QP's tables, and the two things asked of them everywhere: what has been refunded, and who moved money."""

import secrets

from adapters.sandbox.parts import Parts
from adapters.sandbox.qp.records import Movement, MovementKind, Payment, Qr, Refund, RefundStatus


class Ledgers:
    """The books of QP; rows under one order are found together."""

    def __init__(self, parts: Parts) -> None:
        self._clock = parts.clock
        self.qrs = parts.books.table("qr", Qr, key=lambda row: row.qrc_id, group=lambda row: row.order)
        self.payments = parts.books.table(
            "payment", Payment, key=lambda row: row.payment_id, group=lambda row: row.order
        )
        self.refunds = parts.books.table("refund", Refund, key=lambda row: row.refund_id, group=lambda row: row.order)
        self.movements = parts.books.table(
            "movement", Movement, key=lambda row: row.movement_id, group=lambda row: row.order
        )

    def qr_of(self, order: str) -> Qr | None:
        """Return the code of an order."""
        return next(iter(self.qrs.of(order)), None)

    def payments_of(self, qr: Qr) -> list[Payment]:
        """Return a code's payments, oldest first."""
        return [row for row in self.payments.of(qr.order) if row.qrc_id == qr.qrc_id]

    def refunded(self, payment: Payment) -> int:
        """Return the kopecks of a payment that were given back, or are about to be."""
        return sum(
            row.amount_kopecks
            for row in self.refunds.of(payment.order)
            if row.payment_id == payment.payment_id and row.status is not RefundStatus.DECLINED
        )

    def move(self, kind: MovementKind, subject: str, order: str, amount_kopecks: int) -> None:
        """Write down that money moved."""
        self.movements.put(
            Movement(
                movement_id=secrets.token_hex(10),
                kind=kind,
                subject=subject,
                order=order,
                amount_kopecks=amount_kopecks,
                at_ms=self._clock.now_ms(),
            )
        )
