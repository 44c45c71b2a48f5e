"""The `paymesh` command: one sub-command per noun, JSON wherever something is printed, exit codes that tell the truth.

0: done. 1: something is wrong, or could not be done. 2: the command was not understood. What is dangerous is a dry
run unless it is given ``--confirm --reason "…"``, and lands in `pm.audit_log`.
"""

import sys

import typer

from ops.commands import (
    accounts,
    alerts,
    dlq,
    doctor,
    drain,
    fees,
    intents,
    invariants,
    keys,
    limits,
    psp,
    recon,
    recon_files,
    recover,
    rules,
    sign,
    stack,
    streams,
    top,
)
from shared import log

_HELP = """Paymesh: pay, prove, look after the mesh.

Exit codes: 0 done; 1 something is wrong, or could not be done; 2 the command was not understood. What is dangerous
only says what it would do unless it is given --confirm --reason "…", and is written to the audit log.
"""

app = typer.Typer(
    name="paymesh",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command(epilog=stack.DEMO_EPILOG)(stack.demo)
app.command(epilog=stack.DEV_EPILOG)(stack.dev)
app.command(epilog=stack.MIGRATE_EPILOG)(stack.migrate)
app.command(epilog=invariants.EPILOG)(invariants.invariants)
app.command(epilog=doctor.EPILOG)(doctor.doctor)
app.command(epilog=drain.EPILOG)(drain.drain)
app.command(epilog=recover.EPILOG)(recover.recover)
app.command(epilog=sign.EPILOG)(sign.sign)
app.command(epilog=top.EPILOG)(top.top)
app.add_typer(keys.app, name="keys")
app.add_typer(accounts.app, name="accounts")
app.add_typer(intents.app, name="intent")
app.add_typer(psp.app, name="psp")
app.add_typer(rules.app, name="rules")
app.add_typer(fees.app, name="fees")
app.add_typer(limits.app, name="limits")
app.add_typer(dlq.app, name="dlq")
app.add_typer(alerts.app, name="alerts")
recon_files.add_to(recon.app)
app.add_typer(recon.app, name="recon")
app.add_typer(streams.app, name="streams")


def main() -> None:
    """Run the command line; what libraries have to say goes to standard error, since answers are for programs."""
    log.configure("paymesh", level="warning", stream=sys.stderr)
    app()


if __name__ == "__main__":
    main()
