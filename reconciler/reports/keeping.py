"""Keeps reports: yesterday's soon after the day has ended, the week's after its last day; each once, with its SHA-256.

A report that is made again must be the same, byte for byte: one that is not says that what it was made of has been
changed, and is an invariant broken. This module must never replace a report that is kept.
"""

from dataclasses import dataclass
from typing import Final

import structlog

from reconciler.reports.contents import FORMAT, Report
from reconciler.reports.formats import sha256, write_json
from reconciler.reports.periods import Span, day_span, week_span
from reconciler.reports.reading import make_report
from reconciler.reports.statements import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import require

KEPT_MAX: Final = 100
"""How many days one round makes reports of; the next goes on."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A report that was made, and whether it is what is kept under its name; None where nothing is."""

    report: Report
    body: str
    sha256: str
    same: bool | None


async def keep_due(pool: Pool) -> list[str]:
    """Make and keep the reports of periods that have ended and have none; return their names.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach; the next round goes on.
    """
    with database():
        rows = await pool.fetch(statement("days_without_report"), FORMAT, KEPT_MAX)
    spans: dict[str, Span] = {}
    for row in rows:
        day, week = day_span(row["day"]), week_span(row["day"])
        spans[day.name] = day
        if day.last == week.last:
            spans[week.name] = week
    kept = []
    # A week goes before its last day: whoever is killed between the two finds the day still without a report.
    for span in sorted(spans.values(), key=lambda span: (span.last, span.first)):
        report = await make_report(pool, span)
        if await _keep(pool, report):
            kept.append(span.name)
            _log.info("report_kept", period=span.name, holds=report.holds)
        if not report.holds:
            _log.error("report_does_not_add_up", period=span.name)
    return kept


async def compare(pool: Pool, span: Span) -> Kept:
    """Make a report afresh, and compare it with the one that is kept.

    Raises:
        BadInput: with code ``no_such_period``.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    report = await make_report(pool, span)
    body = write_json(report)
    digest = sha256(body)
    with database():
        kept = await pool.fetchval(statement("kept_sha256"), span.kind, span.name, FORMAT)
    return Kept(report, body, digest, None if kept is None else kept == digest)


async def _keep(pool: Pool, report: Report) -> bool:
    require(report.period.complete, f"the report of {report.period.name} is not final")
    body = write_json(report)
    with database():
        made = await pool.fetchval(
            statement("keep_report"), report.period.kind, report.period.name, FORMAT, body, sha256(body)
        )
    return made is not None
