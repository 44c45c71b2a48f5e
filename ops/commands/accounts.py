"""`paymesh accounts`: open wallets, list what is open."""

from typing import Annotated

import typer

from ops import accounts
from ops.accounts import AccountRow
from ops.audit import actor
from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import err, out, print_json, table
from ops.environment import find_settings
from ops.stores import open_stores

app = typer.Typer(no_args_is_help=True, help="Accounts: open wallets, list what is open.")


@app.command("open", epilog=example("paymesh accounts open user:alice:THB merchant:shop1:THB"))
def open_(
    names: Annotated[list[str], typer.Argument(help="Account names: user:<id>:<CCY>, merchant:<id>:<CCY>, …")],
    *,
    wait: Annotated[float, typer.Option(help="Seconds to wait until they are open.", min=0, max=600)] = 10.0,
    as_json: Json = False,
) -> None:
    """Ask an orchestrator to open accounts, and wait until they are open."""

    async def work() -> list[str]:
        async with open_stores(find_settings()) as stores:
            await accounts.ask_to_open(stores.pool, stores.redis, names=names, actor=actor())
            return await accounts.wait_open(stores.pool, names, timeout_s=wait)

    missing = run(work())
    if as_json:
        print_json({name: name not in missing for name in names})
    else:
        for name in names:
            out().print(f"{name} {'is asked for, not open yet' if name in missing else 'is open'}")
    if missing:
        err().print("Does an orchestrator run? Asked is asked: it opens them when it does.")
        raise typer.Exit(EXIT_WRONG)


@app.command("list", epilog=example("paymesh accounts list --prefix user: --json"))
def list_(
    *,
    prefix: Annotated[str, typer.Option(help="Only names that begin so.")] = "",
    after: Annotated[str, typer.Option(help="Go on after this name.")] = "",
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=10_000)] = 100,
    as_json: Json = False,
) -> None:
    """List open accounts with what the read model says wallets hold, and what of that can be spent."""

    async def work() -> list[AccountRow]:
        async with open_stores(find_settings()) as stores:
            return await accounts.list_accounts(stores.pool, prefix=prefix, after=after, limit=limit)

    rows = run(work())
    if as_json:
        print_json(rows)
        return
    out().print(
        table(
            None,
            ["account", "balance>", "held>", "available>", "opened by", "opened"],
            [[row.name, row.balance, row.held, row.available, row.opened_by, row.opened_at] for row in rows],
        )
    )
    if len(rows) == limit:
        err().print(f"There may be more: --after {rows[-1].name}")
