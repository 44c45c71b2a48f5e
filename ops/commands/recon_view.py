"""How `paymesh recon` shows breaks, runs and the state of things to people.

This module must never decide anything.
"""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ops.console import table
from ops.recon.breaks import Found, Happened
from ops.recon.running import Ran
from ops.recon.write_off import Request
from reconciler.rebuild import Rebuilt
from reconciler.status import Status

_COLOURS = {"emergency": "bold red", "critical": "red", "warning": "yellow"}


def print_breaks(console: Console, found: Sequence[Found]) -> None:
    """Print one line a break."""
    columns = ["break>", "severity", "kind", "subject", "delta>", "state", "seen>", "last"]
    console.print(table(None, columns, [_cells(one) for one in found]))


def print_break(console: Console, found: Found, history: Sequence[Happened]) -> None:
    """Print everything about a break."""
    rows: list[list[object]] = [
        ["severity", Text(found.severity, style=_COLOURS.get(found.severity, ""))],
        ["kind", found.kind],
        ["means", found.meaning],
        ["subject", found.subject],
        ["state", found.state],
        ["intent", found.intent_id],
        ["psp", found.psp],
        ["difference", _delta(found)],
        ["seen", f"{found.seen} times, from {found.first_at:%F %T} to {found.last_at:%F %T}"],
    ]
    rows += [[f"· {name}", _plain(told)] for name, told in found.sides.items()]
    rows += [[f"  {name}", _plain(told)] for name, told in found.evidence.items()]
    console.print(table(f"break {found.id}", ["", ""], rows))
    if history:
        steps = [
            [step.at, f"{step.from_state or ''} → {step.to_state}".strip(), step.actor, step.reason, _told(step)]
            for step in history
        ]
        console.print(table("history", ["at", "", "by", "why", "upon"], steps))


def print_ran(console: Console, ran: Ran) -> None:
    """Print what a run came to."""
    compared = ", ".join(f"{count:,} {name}" for name, count in ran.walked.items() if count) or "nothing new"
    console.print(f"compared: {compared}", soft_wrap=True)
    console.print(f"looked at again: {ran.looked_again}; breaks opened: {ran.opened}, closed: {ran.closed}")
    if ran.still_suspect:
        console.print(f"{ran.still_suspect} would not stand still; the next run looks at them again")
    if ran.open_total:
        print_breaks(console, ran.open_breaks)
        console.print(Text(f"{ran.open_total} breaks are open", style="bold red"))
    else:
        console.print(Text("no break is open", style="green"))


def print_status(console: Console, found: Status) -> None:
    """Print how far the walks have come, and what is open."""
    rows = [[walk.name, f"{walk.walked:,}", f"{walk.lag_s:.1f} s"] for walk in found.walks]
    console.print(table("walks", ["walk", "compared>", "lag>"], rows))
    console.print(f"{found.suspects} suspects wait to be looked at again")
    if not found.open_breaks:
        console.print(Text("no break is open", style="green"))
        return
    kinds = [
        [Text(one.severity, style=_COLOURS.get(one.severity, "")), one.kind, one.count, one.oldest_at]
        for one in found.open_breaks
    ]
    console.print(table("open breaks", ["severity", "kind", "open>", "oldest"], kinds))


def print_requests(console: Console, found: Sequence[Request]) -> None:
    """Print one line a request."""
    columns = ["request>", "break>", "why", "upon", "asked by", "at", "decided"]
    rows = [
        [
            one.id, one.break_id, one.reason, one.evidence, one.requested_by, one.requested_at,
            None if one.decision is None else f"{one.decision} by {one.decided_by}",
        ]
        for one in found
    ]  # fmt: skip
    console.print(table(None, columns, rows))


def print_rebuilt(console: Console, done: Rebuilt, proof: Rebuilt | None) -> None:
    """Print what differed and, once it was mended, what is left."""
    rows = [
        ["rows missing", done.rows_missing],
        ["rows that differ", done.rows_differing],
        ["rows too many", done.rows_extra],
        ["balances that differ", done.balances],
    ]
    console.print(table(f"{done.intents:,} intents, {done.wallets:,} wallets", ["read model", "found>"], rows))
    if done.unjudged:
        console.print(f"{done.unjudged} intents were left alone: ledger and log contradict each other about them")
    if proof is not None:
        console.print(f"mended; looked at once more, {proof.differences or 'nothing'} differs")


def _cells(one: Found) -> list[object]:
    severity = Text(one.severity, style=_COLOURS.get(one.severity, ""))
    return [one.id, severity, one.kind, one.subject, _delta(one), one.state, one.seen, one.last_at]


def _delta(one: Found) -> str | None:
    return None if one.delta_minor is None else f"{one.delta_minor:+} {one.currency}"


def _plain(told: object) -> str:
    return told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)


def _told(step: Happened) -> str | None:
    return ", ".join(f"{name} {_plain(told)}" for name, told in step.evidence.items()) or None
