"""A report with something in every section, in currencies of no, two and three digits."""

from collections import defaultdict
from datetime import date, timedelta

from reconciler.reports import totals
from reconciler.reports.contents import Period, Report
from reconciler.reports.flows import Course, Flow, by_account
from reconciler.reports.standing import OpenBreaks, OpenIntents
from reconciler.reports.totals import AccountDay, DayFlow
from shared.ledger.codes import LegCode

FIRST = date(2026, 11, 15)
LAST = date(2026, 11, 28)
EXPONENTS = {"JPY": 0, "KWD": 3, "THB": 2}


def sample_report(*, kind: str = "day", complete: bool = True) -> Report:
    """Return the report of the last of fourteen days."""
    days = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
    flows = [flow for number, day in enumerate(days) for code in EXPONENTS for flow in _flows(day, code, number + 1)]
    lines = _lines(days, flows)
    of_period = [flow for flow in flows if flow.day == LAST]
    balances = totals.balances([line for line in lines if line.day == LAST])
    return Report(
        period=Period(
            kind, "2026-11-28" if kind == "day" else "2026-W48", "Asia/Bangkok", "2026-11-27T17:00:00Z",
            "2026-11-28T17:00:00Z", complete, "2026-11-28T17:00:00Z" if complete else "2026-11-28T09:30:00Z",
        ),
        exponents=EXPONENTS,
        balances=balances,
        operations=totals.operations(of_period),
        psps=totals.psps(of_period, balances),
        fees=totals.fees(of_period),
        trend=totals.trend(days, flows),
        open_intents=(OpenIntents("IN_DOUBT", "IPPS_WITHDRAWAL", "ipps", "THB", 2, 120_000, "2026-11-26T09:12:41Z"),),
        open_breaks=(
            OpenBreaks("critical", "psp_unknown", "qp", "KWD", 0, 1, 150_000),
            OpenBreaks("warning", "psp_missing", "ipps", "", 30, 3, None),
        ),
        checks=totals.checks(balances, of_period),
    )  # fmt: skip


def _flows(day: date, code: str, times: int) -> list[DayFlow]:
    wallets, transit = f"user:*:{code}", f"transit:{code}"
    moves = [
        ("QP_TOPUP", "QP", LegCode.TOPUP_RECEIVE, f"psp:qp:{code}", transit, 12_345 * times),
        ("QP_TOPUP", "QP", LegCode.TOPUP_GIVE, transit, wallets, 12_345 * times),
        ("IPPS_WITHDRAWAL", "IPPS", LegCode.WITHDRAWAL_TAKE, wallets, transit, 4_000),
        ("IPPS_WITHDRAWAL", "IPPS", LegCode.WITHDRAWAL_SEND, transit, f"psp:ipps:{code}", 4_000),
        ("IPPS_WITHDRAWAL", "IPPS", LegCode.FEE_TAKE, wallets, transit, 15),
        ("IPPS_WITHDRAWAL", "IPPS", LegCode.FEE_GIVE, transit, f"fee:house:{code}", 15),
    ]
    return [
        DayFlow(day, Course(kind, channel, leg, debit, credit), Flow(times, amount))
        for kind, channel, leg, debit, credit, amount in moves
    ]


def _lines(days: list[date], flows: list[DayFlow]) -> list[AccountDay]:
    stood: dict[str, int] = defaultdict(int)
    lines = []
    for day in days:
        moved: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for each in flows:
            if each.day == day:
                for name, movement in by_account({each.course: each.flow}).items():
                    moved[name][0] += movement.debits
                    moved[name][1] += movement.credits
        for name, (debits, credits_) in moved.items():
            lines.append(AccountDay(day, name, stood[name], debits, credits_, 0, 0, 0, 0))
            stood[name] += credits_ - debits
    return lines
