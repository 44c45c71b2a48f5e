"""`paymesh recon`: ledger, database and PSPs compared; breaks looked at, and closed with evidence."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer
from rich.progress import Progress as Bar
from rich.progress import TextColumn, TimeElapsedColumn

from ops.audit import actor
from ops.commands import recon_report
from ops.commands.recon_view import print_break, print_breaks, print_ran, print_rebuilt, print_requests, print_status
from ops.commands.running import EXIT_WRONG, Confirm, Json, Reason, example, require_confirmed, run
from ops.console import err, out, print_json
from ops.dlq.people import person
from ops.dlq.reach import reach_stores
from ops.dlq.requests import Person, check_people
from ops.environment import find_settings
from ops.recon.breaks import (
    Found,
    Happened,
    check_evidence,
    check_open,
    close_by_one,
    find_break,
    history_of,
    list_breaks,
)
from ops.recon.running import Progress, Ran, pace_of, rebuild_now, run_now, status_now
from ops.recon.write_off import Request, decide, find_request, list_requests, request_write_off
from ops.stores import open_stores
from reconciler.breaks import BreakState
from reconciler.kinds import BreakKind
from reconciler.rebuild import Rebuilt
from reconciler.status import Status

app = typer.Typer(no_args_is_help=True, help="Reconciliation: what differs between ledger, database and PSPs.")
app.command(epilog=recon_report.EPILOG)(recon_report.report)

Number = Annotated[int, typer.Argument(help="The break's number.", show_default=False)]
Evidence = Annotated[str, typer.Option("--evidence", help="What it rests on; no personal data.", show_default=False)]


class As(StrEnum):
    """How a break is closed."""

    EXPLAINED = "explained"
    RESOLVED = "resolved"
    WRITTEN_OFF = "written-off"


@app.command("run", epilog=example("paymesh recon run", "paymesh recon run --full --json"))
def run_(
    *,
    full: Annotated[bool, typer.Option("--full", help="Compare everything there ever was, not what is new.")] = False,
    settle_s: Annotated[
        float, typer.Option(min=0, max=600, help="How old a thing is before it is compared, in seconds.")
    ] = 45.0,
    grace_s: Annotated[
        float, typer.Option(min=0, max=600, help="How long a difference is left alone, in seconds.")
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Compare what is new, look again at what differs, and open or close breaks. Exits 1 if any is open."""

    async def work() -> Ran:
        async with open_stores(find_settings()) as stores:
            with _progress() as progress:
                pace = pace_of(settle_s=settle_s, grace_s=grace_s)
                return await run_now(stores, pace, full=full, progress=progress)

    ran = run(work())
    if as_json:
        print_json(ran)
    else:
        print_ran(out(), ran)
    if ran.open_total:
        raise typer.Exit(EXIT_WRONG)


@app.command(epilog=example("paymesh recon status --json"))
def status(*, as_json: Json = False) -> None:
    """Show how far the walks have come, how far they lag, and how many breaks are open."""

    async def work() -> Status:
        async with open_stores(find_settings()) as stores:
            return await status_now(stores)

    found = run(work())
    if as_json:
        print_json(found)
    else:
        print_status(out(), found)


