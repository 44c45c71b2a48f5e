"""`paymesh intent`: what one intent can say for itself."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import err, out, print_json, state, table
from ops.dlq.reach import reach_stores
from ops.environment import find_settings
from ops.explain.run import explain as explain_intent
from ops.explain.screen import print_timeline
from ops.intents import IntentRecord, show_intent
from ops.qr import drawn
from ops.stores import open_stores
from shared.states import IntentState
from shared.timeline.story import Timeline

_TOLD = ("alias_of", "error_code", "error_detail", "funds", "channel", "service_key_id", "user_id")

app = typer.Typer(no_args_is_help=True, help="Intents: what one of them can say for itself.")


@app.command(epilog=example("paymesh intent show 0199a1b2-c3d4-7e5f-8a9b-0c1d2e030000"))
def show(
    intent: Annotated[str, typer.Argument(help="The intent's id.", show_default=False)], *, as_json: Json = False
) -> None:
    """Show an intent: state, history, plan, movements, what its PSP said, and whether it is still under way."""

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


@app.command(
    epilog=example("paymesh intent explain 0199a1b2-c3d4-7e5f-8a9b-0c1d2e030000", "paymesh intent explain … --json")
)
def explain(
    intent: Annotated[str, typer.Argument(help="The intent's id.", show_default=False)], *, as_json: Json = False
) -> None:
    """Explain an intent: what happens next, everything that happened and who says so, what it does to accounts.

    Works with the stores that answer, and says what is missing (exit code 1).
    """

    async def work() -> Timeline | None:
        async with reach_stores(find_settings()) as reach:
            return await explain_intent(reach, intent)

    story = run(work())
    if story is None:
        err().print(f"no intent {intent} was ever accepted here")
        raise typer.Exit(EXIT_WRONG)
    if as_json:
        print_json(story)
    else:
        print_timeline(out(), story)
    if story.missing:
        raise typer.Exit(EXIT_WRONG)


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
    _print_psp(console, record)
    _print_next_action(console, row)


def _print_psp(console: Console, record: IntentRecord) -> None:
    """Print our half of the talk with a PSP, and its own."""
    if record.references:
        rows = [
            [one["attempt"], one["psp"], one["reference"], _words(one["psp_ids"]), *_sent(record, one["attempt"])]
            for one in record.references
        ]
        console.print(
            table("at the PSP", ["attempt>", "psp", "our reference", "its ids", "job written", "job sent"], rows)
        )
    if record.results:
        said = [
            [
                one["received_at"],
                one["source"],
                one["action"],
                one["outcome"] + (" (fenced)" if one["fenced"] else " (final)" if one["final"] else ""),
                one["code"],
                one["psp_transaction_id"],
                one["amount_minor"],
                _words(one["summary"]),
            ]
            for one in record.results
        ]
        columns = ["heard", "source", "action", "outcome", "code", "transaction", "minor>", "summary"]
        console.print(table("what the PSP said", columns, said))
    if record.resolutions:
        resolved = [
            [
                one["created_at"],
                one["attempt"],
                one["kind"],
                state(one["state"]),
                one["code"],
                one["amount_minor"],
                one["psp_transaction_id"],
            ]
            for one in record.resolutions
        ]
        columns = ["at", "attempt>", "resolved to", "leads to", "code", "minor>", "transaction"]
        console.print(table("resolution", columns, resolved))
    if record.children:
        rows = [
            [one["id"], one["purpose"], state(one["state"] or "-"), one["amount_minor"], one["psp_transaction_id"]]
            for one in record.children
        ]
        console.print(table("children", ["intent", "purpose", "state", "minor>", "transaction"], rows))


def _print_next_action(console: Console, row: dict[str, Any]) -> None:
    """Print what the payer has to do, with the code to scan where a terminal can show it."""
    action = row.get("next_action")
    if action is None or row["state"] != IntentState.AUTHORIZED:
        return
    expires = datetime.fromtimestamp(action["expires_ms"] / 1000, UTC)
    console.print(f"the payer has to pay a {action['kind']} code before {expires:%Y-%m-%d %H:%M:%S} UTC")
    link, payload = action.get("link"), action.get("qr") or action.get("link")
    if link is not None:
        console.print(link, soft_wrap=True, markup=False)
    code = drawn(console, payload) if payload is not None else None
    if code is not None:
        console.print(code)
    elif payload is not None and payload != link:
        console.print(payload, soft_wrap=True, markup=False)


def _sent(record: IntentRecord, attempt: int) -> tuple[Any, Any]:
    """Return when an attempt's job was written, and when it left the outbox."""
    for job in record.jobs:
        if (job["attempt"], job["action"]) == (attempt, "submit"):
            return job["created_at"], job["sent_at"]
    return None, None


def _words(told: dict[str, str] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (told or {}).items())


def _facts(record: IntentRecord, row: dict[str, Any]) -> list[list[Any]]:
    facts: list[list[Any]] = [["state", state(record.state)], ["accepted", record.accepted_at]]
    told = {name: row.get(name) for name in _TOLD} | (row.get("operation") or {})
    facts += [[name.replace("_", " "), value] for name, value in told.items() if value not in (None, [], {}, False)]
    if record.in_stream:
        facts.append(["stream", "still has its acceptance marker: under way, or a dead letter"])
    return facts
