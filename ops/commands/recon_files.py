"""`paymesh recon file|files`: settlement files taken in by hand, and what became of all of them."""

from pathlib import Path
from typing import Annotated

import typer

from ops.audit import actor
from ops.commands.running import Confirm, Json, Reason, example, require_confirmed, run
from ops.console import out, print_json, table
from ops.environment import find_settings
from ops.settlement_files import Listed, Prospect, Taken, foresee, list_files, take_in
from ops.stores import open_stores
from shared.streams.permits import Replicas

Psp = Annotated[str, typer.Option("--psp", help="Whose file it is, such as ipps.", show_default=False)]
OnePsp = Annotated[str | None, typer.Option("--psp", help="Of one PSP only.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands to `paymesh recon`."""
    app.command(
        "file",
        epilog=example(
            "paymesh recon file ipps-2026-11-20.txt --psp ipps",
            "paymesh recon file ipps-2026-11-20.txt --psp ipps --confirm --reason 'came by mail'",
        ),
    )(file)
    app.command("files", epilog=example("paymesh recon files --psp ipps --json"))(files)


def file(
    path: Annotated[
        Path, typer.Argument(help="The file; its manifest PATH.sha256 lies beside it.", show_default=False)
    ],
    *,
    psp: Psp,
    replicas_min: Annotated[
        int, typer.Option(min=0, max=16, help="How many replicas of Redis must have a word before it counts.")
    ] = 0,
    confirm: Confirm = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Take a settlement file in: match its lines, close what is in doubt by them, open breaks where they differ."""

    async def foreseen() -> Prospect:
        async with open_stores(find_settings()) as stores:
            return await foresee(stores.pool, psp, path)

    async def work() -> Taken:
        async with open_stores(find_settings()) as stores:
            return await take_in(stores, psp, path, actor=actor(), reason=reason, replicas=Replicas(replicas_min))

    if not confirm or not reason.strip():
        _show(run(foreseen()), as_json=as_json)
        what = f"take {path.name} in: words about payments in doubt go to the orchestrator, which posts or voids them"
        require_confirmed(confirm=confirm, reason=reason, what=what)
    _show_taken(run(work()), as_json=as_json)


def files(
    *,
    psp: OnePsp = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List settlement files, the newest first: how far each was read, and what made no sense."""

    async def work() -> list[Listed]:
        async with open_stores(find_settings()) as stores:
            return await list_files(stores.pool, psp=psp, limit=limit)

    found = run(work())
    if as_json:
        print_json(found)
        return
    columns = ["file>", "psp", "name", "sha256", "state", "lines>", "new>", "refused>", "found"]
    out().print(table(None, columns, [_cells(one) for one in found]))


def _show(found: Prospect, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows: list[list[object]] = [["state", found.state], ["sha256", found.sha256], ["lines", found.lines]]
    rows += [[f"  {means}", number] for means, number in sorted(found.means.items())]
    rows += [[f"  makes no sense: {why}", number] for why, number in sorted(found.refused.items())]
    rows += [["total, minor units", found.total_minor]]
    rows += [["trailer: lines, total", f"{count}, {total}"] for count, total in found.trailers]
    out().print(table(found.name, ["", ""], rows))


def _show_taken(done: Taken, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    one = done.file
    rows: list[list[object]] = [
        ["state", one.state], ["lines", one.counted], ["new", one.taken], ["make no sense", one.refused],
    ]  # fmt: skip
    rows += [[f"  {verdict}", number] for verdict, number in sorted(done.verdicts.items())]
    rows += [["words said", done.said]]
    if done.resting:
        rows += [["words that wait for a permit to come to rest", done.resting]]
    out().print(table(one.name, ["", ""], rows))
    if one.reason:
        out().print(f"refused: {one.reason}", markup=False)


def _cells(one: Listed) -> list[object]:
    state = one.state if one.state != "READING" else f"READING, {100 * one.read_bytes // max(one.bytes, 1)} %"
    return [one.id, one.psp, one.name, one.sha256[:12], state, one.counted, one.taken, one.refused, one.found_at]
