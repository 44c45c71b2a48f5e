"""`paymesh recover`: the way back after a store was lost, or restored from an older copy."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ops import recovery
from ops.audit import actor
from ops.commands.keys import parse_span
from ops.commands.running import EXIT_WRONG, Confirm, Json, Reason, example, require_confirmed, run
from ops.console import err, out, print_json, table
from ops.environment import find_settings
from ops.recovery import Outlook
from ops.stores import open_stores
from shared import intake

EPILOG = example(
    "paymesh recover", "paymesh recover --confirm --reason 'Redis lost its disk'", "paymesh recover --watch"
)
_LOOK_S = 1.0


def recover(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Wait until the reconciler has caught up.")] = False,
    timeout: Annotated[str, typer.Option(help="How long to watch: 30s, 10m.")] = "10m",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Although the stores agree: less than half a minute was lost.")
    ] = False,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Say which store was lost or restored, and lead the mesh back: new epoch, closed door, questions before payments.

    Start the services afterwards. The door opens by itself once the reconciler has explained every transfer that the
    database may have forgotten; what it cannot explain stays as a critical alert, and keeps it closed.
    Without --confirm it only looks, and the exit status is 1 where a store is at fault.
    """
    if watch:
        _watch(parse_span(timeout).total_seconds(), as_json=as_json)
        return

    async def work() -> tuple[Outlook, bool]:
        async with open_stores(find_settings()) as stores:
            if confirm and reason.strip():
                return await recovery.recover(stores, reason=reason, actor=actor(), anyway=anyway), True
            return await recovery.look(stores), False

    outlook, done = run(work())
    if as_json:
        print_json({"recovered": done, "outlook": outlook})
    else:
        _print(out(), outlook, done=done)
    if done:
        return
    if outlook.refusals:
        raise typer.Exit(EXIT_WRONG)
    if outlook.faults or anyway:
        what = f"raise the epoch to {outlook.epoch}, close the door, and have PSPs asked before anything is paid"
        found = EXIT_WRONG if outlook.faults else 0
        require_confirmed(confirm=confirm, reason=reason, what=what, exit_dry=found)


def _watch(timeout_s: float, *, as_json: bool) -> None:
    async def work() -> bool:
        async with open_stores(find_settings()) as stores:
            loop = asyncio.get_running_loop()
            end_s = loop.time() + timeout_s
            with err().status("the reconciler catches up with the ledger"):
                while any(each.why is intake.Why.RECOVER for each in await intake.closures(stores.pool)):
                    if loop.time() >= end_s:
                        return False
                    await asyncio.sleep(_LOOK_S)
            return True

    caught_up = run(work())
    if as_json:
        print_json({"caught_up": caught_up})
    elif caught_up:
        out().print("the reconciler has caught up: the door is open")
    else:
        out().print("not yet: is a reconciler running, and is an alert open? See `paymesh doctor`.")
        out().print(
            "It opens once every such alert is explained, or closed by whoever looked at it: paymesh alerts list"
        )
    if not caught_up:
        raise typer.Exit(EXIT_WRONG)


def _print(console: Console, outlook: Outlook, *, done: bool) -> None:
    for fault in outlook.faults:
        console.print(Text(f"• {fault}", style="yellow"), soft_wrap=True)
    for refusal in outlook.refusals:
        console.print(Text(f"✗ {refusal}", style="bold red"), soft_wrap=True)
    if not (outlook.faults or outlook.refusals):
        console.print(Text("the stores agree", style="green"))
    rows: list[list[object]] = [
        ["epoch", f"{outlook.identity.epoch} → {outlook.epoch}"],
        ["planned intents, carried out again, their PSPs only asked", outlook.planned],
        ["intents whose PSPs are asked anew", outlook.at_psps],
        ["unsent jobs, which become questions", outlook.unsent],
        ["cancellations sent again", outlook.cancellations if outlook.redis_lost else 0],
    ]
    console.print(table("recovered" if done else "a recovery", ["", "count>"], rows))
    if outlook.redis_lost:
        console.print(
            "What Redis had accepted and no orchestrator had planned yet is lost, and nobody else knows of it: "
            "clients that ask again under the same key are accepted anew.",
            soft_wrap=True,
        )
    if done:
        console.print("Start the services; `paymesh recover --watch` tells when the door is open again.")
