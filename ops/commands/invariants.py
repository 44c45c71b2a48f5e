"""`paymesh invariants`: do ledger and database say the same."""

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import err, out, print_json, state, table
from ops.environment import find_settings
from ops.invariants.findings import Advance, Report
from ops.invariants.run import check_invariants
from ops.stores import open_stores
from shared.config import StoreSettings


def invariants(
    *,
    nothing_open: Annotated[
        bool,
        typer.Option(
            "--nothing-open", help="Count unfinished intents, jobs, stream entries and dead letters as wrong."
        ),
    ] = False,
    allow_alerts: Annotated[
        bool, typer.Option("--allow-alerts", help="Only list critical alerts that nobody has closed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that ledger and database say the same, and that no money moved that should not have."""

    async def work() -> Report:
        return await look(find_settings(), nothing_open=nothing_open, allow_alerts=allow_alerts)

    report = run(work())
    if as_json:
        print_json({"ok": report.ok, "report": report})
    else:
        print_report(out(), report)
    if not report.ok:
        raise typer.Exit(EXIT_WRONG)


EPILOG = example("paymesh invariants --nothing-open")


async def look(settings: StoreSettings, *, nothing_open: bool, allow_alerts: bool = False) -> Report:
    """Check every invariant, with a progress bar where somebody watches."""
    console = err()
    async with open_stores(settings) as stores:
        with Progress(
            TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        ) as progress:  # fmt: skip

            def begin(title: str, total: int | None) -> Advance:
                task = progress.add_task(title, total=total)
                return lambda count: progress.advance(task, count)

            return await check_invariants(
                ledger=stores.ledger(),
                pool=stores.pool,
                redis=stores.redis,
                begin=begin,
                nothing_open=nothing_open,
                allow_alerts=allow_alerts,
            )


def print_report(console: Console, report: Report) -> None:
    """Print what was checked, what is open, and every violation that was kept."""
    rows = [
        [
            Text("holds", style="green")
            if check.holds
            else Text(f"{check.violations_total} violated", style="bold red"),
            check.promise,
            check.examined,
        ]
        for check in report.checks
    ]
    console.print(table("invariants", ["", "promise", "examined>"], rows))
    states = Text("  ").join(Text.assemble(state(name), f" {count}") for name, count in report.states.items())
    console.print(Text.assemble("intents: ", states if report.states else "none"))
    console.print(
        f"open: {report.open_intents} intents, {report.unsent_jobs} unsent jobs, "
        f"{report.stream_entries} stream entries, {report.dead_letters} dead letters"
    )
    if report.stale_jobs:
        console.print(f"{report.stale_jobs} jobs of decided intents have been waiting in the outbox for over an hour")
    if report.alerts:
        _print_alerts(console, report)
    for check in report.checks:
        for violation in check.violations:
            console.print(
                Text.assemble((check.name, "red"), f" {violation.subject}: {violation.detail}"), soft_wrap=True
            )
        if check.violations_total > len(check.violations):
            console.print(f"{check.name}: … and {check.violations_total - len(check.violations)} more")


def _print_alerts(console: Console, report: Report) -> None:
    rows = [
        [
            Text(alert.severity, style="bold red" if alert.severity == "critical" else "yellow"),
            alert.kind,
            alert.subject,
            alert.intent_id,
            alert.seen,
            alert.last_at,
        ]
        for alert in report.alerts
    ]
    console.print(table("open alerts", ["", "kind", "subject", "intent", "seen>", "last"], rows))
    if report.alerts_total > len(rows):
        console.print(f"… and {report.alerts_total - len(rows)} more")
