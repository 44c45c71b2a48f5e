"""`paymesh intent`: what one intent can say for itself."""

from typing import Annotated, Any

import typer
from rich.console import Console

from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import err, out, print_json, state, table
from ops.environment import find_settings
from ops.intents import IntentRecord, show_intent
from ops.stores import open_stores

_TOLD = ("alias_of", "error_code", "error_detail", "funds", "channel", "service_key_id", "user_id")

app = typer.Typer(no_args_is_help=True, help="Intents: what one of them can say for itself.")


@app.callback()
def intents() -> None:
    """Keep `show` a command of its own."""


@app.command(epilog=example("paymesh intent show 0199a1b2-c3d4-7e5f-8a9b-0c1d2e030000"))
def show(
    intent: Annotated[str, typer.Argument(help="The intent's id.", show_default=False)], *, as_json: Json = False
) -> None:
    """Show an intent: state, history, plan, movements, and whether it is still under way."""

    async def work() -> IntentRecord | None:
        async with open_stores(find_settings()) as stores:
            return await show_intent(stores.pool, stores.redis, intent)

    record = run(work())
    if record is None:
        err().print(f"no intent {intent} was ever accepted here")
        raise typer.Exit(EXIT_WRONG)
    if as_json:
        print_json(record)
    else:
        _print(out(), record)


def _print(console: Console, record: IntentRecord) -> None:
    row = record.row or {}
    console.print(table(f"intent {record.id}", ["", ""], _facts(record, row)))
    if record.events:
        steps = [[step["at"], step["from_state"], state(step["to_state"]), step["detail"]] for step in record.events]
        console.print(table("history", ["at", "from", "to", "detail"], steps))
    for attempt in record.attempts:
        legs = [[number, *leg] for number, leg in enumerate(attempt["plan"].get("legs", []))]
        burned = " (burned)" if attempt["burned_at"] else ""
        console.print(
            table(f"plan of attempt {attempt['attempt']}{burned}", ["leg>", "debit", "credit", "minor>", "code>"], legs)
        )
    if record.movements:
        moves = [[move["at"], move["account"], move["amount_minor"], move["transfer_id"]] for move in record.movements]
        console.print(table("movements", ["at", "account", "minor>", "transfer"], moves))


def _facts(record: IntentRecord, row: dict[str, Any]) -> list[list[Any]]:
    facts: list[list[Any]] = [["state", state(record.state)], ["accepted", record.accepted_at]]
    told = {name: row.get(name) for name in _TOLD} | (row.get("operation") or {})
    facts += [[name.replace("_", " "), value] for name, value in told.items() if value not in (None, [], {}, False)]
    if record.in_stream:
        facts.append(["stream", "still has its acceptance marker: under way, or a dead letter"])
    return facts
