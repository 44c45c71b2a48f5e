"""IPPS's settlement file, as data: fixed width, one line for every movement and refusal of a business day.

::

    H IPPS YYYYMMDD                                                          the day, in Bangkok
    D reference:15 txnNo:20 status:10 errorCode:20 satang:15 currency:3 fee:11 YYYYMMDDHHMMSS
    T lines:9 satang:18                                                      both over all D lines

There are no blanks between the values; texts are padded with blanks on the right, numbers with zeros on the left, and
times are Bangkok's. This module must never do I/O, and never hold code.
"""

from typing import Final

from adapters.ipps.manifest import PSP
from shared.settlement.layout import Column, Deadlines, Layout, Means, Shape, Tolerances, Value

FEE_SATANG: Final = 500
"""What IPPS takes for a transfer that it has made."""

SETTLEMENT: Final = Layout(
    psp=PSP,
    shape=Shape.FIXED,
    encoding="ascii",
    columns={
        Value.REFERENCE: Column(start=1, width=15),
        Value.TRANSACTION: Column(start=16, width=20),
        Value.STATUS: Column(start=36, width=10),
        Value.AMOUNT: Column(start=66, width=15),
        Value.CURRENCY: Column(start=81, width=3),
        Value.FEE: Column(start=84, width=11),
        Value.AT: Column(start=95, width=14),
    },
    statuses={
        "SETTLED": Means.PAID,
        "REJECTED": Means.FAILED,
        "CANCELLED": Means.FAILED,
        "REVERSED": Means.REVERSED,
        "PROCESSING": Means.NOTHING,
    },
    zone_minutes=7 * 60,
    header="HIPPS",
    detail="D",
    trailer="T",
    count=Column(start=1, width=9),
    total=Column(start=10, width=18),
    tolerances=Tolerances(fee_fixed_minor=FEE_SATANG),
    # A transfer that is under way ends within the hour; the file of a day is there by the noon that follows it.
    deadlines=Deadlines(answer_s=3_600, line_s=36 * 3_600),
)
