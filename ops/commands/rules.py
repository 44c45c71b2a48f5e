"""`paymesh rules`: fees, limits, velocity, routes, keys and switches, changed by a file that everybody can read."""

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ops import psps
from ops.audit import actor
from ops.commands.running import EXIT_WRONG, Confirm, Json, Reason, example, require_confirmed, run, spoken
from ops.console import err, out, print_json, table
from ops.environment import find_settings
from ops.rules.difference import as_json, shown
from ops.rules.documents import Document, read_file
from ops.rules.entries import SECTIONS
from ops.rules.facts import Facts
from ops.rules.findings import Finding, RulesRefused, told
from ops.rules.history import PastChange, list_changes
from ops.rules.proposal import ROLLED_BACK, Proposal, carry_out, export, propose, propose_rollback
from ops.rules.validation import validate
from ops.stores import OpenStores, open_stores
from shared.errors import BadInput

app = typer.Typer(
    no_args_is_help=True, help="Rules: fees, limits, velocity, routes, keys, pauses; shown before changed."
)

File = Annotated[Path, typer.Argument(help="A file of rules, in YAML.", show_default=False)]
Section = Annotated[
    list[str] | None, typer.Option("--section", help=f"One of {', '.join(SECTIONS)}; repeat.", show_default=False)
]


@app.command(epilog=example("paymesh rules check rules.yaml"))
def check(file: File, *, as_json_: Json = False) -> None:
    """Say everything that is wrong with a file, without asking a mesh.

    What only a mesh knows is not looked at: which PSPs are registered, which wallets are open. Exit status 1: it
    cannot come into force.
    """
    findings: list[Finding] = []
    document: Document | None = None
    with spoken():
        try:
            document = read_file(file)
            findings = validate(document, Facts())
        except RulesRefused as error:
            findings = list(error.findings)
    wrong = any(not finding.warning for finding in findings)
    if as_json_:
        print_json({"ok": not wrong, "findings": findings})
    else:
        _tell(findings, file.name)
        if document is not None and not wrong:
            counts = ", ".join(f"{len(entries)} {name}" for name, entries in document.sections.items())
            out().print(f"{file.name} is sound: {counts or 'nothing'}", markup=False)
    if wrong:
        raise typer.Exit(EXIT_WRONG)


@app.command(epilog=example("paymesh rules apply rules.yaml --confirm --reason 'fees of December'"))
def apply(file: File, *, confirm: Confirm = False, reason: Reason = "", as_json_: Json = False) -> None:
    """Put a file of rules into force: each section that stands in it, as a whole; within a second, everywhere.

    First shows what it changes. Exit status 1: something in the file is wrong, or the rules have changed meanwhile.
    """

    async def work(stores: OpenStores) -> Proposal:
        return await propose(stores.pool, read_file(file), file=file.name)

    _change(work, file.name, confirm=confirm, reason=reason, as_json_=as_json_)


@app.command(epilog=example("paymesh rules rollback 41 --confirm --reason 'fees too high'"))
def rollback(
    change: Annotated[
        int | None, typer.Argument(help="Back to the state right after this change; else the last is undone.", min=1)
    ] = None,
    *,
    section: Section = None,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json_: Json = False,
) -> None:
    """Take changes back: the last one, or all after the one named; itself a change, validated like any other.

    Speaks of keys and switches only if --section names them: a pause is never lifted by the way.
    """

    async def work(stores: OpenStores) -> Proposal:
        return await propose_rollback(stores.pool, change, _sections(section) or ROLLED_BACK)

    _change(work, None, confirm=confirm, reason=reason, as_json_=as_json_)


@app.command("export", epilog=example("paymesh rules export > rules.yaml"))
def export_(*, section: Section = None, as_json_: Json = False) -> None:
    """Print what is in force as a file that `rules apply` takes back unchanged."""

    async def work() -> str:
        chosen = _sections(section) or tuple(SECTIONS)
        async with open_stores(find_settings()) as stores:
            return await export(stores.pool, chosen)

    text = run(work())
    if as_json_:
        print_json(yaml.safe_load(text))
    else:
        typer.echo(text, nl=False)


