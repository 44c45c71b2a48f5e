"""Reads the figures of a period and makes the report of it: the same for ever, once the period has ended.

Everything comes from the digest's tables, whose cost does not grow with payments. This module must never read the
ledger, and never write.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import asyncpg

from reconciler.reports import totals
from reconciler.reports.contents import Period, Report
from reconciler.reports.days import moment
from reconciler.reports.flows import Course, Flow
from reconciler.reports.periods import Span, day_span, parse_span
from reconciler.reports.standing import Standing, look, read_standing, written
from reconciler.reports.statements import Connection, statement
from reconciler.reports.totals import AccountDay, DayFlow
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput
from shared.money import CURRENCIES

TODAY: Final = "today"
TREND_DAYS: Final = 14
"""How many days the trend of a day's report goes back; a week's shows as many."""


async def make_report(pool: Pool, span: Span) -> Report:
    """Return the report of a period, or of what has passed of it.

    Raises:
        BadInput: with code ``no_such_period``: it has not begun, or ended before the ledger did.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    since = min(span.first, span.last - timedelta(days=TREND_DAYS - 1))
    with database():
        # One snapshot, so that a digest at work cannot come between two of these reads.
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            days = await connection.fetch(statement("days"), since, span.last)
            of_period = [row for row in days if row["day"] >= span.first]
            if not of_period:
                raise BadInput(f"the ledger has no days in {span.name} as yet", code="no_such_period")
            lines = await connection.fetch(statement("account_days"), span.first, span.last)
            rows = await connection.fetch(statement("flows"), since, span.last)
            standing = await _standing(connection, of_period[-1])
    flows = [_flow(row) for row in rows]
    return _report(span, of_period, [row["day"] for row in days], [_line(row) for row in lines], flows, standing)


async def find_span(pool: Pool, name: str | None) -> Span:
    """Return a period by its name; ``today`` is the day that is open by the ledger's clock.

    Without a name it is the last day that has ended, or today where none has.

    Raises:
        BadInput: with code ``bad_period``: it is no name of one; with code ``no_such_period``: there are no days yet.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    if name not in (None, TODAY):
        return parse_span(str(name))
    with database():
        days = await pool.fetch(statement("last_days"))
    if not days:
        raise BadInput("the ledger has no days as yet", code="no_such_period")
    return day_span(days[0]["day"] if name == TODAY else days[-1]["day"])


async def _standing(connection: Connection, last: asyncpg.Record) -> Standing | None:
    if last["closed_at"] is not None:
        return read_standing(last["standing"])
    return await look(connection, datetime.now(UTC))


def _report(
    span: Span,
    of_period: Sequence[asyncpg.Record],
    trend_days: Sequence[date],
    lines: Sequence[AccountDay],
    flows: Sequence[DayFlow],
    standing: Standing | None,
) -> Report:
    in_period = [each for each in flows if each.day >= span.first]
    balances = totals.balances(lines)
    operations = totals.operations(in_period)
    trend = totals.trend(trend_days, flows)
    open_intents = None if standing is None else standing.intents
    used = {line.currency for line in balances} | {line.currency for line in trend}
    used |= {line.currency for line in (standing.intents if standing else ())}
    used |= {line.currency for line in (standing.breaks if standing else ())}
    return Report(
        period=_period(span, of_period),
        exponents={code: CURRENCIES[code].exponent for code in sorted(used) if code in CURRENCIES},
        balances=balances,
        operations=operations,
        psps=totals.psps(in_period, balances),
        fees=totals.fees(in_period),
        trend=trend,
        open_intents=open_intents,
        open_breaks=None if standing is None else standing.breaks,
        checks=totals.checks(balances, in_period),
    )


def _period(span: Span, days: Sequence[asyncpg.Record]) -> Period:
    first, last = days[0], days[-1]
    complete = last["day"] == span.last and last["closed_at"] is not None
    ends = moment(last["ends_ns"])
    return Period(
        kind=span.kind,
        name=span.name,
        time_zone=last["time_zone"],
        starts_at=written(moment(first["starts_ns"])),
        ends_at=written(ends),
        complete=complete,
        counted_to=written(ends if complete else min(ends, moment(last["walked_ns"]))),
    )


def _line(row: asyncpg.Record) -> AccountDay:
    day, account, *figures = row.values()
    return AccountDay(day, account, *(int(figure) for figure in figures))


def _flow(row: asyncpg.Record) -> DayFlow:
    day, kind, channel, code, debit, credit, *figures = row.values()
    return DayFlow(day, Course(kind, channel, code, debit, credit), Flow(*(int(figure) for figure in figures)))
