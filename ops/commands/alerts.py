"""`paymesh alerts`: what somebody has to look at, and saying that somebody did."""

from typing import Annotated

import typer

from ops.alerts import Alert, close_alert, find_alert, list_alerts
from ops.audit import actor
from ops.commands.running import Confirm, Json, Reason, example, require_confirmed, run
from ops.console import out, print_json, table
from ops.environment import find_settings
from ops.stores import open_stores

app = typer.Typer(no_args_is_help=True, help="Alerts: what somebody has to look at, by kind.")

Number = Annotated[int, typer.Argument(help="The alert's number.", show_default=False)]


@app.command("list", epilog=example("paymesh alerts list", "paymesh alerts list --kind paid_twice --all --json"))
def list_(
    *,
    kind: Annotated[str | None, typer.Option(help="One kind only.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that were closed, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the alerts that nobody has closed, the critical first."""

    async def work() -> list[Alert]:
        async with open_stores(find_settings()) as stores:
            return await list_alerts(stores.pool, kind=kind, everything=everything)

    found = run(work())
    if as_json:
        print_json(found)
        return
    columns = ["alert>", "severity", "kind", "subject", "intent", "seen>", "last", "closed"]
    out().print(table(None, columns, [_cells(alert) for alert in found]))


@app.command(epilog=example("paymesh alerts show 7"))
def show(number: Number, *, as_json: Json = False) -> None:
    """Show an alert with what was seen."""

    async def work() -> Alert:
        async with open_stores(find_settings()) as stores:
            return await find_alert(stores.pool, number)

    found = run(work())
    if as_json:
        print_json(found)
    else:
        _show(found)


@app.command(epilog=example("paymesh alerts close 7 --confirm --reason 'refunded by IPPS on 21 Nov, ticket 1042'"))
def close(number: Number, *, confirm: Confirm = False, reason: Reason = "", as_json: Json = False) -> None:
    """Close an alert that somebody has looked at; it opens again should the same be seen again."""

    async def work(*, really: bool) -> tuple[Alert, bool]:
        async with open_stores(find_settings()) as stores:
            closed = really and await close_alert(stores.pool, number, actor=actor(), reason=reason)
            return await find_alert(stores.pool, number), closed

    really = confirm and bool(reason.strip())
    found, closed = run(work(really=really))
    if as_json:
        print_json({"alert": number, "closed": closed})
    elif not really:
        _show(found)
    if not really:
        require_confirmed(confirm=confirm, reason=reason, what=f"close alert {number}; no money moves by that")
    if not as_json:
        out().print(f"alert {number} is {'closed' if closed else 'closed already'}")


def _show(alert: Alert) -> None:
    rows = [[name.replace("_", " "), getattr(alert, name)] for name in Alert.__dataclass_fields__ if name != "detail"]
    rows += [[f"· {name}", value] for name, value in alert.detail.items()]
    out().print(table(f"alert {alert.id}", ["", ""], rows))


def _cells(alert: Alert) -> list[object]:
    return [
        alert.id, alert.severity, alert.kind, alert.subject, alert.intent_id, alert.seen, alert.last_at,
        alert.closed_at,
    ]  # fmt: skip
