"""The demo from beginning to end; its exit status tells the truth."""

import os
import secrets
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from ops.audit import actor
from ops.client import Client, open_client
from ops.commands.invariants import look, print_report
from ops.console import out
from ops.demo.play import Stage, Tally, play_script
from ops.demo.psp_run import play_psps
from ops.demo.psp_script import write_psp_script
from ops.demo.recon_run import play_reconciliation
from ops.demo.rules_run import play_rules, prepare_routes
from ops.demo.rules_script import write_rules_script
from ops.demo.script import Script, write_script
from ops.demo.view import balances_table, refusals_table, shown, states_line, wrong_balances
from ops.embedded.psps import PSPS
from ops.embedded.services import Stores
from ops.embedded.stack import LedgerChoice, StackPlan, discard, running_stack
from ops.install import install
from ops.keys import NewSecret, create_key
from ops.stores import open_stores
from shared.config import Environment, StoreSettings

SECOND: Final = "ipps2"
"""The second agreement with IPPS: the way out that is taken while the first is paused."""
_PERMISSIONS: Final = {
    "operations": ["P2P_TRANSFER", "ADJUSTMENT", "IPPS_WITHDRAWAL", "THAI_QR_PAY", "QP_TOPUP"],
    "accounts": ["user:*"],
    "open_accounts": True,
    "adjustment": {"max_minor": 100_000_000, "alone_max_minor": 100_000_000},
}


async def demo(*, folder: Path, ledger: LedgerChoice, transfers: int, seed: int) -> bool:
    """Start a mesh, play the script, check everything; return whether every expectation held."""
    console = out()
    started = time.monotonic()
    plan = StackPlan(folder=folder, environ=os.environ, ledger=ledger, clean=True, psps=(*PSPS, SECOND))
    run = f"-{secrets.token_hex(3)}" if plan.external else ""
    script, psp_script = write_script(seed, run=run, transfers=transfers), write_psp_script(seed, run=run)
    rules_script = write_rules_script(run=run)
    keys: list[NewSecret] = []

    async def prepare(stores: Stores) -> None:
        keys.append(await _make_key(stores.settings(), plan.environment))

    console.print(f"starting a clean mesh in {folder}")
    async with running_stack(plan, prepare=prepare, say=console.print) as stack:
        console.print(f"up after {time.monotonic() - started:.1f} s: {stack.url}")
        await prepare_routes(stack)
        async with open_client(url=stack.url, key=keys[0].key, secret=keys[0].secret) as client:
            faults = await _play(console, client, script)
            faults += await play_psps(console, stack, client, psp_script)
            faults += await play_rules(console, stack, client, rules_script)
            faults += await play_reconciliation(console, stack, client, run=run)
        for fault in faults:
            console.print(f"[red]wrong[/] {escape(fault)}", soft_wrap=True)
        report = await look(stack.stores.settings(), nothing_open=True)
        print_report(console, report)
        right = not faults and report.ok
    if right:
        if not plan.external:
            discard(folder)
        console.print(f"[green]every expectation held[/], {time.monotonic() - started:.1f} s in all")
    else:
        console.print(f"[bold red]the demo failed[/]; data and logs are kept in {folder}")
    return right


async def _make_key(settings: StoreSettings, embedded: Environment | None) -> NewSecret:
    await install(settings, embedded=embedded)
    async with open_stores(settings) as stores:
        return await create_key(
            stores.pool,
            settings.keyring(),
            key=f"demo-{secrets.token_hex(3)}",
            owner="the demo",
            permissions=_PERMISSIONS,
            actor=actor(),
        )


async def _play(console: Console, client: Client, script: Script) -> list[str]:
    """Play the script and return every expectation that did not hold."""
    tally = Tally()
    started = time.monotonic()
    with shown(console, tally, len(script.steps)) as view:
        held = await play_script(Stage(client, tally, view.changed), script, view.say)
    taken_s = time.monotonic() - started
    console.print(refusals_table(tally, script))
    console.print(balances_table(held, script.expected_minor))
    console.print(f"{tally.steps_done} intents in {taken_s:.1f} s: {states_line(tally)}")
    if tally.median_ms is not None:
        console.print(f"alone, accepted and settled in one request: median {tally.median_ms:.1f} ms")
    return [*tally.faults, *wrong_balances(held, script.expected_minor)]
