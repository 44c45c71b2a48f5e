"""`paymesh fees`: what payments cost, tried before anybody pays it."""

from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from ops.commands.keys import parse_span
from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import err, out, print_json, table
from ops.environment import find_settings
from ops.rules.books import book_of
from ops.rules.documents import read_file
from ops.rules.facts import Facts
from ops.rules.fee_cases import Outcome, read_cases, try_cases
from ops.rules.findings import RulesRefused, refuse_faults, told
from ops.rules.replay import OTHERS, Tally, present_fees, replay
from ops.rules.validation import validate
from ops.stores import open_stores
from shared.clock import wall_ms
from shared.money import Money, currency

app = typer.Typer(no_args_is_help=True, help="Fees: tried on cases, and on what has been paid.")


@app.command("test", epilog=example("paymesh fees test cases.yaml", "paymesh fees test cases.yaml --rules rules.yaml"))
def hold_against(
    file: Annotated[Path, typer.Argument(help="A file of cases, in YAML; see docs/rules.md.", show_default=False)],
    *,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="Ask this file of rules instead of a mesh.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold cases of payments against the fees in force, or those of a file. Exit status 1: one is not as expected."""

    async def work() -> list[Outcome]:
        try:
            cases = read_cases(file)
            if rules is not None:
                document = read_file(rules)
                refuse_faults(validate(document, Facts()), rules.name)
                entries = {
                    name: [(placed.entry, 1) for placed in document.entries(name)] for name in ("business", "fees")
                }
                return try_cases(cases, book_of(entries), now=datetime.now(UTC))
        except RulesRefused as error:
            raise _refused(error, as_json=as_json) from None
        async with open_stores(find_settings()) as stores:
            return try_cases(cases, book_of(await present_fees(stores.pool)), now=datetime.now(UTC))

    outcomes = run(work())
    wrong = [outcome for outcome in outcomes if not outcome.holds]
    if as_json:
        print_json({"ok": not wrong, "cases": [{**asdict(each), "holds": each.holds} for each in outcomes]})
    else:
        out().print(table(None, ["case", "line>", "fees", "payer pays>", "payee gets>", ""], map(_cells, outcomes)))
        out().print(f"{len(outcomes) - len(wrong)} of {len(outcomes)} cases are as expected")
    if wrong:
        raise typer.Exit(EXIT_WRONG)


@app.command(epilog=example("paymesh fees diff rules.yaml --since 7d"))
def diff(
    new: Annotated[Path, typer.Argument(help="A file of rules, in YAML.", show_default=False)],
    *,
    since: Annotated[str, typer.Option(help="How far back: 30m, 24h, 7d.")] = "7d",
    top: Annotated[int, typer.Option(help="How many of those who bear most of the difference.", min=1, max=1000)] = 10,
    as_json: Json = False,
) -> None:
    """Replay stored intents by the fees of a file and by those in force; says who would pay what difference.

    Reads only. Exit status 1: the file is wrong.
    """

    async def work() -> Tally:
        span = parse_span(since)
        try:
            document = read_file(new)
            refuse_faults(validate(document, Facts()), new.name)
        except RulesRefused as error:
            raise _refused(error, as_json=as_json) from None
        now_ms = wall_ms()
        with ExitStack() as shown:
            progress = shown.enter_context(
                Progress(
                    TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=err(),
                    transient=True, disable=not err().is_terminal,
                )
            )  # fmt: skip
            task = progress.add_task("replaying", total=1.0)
            async with open_stores(find_settings()) as stores:
                return await replay(
                    stores.pool,
                    document,
                    since_ms=now_ms - round(span.total_seconds() * 1000),
                    until_ms=now_ms,
                    tell=lambda done: progress.update(task, completed=done),
                )

    tally = run(work())
    if as_json:
        print_json(_document(tally, top))
    else:
        _print(tally, top)


def _refused(error: RulesRefused, *, as_json: bool) -> typer.Exit:
    if as_json:
        print_json({"ok": False, "findings": error.findings})
    for finding in error.findings:
        err().print(told(finding, error.file), style="red", markup=False, soft_wrap=True)
    return typer.Exit(EXIT_WRONG)


def _cells(outcome: Outcome) -> list[object]:
    found = outcome.found
    fees = found.get("fees")
    said = "\n".join(f"{rule} {minor}" for rule, minor in fees.items()) if isinstance(fees, dict) else None
    verdict = Text("as expected", style="green") if outcome.holds else Text("\n".join(outcome.differences), style="red")
    refused = found.get("error")
    costs = said if refused is None else f"refused by {refused}"
    return [outcome.case, outcome.line, costs, found.get("payer_pays_minor"), found.get("payee_gets_minor"), verdict]


def _print(tally: Tally, top: int) -> None:
    rows = [
        [
            operation, cell.intents, cell.changed, _money(cell.before_minor, code), _money(cell.after_minor, code),
            _signed(cell.after_minor - cell.before_minor, code),
        ]
        for (operation, code), cell in sorted(tally.cells.items())
    ]  # fmt: skip
    columns = ["operation", "intents>", "changed>", "fees now>", "fees then>", "difference>"]
    out().print(table(f"{tally.changed} of {tally.intents} intents would cost something else", columns, rows))
    bearers = [[who, _signed(minor, code)] for who, code, minor in tally.top(top)]
    if bearers:
        out().print(table(f"who would bear it, top {top} of {len(tally.bearers)}", ["who", "difference>"], bearers))
    for when, refused in (("the rules in force", tally.refused_before), ("the file", tally.refused_after)):
        for rule, number in sorted(refused.items()):
            out().print(f"{number} intents would be refused by {rule} of {when}", style="yellow", markup=False)
    if any(who == OTHERS for who, _ in tally.bearers):
        err().print("There were too many to keep apart; the rest is summed up as others.")


def _document(tally: Tally, top: int) -> dict[str, Any]:
    return {
        "intents": tally.intents,
        "changed": tally.changed,
        "totals": [
            {"operation_type": operation, "currency": code, **asdict(cell),
             "difference_minor": cell.after_minor - cell.before_minor}
            for (operation, code), cell in sorted(tally.cells.items())
        ],
        "bearers": [
            {"holder": who, "currency": code, "difference_minor": minor} for who, code, minor in tally.top(top)
        ],
        "bearers_total": len(tally.bearers),
        "refused_before": dict(tally.refused_before),
        "refused_after": dict(tally.refused_after),
    }  # fmt: skip


def _money(minor: int, code: str) -> str:
    return str(Money(minor, currency(code)))


def _signed(minor: int, code: str) -> str:
    return f"{'+' if minor > 0 else ''}{_money(minor, code)}"
