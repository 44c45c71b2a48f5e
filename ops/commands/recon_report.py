"""`paymesh recon report`: what moved on a day or in a week, what stands where, what is still open."""

import io
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import err, out, table
from ops.environment import find_settings
from ops.stores import open_stores
from reconciler.reports.amounts import amount
from reconciler.reports.contents import Report
from reconciler.reports.digest import Digest
from reconciler.reports.formats import write_csv
from reconciler.reports.keeping import Kept, compare
from reconciler.reports.page import write_html
from reconciler.reports.reading import find_span
from reconciler.reports.wording import account_words, age, operation_words
from shared.config import StoreSettings


class ReportFormat(StrEnum):
    """How a report is written."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


EPILOG = example(
    "paymesh recon report",
    "paymesh recon report 2026-W48 --format html --out week.html",
    "paymesh recon report today --json",
)


def report(
    period: Annotated[
        str | None,
        typer.Argument(
            help="A day (2026-11-28), a week (2026-W48) or 'today'; without one, the last day that has ended.",
            show_default=False,
        ),
    ] = None,
    *,
    how: Annotated[ReportFormat, typer.Option("--format", help="How to write it.")] = ReportFormat.TEXT,
    to: Annotated[Path | None, typer.Option("--out", help="Write it to this file.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Report what moved on a business day or in a week; exits 1 if it does not add up, or has changed since."""
    how = ReportFormat.JSON if as_json else how
    made = run(make(find_settings(), period))
    if to is not None:
        to.write_text(written(made, how), newline="")
        err().print(f"{made.report.period.name}: {to}", soft_wrap=True)
    elif how is ReportFormat.TEXT:
        print_report(out(), made)
    else:
        sys.stdout.write(written(made, how))
    if made.same is False:
        err().print(
            f"error: this is not the report of {made.report.period.name} that was kept; "
            "what it is made of has been changed",
            style="red", markup=False, soft_wrap=True,
        )  # fmt: skip
    if made.same is False or not made.report.holds:
        raise typer.Exit(EXIT_WRONG)


async def make(settings: StoreSettings, period: str | None = None) -> Kept:
    """Add up what is new in the ledger, and report on a period by its name.

    Raises:
        BadInput: there is no such period.
        Transient, OutcomeUnknown: a store is out of reach.
    """
    async with open_stores(settings) as stores:
        await Digest(pool=stores.pool, ledger=stores.ledger()).to_the_end()
        return await compare(stores.pool, await find_span(stores.pool, period))


def written(made: Kept, how: ReportFormat) -> str:
    """Return a report in a format."""
    match how:
        case ReportFormat.JSON:
            return made.body
        case ReportFormat.CSV:
            return write_csv(made.report)
        case ReportFormat.HTML:
            return write_html(made.report)
        case ReportFormat.TEXT:
            text = io.StringIO()
            console = Console(width=160, highlight=False, file=text)
            print_report(console, made)
            return text.getvalue()


def print_report(console: Console, made: Kept) -> None:
    """Print a report as tables."""
    report = made.report
    period = report.period
    until = period.ends_at if period.complete else f"{period.counted_to}, not over yet"
    console.print(
        Text(f"{period.kind} {period.name}", style="bold"), f"{period.starts_at} to {until} ({period.time_zone})"
    )

    def money(currency: str, amount_minor: int) -> str:
        return amount(amount_minor, report.exponents.get(currency, 0))

    heads = ["operation", "psp", "", "payments>", "amount>", "fees>", "held>", "given back>"]
    console.print(table("operations", heads, [
        [operation_words(one.operation_type), one.psp or None, one.currency, one.payments,
         *(money(one.currency, figure)
           for figure in (one.amount_minor, one.fees_minor, one.held_minor, one.voided_minor))]
        for one in report.operations
    ]))  # fmt: skip
    console.print(table("balances", ["account", "", "opening>", "debits>", "credits>", "closing>", "held>", "due>"], [
        [account_words(one.account), one.currency,
         *(money(one.currency, figure)
           for figure in (one.opening_minor, one.debits_minor, one.credits_minor, one.closing_minor, one.held_minor,
                          one.due_minor))]
        for one in report.balances
    ]))  # fmt: skip
    if report.fees:
        console.print(table("fees", ["account", "operation", "psp", "", "fees>", "amount>"], [
            [one.account, operation_words(one.operation_type), one.psp or None, one.currency, one.fees,
             money(one.currency, one.fees_minor)]
            for one in report.fees
        ]))  # fmt: skip
    _print_open(console, report)
    for check in report.checks:
        said = Text("holds", style="green") if check.holds else Text(f"off by {check.off_minor}", style="bold red")
        console.print(Text.assemble(said, f"  {check.promise}"))
    console.print(f"sha256 {made.sha256}{'' if made.same is None else ', as kept' if made.same else ', NOT as kept'}")


def _print_open(console: Console, report: Report) -> None:
    if report.open_intents:
        console.print(table("open intents", ["state", "operation", "psp", "", "intents>", "amount>", "oldest"], [
            [one.state, operation_words(one.operation_type), one.psp or None, one.currency, one.intents,
             amount(one.amount_minor, report.exponents.get(one.currency, 0)), one.oldest_at]
            for one in report.open_intents
        ]))  # fmt: skip
    if report.open_breaks:
        console.print(table("open breaks", ["severity", "kind", "psp", "", "age", "breaks>", "difference>"], [
            [one.severity, one.kind, one.psp or None, one.currency, age(one.age_days_min), one.breaks,
             None if one.delta_minor is None
             else amount(one.delta_minor, report.exponents.get(one.currency, 0))]
            for one in report.open_breaks
        ]))  # fmt: skip
