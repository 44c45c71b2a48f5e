"""From flows and days to the totals of a report, and the checks that prove them. Pure.

The checks compare two independent sums: what the accounts did, and what the flows say. This module must never round
and never leave a leg out; a code that it does not know still moves balances, and shows up in the check on transit.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from reconciler.reports.contents import Balance, Check, FeeTotal, OperationTotal, PspTotal, Trend
from reconciler.reports.flows import Course, Flow, by_account
from reconciler.reports.standing import INTERNAL, psp_of
from shared.accounts import AccountKind
from shared.ledger.codes import LegCode

PAYERS: Final = frozenset({
    LegCode.P2P_PAY, LegCode.ADJUSTMENT_TAKE, LegCode.WITHDRAWAL_TAKE, LegCode.TOPUP_RECEIVE,
    LegCode.LATE_CREDIT_RECEIVE, LegCode.REVERSAL_TAKE, LegCode.SUSPENSE_TAKE,
})  # fmt: skip
"""The legs by which payments are counted: one a payment."""


@dataclass(frozen=True, slots=True)
class AccountDay:
    """A line of `pm.ledger_day`."""

    day: date
    account: str
    opening: int
    debits: int
    credits: int
    opening_held: int
    held: int
    opening_due: int
    due: int


@dataclass(frozen=True, slots=True)
class DayFlow:
    """A line of `pm.ledger_flow`."""

    day: date
    course: Course
    flow: Flow


def balances(lines: Iterable[AccountDay]) -> tuple[Balance, ...]:
    """Return every account over the days, by currency and name; an account opens on its first line."""
    by_name: dict[str, list[AccountDay]] = defaultdict(list)
    for line in sorted(lines, key=lambda line: (currency_of(line.account), line.account, line.day)):
        by_name[line.account].append(line)
    return tuple(
        Balance(
            account=name,
            currency=currency_of(name),
            opening_minor=days[0].opening,
            debits_minor=sum(day.debits for day in days),
            credits_minor=sum(day.credits for day in days),
            closing_minor=days[-1].opening + days[-1].credits - days[-1].debits,
            held_minor=days[-1].opening_held + days[-1].held,
            due_minor=days[-1].opening_due + days[-1].due,
        )
        for name, days in by_name.items()
    )


def operations(flows: Sequence[DayFlow]) -> tuple[OperationTotal, ...]:
    """Return what was settled, held and given back, by PSP, operation and currency."""
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * 7)
    for each in flows:
        course, flow = each.course, each.flow
        line = sums[psp_of(course.channel), course.operation_type, currency_of(course.debit)]
        if course.code in PAYERS:
            counted = (flow.moved, flow.moved_minor, 0, flow.held, flow.held_minor, flow.voided, flow.voided_minor)
            line[:] = [had + more for had, more in zip(line, counted, strict=True)]
        elif course.code == LegCode.FEE_GIVE:
            line[2] += flow.moved_minor
    return tuple(OperationTotal(*key, *sums[key]) for key in sorted(sums))


def psps(flows: Sequence[DayFlow], lines: Sequence[Balance]) -> tuple[PspTotal, ...]:
    """Return our money at every PSP, as money that we have: the other side of the ledger's balance."""
    paid_in: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    paid_out: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for each in flows:
        for side, name in ((paid_in, each.course.debit), (paid_out, each.course.credit)):
            side[name][0] += each.flow.moved
            side[name][1] += each.flow.moved_minor
    found = []
    for line in lines:
        if kind_of(line.account) == AccountKind.PSP:
            (times_in, in_minor), (times_out, out_minor) = paid_in[line.account], paid_out[line.account]
            found.append(
                PspTotal(
                    psp=line.account.split(":")[1],
                    currency=line.currency,
                    opening_minor=-line.opening_minor,
                    paid_in=times_in,
                    paid_in_minor=in_minor,
                    paid_out=times_out,
                    paid_out_minor=out_minor,
                    closing_minor=-line.closing_minor,
                )
            )
    return tuple(found)


