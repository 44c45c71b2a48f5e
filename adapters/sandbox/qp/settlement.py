"""QP's settlement file out of its books: every payment and refund that came to an end on a day, in order of time.

Its layout is `adapters.qp.settlement_file`, which this module writes without reading it: two hands, so that the one
proves the other.
"""

from adapters.sandbox.clock import iso
from adapters.sandbox.qp.ledgers import Ledgers
from adapters.sandbox.qp.records import MovementKind, PaymentStatus
from adapters.sandbox.settlement import Span

FEE_BPS = 70
ZONE_MINUTES = 3 * 60
_WORDS = {
    MovementKind.PAYMENT: ("PAYMENT", "ACCEPTED"),
    MovementKind.REVERSAL: ("PAYMENT", "REVERSED"),
    MovementKind.REFUND: ("REFUND", "REFUND_COMPLETED"),
}


def write_file(ledgers: Ledgers, span: Span) -> str:
    """Return the file of a day."""
    rows = [
        (row.at_ms, row.order, row.subject, *_WORDS[row.kind], row.amount_kopecks)
        for row in ledgers.movements.rows()
        if span.covers(row.at_ms)
    ]
    rows += [
        (row.created_at_ms, row.order, row.payment_id, "PAYMENT", "DECLINED", row.amount_kopecks)
        for row in ledgers.payments.rows()
        if row.status is PaymentStatus.DECLINED and span.covers(row.created_at_ms)
    ]
    lines = [f"#QP-SETTLEMENT,1,{span.day.isoformat()}", "order,paymentId,kind,status,amount,currency,fee,occurredAt"]
    for at_ms, order, subject, kind, word, amount in sorted(rows):
        fee = (amount * FEE_BPS + 5_000) // 10_000 if word == "ACCEPTED" else 0
        lines.append(f"{order},{subject},{kind},{word},{amount},RUB,{fee},{iso(at_ms)}")
    lines.append(f"#TOTAL,{len(rows)},{sum(row[-1] for row in rows)}")
    return "\n".join(lines) + "\n"
