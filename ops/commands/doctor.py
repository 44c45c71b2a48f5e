"""`paymesh doctor`: what is wrong with this mesh, and which command mends it."""

import typer
from rich.console import Console
from rich.text import Text

from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import out, print_json, table
from ops.doctor.findings import Diagnosis, Severity
from ops.doctor.run import examine
from ops.environment import find_settings

_STYLES = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}

EPILOG = example("paymesh doctor", "paymesh doctor --json")


def doctor(*, as_json: Json = False) -> None:
    """Look for everything that is known to go wrong: stores, streams, clocks, schema, PSPs, dead letters, alerts.

    Each finding comes with the command that mends it. Takes two seconds at most, changes nothing, and looks as far as
    it can when a store is down. Exit status 0: nothing but notes.
    """

    async def work() -> Diagnosis:
        return await examine(find_settings())

    diagnosis = run(work())
    if as_json:
        print_json({"ok": diagnosis.ok, "diagnosis": diagnosis})
    else:
        print_diagnosis(out(), diagnosis)
    if not diagnosis.ok:
        raise typer.Exit(EXIT_WRONG)


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Print what was found, then how to mend it, the worst first."""
    rows = [
        [Text(each.severity, style=_STYLES[each.severity]), each.check, each.subject, each.detail]
        for each in diagnosis.findings
    ]
    if rows:
        console.print(table("findings", ["", "check", "subject", "what is wrong"], rows))
    mends = dict.fromkeys(each.mend for each in diagnosis.findings if each.mend)
    if mends:
        console.print(Text("to mend it:", style="bold"))
    for mend in mends:
        console.print(Text(f"  {mend}"), soft_wrap=True)
    if diagnosis.left_out:
        console.print(Text(f"not looked at: {', '.join(diagnosis.left_out)}", style="yellow"), soft_wrap=True)
    word = Text("well", style="green") if diagnosis.ok else Text("not well", style="bold red")
    looked = f": {len(diagnosis.looked_at)} parts looked at in {diagnosis.seconds:.2f} s"
    console.print(Text.assemble("the mesh is ", word, looked))
