"""`paymesh streams`: a look into a stream, at what is held of it, and at who holds it."""

import json
from typing import Annotated, Any

import typer

from ops.audit import actor
from ops.commands.running import EXIT_WRONG, Json, example, run
from ops.console import err, out, print_json, table
from ops.environment import find_settings
from ops.top import entries
from ops.top.consumers import Reaped, gone, list_consumers, reap, record
from ops.top.entries import PAGE_MAX, Peeked, Pending
from ops.top.look import find_installed
from ops.top.names import entry_id_of, stream_of
from ops.top.reach import POSTGRES, Reach, reach
from ops.top.rows import ConsumerRow, Unreached
from ops.top.screen import duration, printable
from shared.errors import Transient

_BODY_MAX = 160

app = typer.Typer(no_args_is_help=True, help="Streams: what is in them, what is held of them, and by whom.")

Stream = Annotated[str, typer.Argument(help="intents.<n>, jobs.<psp> or results.<psp>.", show_default=False)]
After = Annotated[str, typer.Option(help="Go on after this entry id.")]


@app.command(epilog=example("paymesh streams peek jobs.ipps --count 5"))
def peek(
    stream: Stream,
    *,
    after: After = "0-0",
    count: Annotated[int, typer.Option(help="How many entries.", min=1, max=PAGE_MAX)] = 10,
    as_json: Json = False,
) -> None:
    """Show a stream's entries, oldest first, personal fields covered; nothing is taken from anybody."""

    async def work() -> list[Peeked]:
        name, group = stream_of(stream)
        async with reach(find_settings()) as stores:
            return await entries.peek(stores.redis, name, group, after=entry_id_of(after), count=count)

    rows = run(work())
    if as_json:
        print_json(rows)
        return
    columns = ["entry", "age>", "holder", "deliveries>", "kind", "id", "attempt>", "redrives>", "body"]
    out().print(table(None, columns, [_peeked(row) for row in rows]))
    if len(rows) == count:
        err().print(f"There may be more: --after {rows[-1].entry_id}")


@app.command(epilog=example("paymesh streams pending jobs.ipps --idle 60"))
def pending(
    stream: Stream,
    *,
    consumer: Annotated[str | None, typer.Option(help="Held by this consumer only.", show_default=False)] = None,
    idle: Annotated[float, typer.Option(help="Only what nobody has beaten for so many seconds.", min=0)] = 0.0,
    after: After = "0-0",
    count: Annotated[int, typer.Option(help="How many entries.", min=1, max=PAGE_MAX)] = 20,
    as_json: Json = False,
) -> None:
    """Show what is held of a stream, oldest first, and whether its payload is still there.

    At most 10,000 held entries are looked through; the exit status is 1 where one of those shown is a ghost.
    """

    async def work() -> Pending:
        name, group = stream_of(stream)
        async with reach(find_settings()) as stores:
            return await entries.pending(
                stores.redis,
                name,
                group,
                after=entry_id_of(after),
                consumer=consumer,
                idle_ms=round(idle * 1000),
                count=count,
            )

    found = run(work())
    if as_json:
        print_json(found)
    else:
        _print_pending(found)
    if any(row.ghost for row in found.rows):
        raise typer.Exit(EXIT_WRONG)


@app.command(epilog=example("paymesh streams consumers --reap"))
def consumers(
    stream: Annotated[str | None, typer.Argument(help="One stream; all without it.", show_default=False)] = None,
    *,
    reap_them: Annotated[
        bool, typer.Option("--reap", help="Forget those that hold nothing and were silent for an hour.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the consumers of every stream: what each holds, and for how long nothing has been heard of it.

    Forgetting one loses nothing: a process that is alive after all gets its name back with its next read.
    """

    async def work() -> tuple[list[ConsumerRow], Reaped | None, tuple[Unreached, ...]]:
        async with reach(find_settings()) as stores:
            rows = await list_consumers(stores.redis, await _groups(stores, stream))
            reaped = await reap(stores.redis, rows) if reap_them else None
            if reaped is not None and reaped.forgotten:
                await stores.ask(POSTGRES, "audit log", record(stores.pool, reaped, actor=actor()))
            return rows, reaped, stores.unreached()

    rows, reaped, unreached = run(work())
    left = [row for row in rows if reaped is None or row not in reaped.forgotten]
    if as_json:
        print_json({"consumers": left, "reaped": reaped, "unreached": unreached})
    else:
        _print_consumers(left, reaped)
    for fault in unreached:
        err().print(f"{fault.store} did not say: {fault.what} ({fault.error})", markup=False, soft_wrap=True)
    if unreached:
        raise typer.Exit(EXIT_WRONG)


async def _groups(stores: Reach, stream: str | None) -> list[tuple[str, str]]:
    if stream is not None:
        return [stream_of(stream)]
    found = await find_installed(stores)
    if found is None or found.mesh is None:
        faults = "; ".join(f"{fault.store}: {fault.error}" for fault in stores.unreached())
        raise Transient(f"no mesh was found ({faults})" if faults else "no mesh was found")
    return found.groups


def _peeked(row: Peeked) -> list[Any]:
    body = printable(json.dumps(row.body, ensure_ascii=False))
    shown = body if len(body) <= _BODY_MAX else body[: _BODY_MAX - 1] + "…"
    holder = "waits" if row.hold is None else _holder(row.hold)
    deliveries = 0 if row.hold is None else row.hold.deliveries
    return [row.entry_id, duration(row.age_s), holder, deliveries, row.kind, row.id, row.attempt, row.redrives, shown]


def _holder(hold: entries.Hold) -> str:
    return "handed back" if entries.released(hold) else hold.consumer


def _print_pending(found: Pending) -> None:
    cells = [
        [
            row.entry_id,
            duration(row.age_s),
            _holder(row.hold),
            duration(row.hold.idle_s),
            row.hold.deliveries,
            "gone: a ghost" if row.ghost else "there",
        ]
        for row in found.rows
    ]
    title = f"{found.stream}: {found.total} held"
    out().print(table(title, ["entry", "age>", "holder", "idle>", "deliveries>", "payload"], cells))
    if found.next is not None:
        err().print(f"{found.scanned} were looked through; there may be more: --after {found.next}")


def _print_consumers(rows: list[ConsumerRow], reaped: Reaped | None) -> None:
    cells = [
        [
            row.stream,
            row.group,
            printable(row.consumer),
            row.held,
            duration(row.idle_s),
            ("gone, holds entries" if row.held else "gone: --reap forgets it") if gone(row) else "",
        ]
        for row in rows
    ]
    out().print(table(None, ["stream", "group", "consumer", "held>", "idle>", ""], cells))
    if reaped is not None:
        out().print(f"forgotten: {len(reaped.forgotten)}; kept, since they hold entries: {len(reaped.kept)}")
