"""QP's settlement file, as data: CSV in UTF-8, one line for every payment that came to an end, and every refund.

::

    #QP-SETTLEMENT,1,2026-11-20                                              the day, in Moscow
    order,paymentId,kind,status,amount,currency,fee,occurredAt
    …,PAYMENT,ACCEPTED,30510,RUB,214,2026-11-20T09:15:00.000Z
    #TOTAL,1,30510                                                           lines, kopecks; both over all lines

Amounts are kopecks. A refund's status has REFUND_ in front, so that it is never taken for a payment. This module must
never do I/O, and never hold code.
"""

from typing import Final

from adapters.qp.manifest import MANIFEST
from shared.settlement.layout import Column, Deadlines, Layout, Means, Shape, Tolerances, Value

FEE_BPS: Final = 70
"""What QP keeps of a payment, in hundredths of a per cent."""

SETTLEMENT: Final = Layout(
    psp=MANIFEST.psp,
    shape=Shape.CSV,
    columns={
        Value.REFERENCE: Column("order"),
        Value.TRANSACTION: Column("paymentId"),
        Value.STATUS: Column("status"),
        Value.AMOUNT: Column("amount"),
        Value.CURRENCY: Column("currency"),
        Value.FEE: Column("fee"),
        Value.AT: Column("occurredAt"),
    },
    statuses={
        "ACCEPTED": Means.PAID,
        "DECLINED": Means.FAILED,
        "REVERSED": Means.REVERSED,
        "IN_PROGRESS": Means.NOTHING,
        # Refunds are asked for by nobody here; the line is kept, and says nothing about the top-up.
        "REFUND_COMPLETED": Means.NOTHING,
        "REFUND_DECLINED": Means.NOTHING,
    },
    header="#QP-SETTLEMENT",
    trailer="#TOTAL",
    count=Column(start=1),
    total=Column(start=2),
    tolerances=Tolerances(fee_bps=FEE_BPS, fee_off_minor=1),
    # Nobody knows when a payer pays; what was paid is told by callback at once, and asked for all the same.
    deadlines=Deadlines(answer_s=3_600, line_s=36 * 3_600),
)