def fees(flows: Sequence[DayFlow]) -> tuple[FeeTotal, ...]:
    """Return what every fee account got, by operation and PSP."""
    sums: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for each in flows:
        course = each.course
        if course.code == LegCode.FEE_GIVE and each.flow.moved:
            key = (course.credit, course.operation_type, psp_of(course.channel), currency_of(course.credit))
            sums[key][0] += each.flow.moved
            sums[key][1] += each.flow.moved_minor
    return tuple(FeeTotal(*key, *sums[key]) for key in sorted(sums))


def trend(days: Sequence[date], flows: Sequence[DayFlow]) -> tuple[Trend, ...]:
    """Return every day's volume in every currency that any of the days moved; days without any stand at zero."""
    sums: dict[tuple[str, date], list[int]] = defaultdict(lambda: [0] * 4)
    for each in flows:
        course, moved_minor = each.course, each.flow.moved_minor
        line = sums[currency_of(course.debit), each.day]
        if kind_of(course.debit) == AccountKind.PSP:
            line[0] += moved_minor
        elif kind_of(course.credit) == AccountKind.PSP:
            line[1] += moved_minor
        elif course.code in PAYERS and psp_of(course.channel) == INTERNAL:
            line[2] += moved_minor
        elif course.code == LegCode.FEE_GIVE:
            line[3] += moved_minor
    currencies = sorted({currency for (currency, _), line in sums.items() if any(line)})
    return tuple(
        Trend(day.isoformat(), currency, *sums[currency, day]) for currency in currencies for day in sorted(days)
    )


def checks(lines: Sequence[Balance], flows: Sequence[DayFlow]) -> tuple[Check, ...]:
    """Prove the figures against each other."""
    closing: dict[str, int] = defaultdict(int)
    for line in lines:
        closing[line.currency] += line.closing_minor
    moved = [line.closing_minor - line.opening_minor - line.credits_minor + line.debits_minor for line in lines]
    transit = [
        figure
        for line in lines
        if kind_of(line.account) == AccountKind.TRANSIT
        for figure in (line.opening_minor, line.closing_minor, line.held_minor - line.due_minor)
    ]
    return (
        _check("all balances of a currency add up to nothing", closing.values()),
        _check("every account closes at what it opened with and what moved", moved),
        _check("what the accounts say moved is what the operations moved", _differences(lines, flows)),
        _check("every transit account stands at zero, and holds as much as is due to it", transit),
        _check("every operation leaves transit as it found it", _through_transit(flows)),
    )


def currency_of(account: str) -> str:
    """Return the currency that an account's name ends in."""
    return account.rpartition(":")[2]


def kind_of(account: str) -> str:
    """Return the kind that an account's name begins with."""
    return account.partition(":")[0]


def _check(promise: str, differences: Iterable[int]) -> Check:
    off = sum(abs(difference) for difference in differences)
    return Check(promise, off == 0, off)


def _differences(lines: Sequence[Balance], flows: Sequence[DayFlow]) -> Iterable[int]:
    said: dict[str, int] = defaultdict(int)
    for each in flows:
        for name, movement in by_account({each.course: each.flow}).items():
            said[f"debits of {name}"] += movement.debits
            said[f"credits of {name}"] += movement.credits
    for line in lines:
        said[f"debits of {line.account}"] -= line.debits_minor
        said[f"credits of {line.account}"] -= line.credits_minor
    return said.values()


def _through_transit(flows: Sequence[DayFlow]) -> Iterable[int]:
    left: dict[tuple[str, str, str], int] = defaultdict(int)
    for each in flows:
        course = each.course
        for name, sign in ((course.debit, -1), (course.credit, 1)):
            if kind_of(name) == AccountKind.TRANSIT:
                left[course.operation_type, course.channel, name] += sign * each.flow.moved_minor
    return left.values()