@app.command(epilog=example("paymesh rules show --section fees"))
def show(*, section: Section = None, as_json_: Json = False) -> None:
    """Show what is in force."""

    async def work() -> str:
        chosen = _sections(section) or tuple(SECTIONS)
        async with open_stores(find_settings()) as stores:
            return await export(stores.pool, chosen)

    said: dict[str, Any] = yaml.safe_load(run(work()))
    if as_json_:
        print_json(said)
        return
    for name, entries in said.items():
        rows = [entries] if isinstance(entries, dict) else entries
        columns = [*dict.fromkeys(field for row in rows for field in row)]
        cells = [[_cell(row.get(column)) for column in columns] for row in rows]
        out().print(table(name, columns or ["none"], cells))


@app.command(epilog=example("paymesh rules history", "paymesh rules history 41"))
def history(
    change: Annotated[int | None, typer.Argument(help="One change, with all that it changed.", min=1)] = None,
    *,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 20,
    as_json_: Json = False,
) -> None:
    """List the changes, newest first: who, when, why, and what."""

    async def work() -> list[PastChange]:
        async with open_stores(find_settings()) as stores:
            return await list_changes(stores.pool, limit=limit, change=change)

    past = run(work())
    if as_json_:
        print_json(past)
    elif change is not None and past:
        out().print(f"change {past[0].id}, {past[0].at:%Y-%m-%d %H:%M:%S}, {past[0].actor}: {past[0].reason}")
        out().print(past[0].diff, markup=False)
    else:
        columns = ["change>", "at", "who", "why", "back to>", "what"]
        rows = [[each.id, each.at, each.actor, each.reason, each.undoes, "\n".join(each.entries)] for each in past]
        out().print(table(None, columns, rows))
    if change is not None and not past:
        err().print(f"there is no change {change}")
        raise typer.Exit(EXIT_WRONG)


def _change(
    proposing: Callable[[OpenStores], Awaitable[Proposal]],
    file: str | None,
    *,
    confirm: bool,
    reason: str,
    as_json_: bool,
) -> None:
    async def work() -> None:
        async with open_stores(find_settings()) as stores:
            try:
                with err().status("trying the rules"):
                    proposal = await proposing(stores)
            except RulesRefused as error:
                if as_json_:
                    print_json({"change": None, "applied": False, "findings": error.findings})
                else:
                    _tell(error.findings, file)
                raise typer.Exit(EXIT_WRONG) from None
            go = confirm and bool(reason.strip())
            if not as_json_:
                _tell(proposal.warnings, file)
                out().print(shown(proposal.edits) if proposal.edits else "nothing to do: it is in force as it stands")
            if not proposal.edits or not go:
                if as_json_:
                    print_json(_document(proposal, None))
                if proposal.edits:
                    what = f"make {len(proposal.edits)} changes, in force within a second"
                    require_confirmed(confirm=confirm, reason=reason, what=what)
                return
            number = await carry_out(stores.pool, proposal, actor=actor(), reason=reason)
            heard = await psps.tell_switches(stores.pool, stores.redis, proposal.edits)
            if as_json_:
                print_json(_document(proposal, number))
            else:
                out().print(f"done: change {number}; to take it back: paymesh rules rollback --confirm --reason …")
            if not heard:
                err().print("Redis did not answer: the orchestrators tell it of the pauses as soon as it does.")

    run(work())


def _document(proposal: Proposal, number: int | None) -> dict[str, Any]:
    return {
        "change": number,
        "applied": number is not None,
        "undoes": proposal.undoes,
        "edits": as_json(proposal.edits),
        "warnings": proposal.warnings,
    }


def _sections(names: list[str] | None) -> tuple[str, ...]:
    unknown = sorted(set(names or ()) - set(SECTIONS))
    if unknown:
        raise BadInput(f"there is no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    return tuple(name for name in SECTIONS if name in (names or ()))


def _tell(findings: Sequence[Finding], file: str | None) -> None:
    for finding in findings:
        style = "yellow" if finding.warning else "red"
        err().print(told(finding, file), style=style, markup=False, soft_wrap=True)


def _cell(value: object) -> str | None:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else None if value is None else str(value)
