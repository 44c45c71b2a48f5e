"""What IPPS writes down: look-ups, transfers, the movements of money, and references it has barred."""

from enum import StrEnum

from adapters.sandbox.books import Record


class TransferStatus(StrEnum):
    """Where a transfer stands."""

    PROCESSING = "PROCESSING"
    SETTLED = "SETTLED"
    REJECTED = "REJECTED"
    REVERSED = "REVERSED"
    CANCELLED = "CANCELLED"
    """Barred before it was seen; such a transfer has no row, only its reference a bar."""


class MovementKind(StrEnum):
    """Which way money moved."""

    PAYOUT = "PAYOUT"
    REVERSAL = "REVERSAL"


class Payable(Record):
    """Who would be paid: a proxy's own bank and masked name; `amount_satang` is the only amount that will do."""

    proxy_type: str
    proxy_value: str
    bank_code: str
    account_name_masked: str
    amount_satang: int | None


class Lookup(Record):
    """One look-up; may be used until it expires."""

    lookup_ref: str
    payable: Payable
    expires_at_ms: int
    script: str


class Transfer(Record):
    """One transfer. Two may share a reference where the fence lets a repeated one pay again."""

    txn_no: str
    partner_txn_uid: str
    lookup_ref: str
    proxy_type: str
    proxy_value: str
    amount_satang: int
    status: TransferStatus
    error_code: str | None
    created_at_ms: int
    visible_at_ms: int
    """Inquiries do not find it before."""
    script: str


class Movement(Record):
    """Money that moved, once per row."""

    movement_id: str
    kind: MovementKind
    txn_no: str
    partner_txn_uid: str
    amount_satang: int
    at_ms: int


class Bar(Record):
    """A reference that will never pay."""

    partner_txn_uid: str
    at_ms: int
