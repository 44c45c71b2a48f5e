"""`paymesh limits`: what somebody may still move."""

from typing import Annotated, Any

import typer

from ops.commands.running import Json, example, run
from ops.console import out, print_json, table
from ops.environment import find_settings
from ops.limits import limits_of
from ops.stores import open_stores
from shared.clock import wall_ms

app = typer.Typer(no_args_is_help=True, help="Limits: what somebody may still move.")


@app.command(epilog=example("paymesh limits show user:alice"))
def show(
    holder: Annotated[str, typer.Argument(help="Whose: user:<id> or merchant:<id>.", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Show every limit of a holder with what is used, reserved and left of it, and when it resets."""

    async def work() -> list[dict[str, Any]]:
        async with open_stores(find_settings()) as stores:
            return await limits_of(stores.pool, holder, at_ms=wall_ms())

    documents = run(work())
    if as_json:
        print_json(documents)
        return
    rows: list[list[object]] = []
    for document in documents:
        for limit in document["limits"]:
            title = [document["currency"], f"{limit['rule']} version {limit['version']}"]
            if limit["transaction_max_minor"] is not None:
                rows.append([*title, "at once", "amount", limit["transaction_max_minor"], None, None, None, None])
            rows += [
                [
                    *title,
                    *(each[part] for part in ("period", "measure", "cap", "used", "reserved", "left", "resets_at")),
                ]
                for each in limit["allowances"]
            ]
    columns = ["currency", "rule", "period", "of", "cap>", "used>", "reserved>", "left>", "resets at"]
    out().print(table(holder, columns, rows) if rows else f"nothing limits {holder}")