@app.command(epilog=example("paymesh recon breaks", "paymesh recon breaks --kind balance_differs --all --json"))
def breaks(
    *,
    kind: Annotated[BreakKind | None, typer.Option(help="One kind only.", show_default=False)] = None,
    psp: Annotated[str | None, typer.Option(help="One PSP only.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that were closed, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the breaks that are open, the gravest first."""

    async def work() -> list[Found]:
        async with open_stores(find_settings()) as stores:
            return await list_breaks(stores.pool, kind=kind, psp=psp, everything=everything)

    found = run(work())
    if as_json:
        print_json(found)
    else:
        print_breaks(out(), found)


@app.command(epilog=example("paymesh recon show 7"))
def show(number: Number, *, as_json: Json = False) -> None:
    """Show a break: what it means, what each side says, and everything that happened to it."""

    async def work() -> tuple[Found, list[Happened]]:
        async with open_stores(find_settings()) as stores:
            return await find_break(stores.pool, number), await history_of(stores.pool, number)

    found, history = run(work())
    if as_json:
        print_json({"break": found, "meaning": found.meaning, "history": history})
    else:
        print_break(out(), found, history)


@app.command(
    epilog=example(
        "paymesh recon resolve 7 --as explained --evidence 'ticket 1042' --confirm --reason 'undone by hand'",
        "paymesh recon resolve 8 --as written-off --evidence 'memo of 20 Nov' --requested-by 'Ann Lee' --confirm"
        " --reason 'not worth a claim'",
    )
)
def resolve(
    number: Number,
    *,
    how: Annotated[As, typer.Option("--as", help="How it ends.", show_default=False)],
    evidence: Evidence,
    by_intent: Annotated[
        UUID | None, typer.Option(help="The settled intent that made up for it.", show_default=False)
    ] = None,
    requested_by: Annotated[
        str, typer.Option(help="Your name, to write off; somebody else approves.", show_default=False)
    ] = "",
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Close a break with evidence. To write it off is only asked for: somebody else approves it."""

    async def work(*, really: bool) -> tuple[Found, int | None]:
        async with reach_stores(find_settings()) as reach:
            found = await find_break(reach.pool, number)
            check_open(found)
            check_evidence(evidence)
            if not really:
                return found, None
            if how is As.WRITTEN_OFF:
                who = Person(requested_by, await person(reach))
                request = await request_write_off(reach.pool, number, who, reason=reason, evidence=evidence)
                return found, request
            state = BreakState[how.name]
            closed = await close_by_one(
                reach.pool, number, state, actor=actor(), reason=reason, evidence=evidence, intent=by_intent
            )
            return closed, None

    really = confirm and bool(reason.strip())
    found, request = run(work(really=really))
    if as_json:
        print_json({"break": found, "request": request})
    elif not really:
        print_break(out(), found, [])
    if not really:
        what = (
            f"ask for break {number} to be written off" if how is As.WRITTEN_OFF else f"close break {number} as {how}"
        )
        require_confirmed(confirm=confirm, reason=reason, what=f"{what}; no money moves by that")
    if not as_json:
        asked = f"request {request}; somebody else approves it: paymesh recon approve {request} --approved-by …"
        out().print(asked if request is not None else f"break {number} is {found.state}", soft_wrap=True)


@app.command(epilog=example("paymesh recon approve 3 --approved-by 'Bo Chan' --confirm --reason 'read the memo too'"))
def approve(
    number: Annotated[int, typer.Argument(help="The request's number.", show_default=False)],
    *,
    approved_by: Annotated[str, typer.Option(help="Your name; not that of whoever asked.", show_default=False)],
    declining: Annotated[bool, typer.Option("--decline", help="Leave the break open instead.")] = False,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Approve that a break is written off, as somebody else asked; or decline it."""

    async def work(*, really: bool) -> Found:
        async with reach_stores(find_settings()) as reach:
            who = Person(approved_by, await person(reach))
            if really:
                return await decide(reach.pool, number, who, reason=reason, approves=not declining)
            request = await find_request(reach.pool, number)
            if not declining:
                check_people(request, who)
            return await find_break(reach.pool, request.break_id)

    really = confirm and bool(reason.strip())
    found = run(work(really=really))
    if as_json:
        print_json(found)
    elif not really:
        print_break(out(), found, [])
    if not really:
        what = f"leave break {found.id} open" if declining else f"write break {found.id} off"
        require_confirmed(confirm=confirm, reason=reason, what=what)
    if not as_json:
        out().print(f"break {found.id} is {found.state}")


@app.command(epilog=example("paymesh recon requests --all --json"))
def requests(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that were decided, too.")] = False,
    as_json: Json = False,
) -> None:
    """List what was asked to be written off and waits for somebody."""

    async def work() -> list[Request]:
        async with open_stores(find_settings()) as stores:
            return await list_requests(stores.pool, everything=everything)

    found = run(work())
    if as_json:
        print_json(found)
    else:
        print_requests(out(), found)


@app.command(epilog=example("paymesh recon rebuild", "paymesh recon rebuild --confirm --reason 'read model lost'"))
def rebuild(*, confirm: Confirm = False, reason: Reason = "", as_json: Json = False) -> None:
    """Make histories and balances anew from ledger and intent log. A dry run that finds differences exits 1."""

    async def work(*, mend: bool) -> tuple[Rebuilt, Rebuilt | None]:
        async with open_stores(find_settings()) as stores:
            with _progress() as progress:
                done = await rebuild_now(stores, mend=mend, actor=actor(), reason=reason, progress=progress)
                if not mend:
                    return done, None
                # The proof: looked at once more, nothing differs.
                return done, await rebuild_now(stores, mend=False, actor=actor(), reason=reason, progress=progress)

    really = confirm and bool(reason.strip())
    done, proof = run(work(mend=really))
    left = (proof or done).differences
    if as_json:
        print_json({"mended": really, "found": done, "left": left})
    else:
        print_rebuilt(out(), done, proof)
    if not really:
        what = f"mend {done.differences} differences of the read model; no money moves by that"
        require_confirmed(confirm=confirm, reason=reason, what=what, exit_dry=EXIT_WRONG if done.differences else 0)
    if left:
        raise typer.Exit(EXIT_WRONG)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Count what has been looked at, where somebody watches."""
    console = err()
    columns = TextColumn("{task.description:<10}"), TextColumn("{task.completed:>10,}"), TimeElapsedColumn()
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks = {}

        def advance(name: str, count: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=None)
            bar.advance(tasks[name], count)

        yield advance
