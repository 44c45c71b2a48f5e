"""What QP writes down: codes, their payments, refunds, and the movements of money."""

from enum import StrEnum

from adapters.sandbox.books import Record


class QrType(StrEnum):
    """How often a code may be paid."""

    DYNAMIC = "dynamic"
    STATIC = "static"


class QrStatus(StrEnum):
    """Where a code stands."""

    NEW = "NEW"
    IN_PROGRESS = "IN_PROGRESS"
    PAID = "PAID"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class PaymentStatus(StrEnum):
    """Where a payment stands."""

    IN_PROGRESS = "IN_PROGRESS"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    REVERSED = "REVERSED"


class RefundStatus(StrEnum):
    """Where a refund stands."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    DECLINED = "DECLINED"


class MovementKind(StrEnum):
    """Which way money moved."""

    PAYMENT = "PAYMENT"
    REVERSAL = "REVERSAL"
    REFUND = "REFUND"


class Qr(Record):
    """A code, under the partner's order."""

    qrc_id: str
    order: str
    qr_type: QrType
    amount_kopecks: int | None
    payload: str
    status: QrStatus
    created_at_ms: int
    expires_at_ms: int | None
    """None: a static code lasts for ever."""
    ttl_seconds: int | None
    declines: int = 0
    script: str = ""


class Payment(Record):
    """A payment of a code."""

    payment_id: str
    qrc_id: str
    order: str
    amount_kopecks: int
    status: PaymentStatus
    error_code: str | None
    created_at_ms: int
    script: str = ""


class Refund(Record):
    """A refund of a payment, under the partner's own id."""

    refund_id: str
    payment_id: str
    order: str
    amount_kopecks: int
    status: RefundStatus
    error_code: str | None
    created_at_ms: int
    script: str = ""


class Movement(Record):
    """Money that moved, once per row."""

    movement_id: str
    kind: MovementKind
    subject: str
    """The payment or refund it belongs to."""
    order: str
    amount_kopecks: int
    at_ms: int
