"""IPPS's settlement file out of its books: every movement and every refusal of a day, in the order of their times.

Its layout is `adapters.ipps.settlement_file`, which this module writes without reading it: two hands, so that the one
proves the other.
"""

from adapters.sandbox.ipps.bank import Bank
from adapters.sandbox.ipps.records import MovementKind, TransferStatus
from adapters.sandbox.settlement import Span

FEE_SATANG = 500
ZONE_MINUTES = 7 * 60
_WORDS = {MovementKind.PAYOUT: "SETTLED", MovementKind.REVERSAL: "REVERSED"}


def write_file(bank: Bank, span: Span) -> str:
    """Return the file of a day."""
    rows = [
        (row.at_ms, row.partner_txn_uid, row.txn_no, _WORDS[row.kind], "", row.amount_satang, FEE_SATANG)
        for row in bank.movements.rows()
        if span.covers(row.at_ms)
    ]
    # A refusal is dated by the transfer that was refused. A bar moved nothing and refused nothing yet: it has no line.
    rows += [
        (row.created_at_ms, row.partner_txn_uid, row.txn_no, "REJECTED", row.error_code or "", row.amount_satang, 0)
        for row in bank.transfers.rows()
        if row.status is TransferStatus.REJECTED and span.covers(row.created_at_ms)
    ]
    lines = [f"HIPPS{span.day:%Y%m%d}"]
    total = 0
    for at_ms, uid, txn, word, error, amount, fee in sorted(rows):
        total += amount
        lines.append(
            f"D{uid:<15}{txn:<20}{word:<10}{error[:20]:<20}{amount:015d}THB{fee:011d}{span.local(at_ms):%Y%m%d%H%M%S}"
        )
    lines.append(f"T{len(rows):09d}{total:018d}")
    return "\n".join(lines) + "\n"
