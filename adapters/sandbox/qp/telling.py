"""What QP tells about codes, payments and refunds: in answers, and in callbacks."""

from typing import Final

from pydantic import JsonValue

from adapters.sandbox.callbacks import News
from adapters.sandbox.clock import iso
from adapters.sandbox.qp.records import Payment, PaymentStatus, Qr, Refund, RefundStatus

CURRENCY: Final = "RUB"
DECLINED: Final = "DECLINED"
"""The error code a callback makes up where a scenario has it claim a decline that never was."""
_P = PaymentStatus
_R = RefundStatus
_CONTRARY: Final = {
    _P.ACCEPTED: _P.DECLINED,
    _P.DECLINED: _P.ACCEPTED,
    _P.IN_PROGRESS: _P.ACCEPTED,
    _P.REVERSED: _P.ACCEPTED,
}


def shown_qr(qr: Qr) -> dict[str, JsonValue]:
    """Write a code."""
    return {
        "qrcId": qr.qrc_id,
        "order": qr.order,
        "qrType": qr.qr_type.value,
        "amount": qr.amount_kopecks,
        "currency": CURRENCY,
        "payload": qr.payload,
        "status": qr.status.value,
        "createdAt": iso(qr.created_at_ms),
        "expiresAt": None if qr.expires_at_ms is None else iso(qr.expires_at_ms),
    }


def shown_payment(payment: Payment, refunded_kopecks: int) -> dict[str, JsonValue]:
    """Write a payment."""
    told = _told_payment(payment, payment.status, payment.amount_kopecks)
    return {**told, "createdAt": iso(payment.created_at_ms), "refunded": refunded_kopecks}


def shown_refund(refund: Refund) -> dict[str, JsonValue]:
    """Write a refund."""
    return {**_told_refund(refund, refund.status, refund.amount_kopecks), "createdAt": iso(refund.created_at_ms)}


def payment_news(payment: Payment) -> News:
    """Return what there is to tell about a payment."""
    return News(
        reference=payment.order,
        status=payment.status,
        earlier=_P.ACCEPTED if payment.status is _P.REVERSED else _P.IN_PROGRESS,
        contrary=_CONTRARY[payment.status],
        amount_minor=payment.amount_kopecks,
        write=lambda status, amount: {"kind": "PAYMENT", **_told_payment(payment, status, amount)},
    )


def refund_news(refund: Refund) -> News:
    """Return what there is to tell about a refund."""
    return News(
        reference=refund.order,
        status=refund.status,
        earlier=_R.IN_PROGRESS,
        contrary=_R.DECLINED if refund.status is _R.COMPLETED else _R.COMPLETED,
        amount_minor=refund.amount_kopecks,
        write=lambda status, amount: {"kind": "REFUND", **_told_refund(refund, status, amount)},
    )


def invented_news(qr: Qr, payment_id: str) -> News:
    """Return what a forger would tell about a code that nobody has paid."""
    payment = Payment(
        payment_id=payment_id,
        qrc_id=qr.qrc_id,
        order=qr.order,
        amount_kopecks=qr.amount_kopecks or 1,
        status=_P.IN_PROGRESS,
        error_code=None,
        created_at_ms=qr.created_at_ms,
    )
    return payment_news(payment)


def _told_payment(payment: Payment, status: str, amount_kopecks: int) -> dict[str, JsonValue]:
    return {
        "paymentId": payment.payment_id,
        "qrcId": payment.qrc_id,
        "order": payment.order,
        "amount": amount_kopecks,
        "currency": CURRENCY,
        "status": str(status),
        "errorCode": (payment.error_code or DECLINED) if status == _P.DECLINED else None,
    }


def _told_refund(refund: Refund, status: str, amount_kopecks: int) -> dict[str, JsonValue]:
    return {
        "refundId": refund.refund_id,
        "paymentId": refund.payment_id,
        "order": refund.order,
        "amount": amount_kopecks,
        "currency": CURRENCY,
        "status": str(status),
        "errorCode": (refund.error_code or DECLINED) if status == _R.DECLINED else None,
    }
