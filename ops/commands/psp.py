"""`paymesh psp`: who carries money in and out, and whether they may just now."""

from dataclasses import asdict
from typing import Annotated

import typer

from ops import psps
from ops.audit import actor
from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import err, out, print_json, table
from ops.environment import find_settings
from ops.psps import PspRow, Registered, Switched, find_layout, find_manifest
from ops.stores import open_stores
from ops.top.look import Watcher
from ops.top.psp_status import psp_status, sheet
from ops.top.reach import reach
from ops.top.rows import View
from shared.streams.control import WHOLE_PSP

app = typer.Typer(no_args_is_help=True, help="PSPs: what they promise, whether they are paused.")

PspId = Annotated[str, typer.Argument(help="The PSP's id, such as ipps.", show_default=False)]
Why = Annotated[str, typer.Option("--reason", help="Why; lands in the audit log.", show_default=False)]
Operation = Annotated[str | None, typer.Option(help="One operation type only; else everything.", show_default=False)]


@app.command(epilog=example("paymesh psp register ipps"))
def register(
    adapter: Annotated[
        str, typer.Argument(help="Folder of the adapter, or a module that holds its MANIFEST.", show_default=False)
    ],
    *,
    as_json: Json = False,
) -> None:
    """Register what an adapter promises, with the routes, accounts and mark it needs; safe to repeat."""

    async def work() -> Registered:
        manifest, layout = find_manifest(adapter), find_layout(adapter)
        async with open_stores(find_settings()) as stores:
            return await psps.register(stores, manifest, actor=actor(), settlement=layout)

    done = run(work())
    if as_json:
        print_json(done)
        return
    out().print(f"{done.psp} is {'registered' if done.changed else 'registered already'}, version {done.version}")
    for operation in done.routes:
        out().print(f"routed {operation}")


@app.command("list", epilog=example("paymesh psp list --json"))
def list_(*, as_json: Json = False) -> None:
    """List the PSPs: what they offer, what is paused, how their breakers stand.

    Where Redis does not answer, what PostgreSQL knows is shown, and the exit status is 1.
    """

    async def work() -> list[PspRow]:
        async with open_stores(find_settings()) as stores:
            return await psps.list_psps(stores.pool, stores.redis)

    rows = run(work())
    if as_json:
        print_json(rows)
    else:
        columns = ["psp", "version>", "operations", "fence", "paused", "breaker", "outbox>"]
        out().print(table(None, columns, [_cells(row) for row in rows]))
    if any(row.breaker is None for row in rows):
        err().print("Redis did not answer: how the breakers stand is not known")
        raise typer.Exit(EXIT_WRONG)


@app.command(epilog=example("paymesh psp status ipps"))
def status(psp: PspId, *, as_json: Json = False) -> None:
    """Show how a PSP is just now: kill switch, breaker, calls, answers, outbox, streams, dead letters.

    Where one store does not answer the other's half is shown, and the exit status is 1.
    """

    async def work() -> View:
        async with reach(find_settings()) as stores:
            return await Watcher(stores).once()

    view = run(work())
    found = psp_status(view, psp)
    if found is not None and as_json:
        print_json({**asdict(found), "error_rate": found.psp.error_rate})
    elif found is not None:
        out().print(sheet(found))
    for fault in view.unreached:
        err().print(f"{fault.store} did not say: {fault.what} ({fault.error})", markup=False, soft_wrap=True)
    if found is None:
        err().print(f"no PSP {psp} was found; see `paymesh psp list`", markup=False)
    if found is None or view.unreached:
        raise typer.Exit(EXIT_WRONG)


@app.command(epilog=example("paymesh psp pause ipps --operation IPPS_WITHDRAWAL --reason 'PSP reports double payouts'"))
def pause(psp: PspId, *, reason: Why, operation: Operation = None, as_json: Json = False) -> None:
    """Stop sending anything to a PSP, or one operation, within a second; what waits goes on waiting."""

    async def work() -> Switched:
        async with open_stores(find_settings()) as stores:
            return await psps.pause(
                stores.pool, stores.redis, psp=psp, operation=operation or WHOLE_PSP, reason=reason, actor=actor()
            )

    _show(run(work()), "paused", "paused already; the reason is the new one", as_json=as_json)


@app.command(epilog=example("paymesh psp resume ipps --operation IPPS_WITHDRAWAL --reason 'PSP confirms the fix'"))
def resume(psp: PspId, *, reason: Why, operation: Operation = None, as_json: Json = False) -> None:
    """Take a pause back; what waited goes on."""

    async def work() -> Switched:
        async with open_stores(find_settings()) as stores:
            return await psps.resume(
                stores.pool, stores.redis, psp=psp, operation=operation or WHOLE_PSP, reason=reason, actor=actor()
            )

    _show(run(work()), "resumed", "not paused", as_json=as_json)


def _show(switched: Switched, done: str, already: str, *, as_json: bool) -> None:
    if as_json:
        print_json(switched)
    else:
        what = switched.psp if switched.operation == WHOLE_PSP else f"{switched.operation} at {switched.psp}"
        out().print(f"{what} is {done if switched.changed else already}")
    if not switched.told:
        err().print("Redis did not answer: the orchestrators tell it as soon as it does.")


def _cells(row: PspRow) -> list[object]:
    operations = "\n".join(f"{name} ({rules})" for name, rules in row.operations.items())
    paused = "\n".join(f"{each['operation']}: {each['reason']}" for each in row.paused)
    return [row.psp, row.version, operations or None, row.submit_fence, paused or None, row.breaker, row.unsent]
