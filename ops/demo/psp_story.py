"""What the demo tells of single payments afterwards: out of the mesh's own records and the sandboxes' books.

A payout whose answer was lost has to be paid exactly once, and to be settled by an answer to a question and nothing
else. This module must never conclude that from the state alone.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter

from adapters.sandbox.client import SandboxControl
from ops.demo.psp_play import Board
from ops.demo.psp_script import Payout, PspScript
from shared.contracts import ResultMessage
from shared.db.pool import Pool

_EVENTS: Final = "SELECT from_state, to_state, at FROM pm.intent_event WHERE intent_id = $1 ORDER BY seq"
_HEARD: Final = "SELECT body, received_at FROM pm.psp_result WHERE intent_id = $1 ORDER BY received_at, entry_id"
_REFERENCE: Final = "SELECT reference FROM pm.psp_reference WHERE intent_id = $1 ORDER BY attempt LIMIT 1"
_STATUS: Final = re.compile(r"http_([0-9]{3})_")
"""In the words of the scenario by which a call went wrong."""
_RESULT: Final = TypeAdapter(ResultMessage)


@dataclass(frozen=True, slots=True)
class Told:
    """One line of a story: seconds after the first, who, what."""

    at_s: float
    who: str
    what: str


@dataclass(frozen=True, slots=True)
class Story:
    """What became of one payout, and what is wrong with that."""

    name: str
    lines: list[Told]
    faults: list[str]


async def tell(pool: Pool, ipps: SandboxControl, board: Board, payout: Payout) -> Story:
    """Tell how a payout whose answer was lost was settled."""
    name = payout.step.name
    intent = UUID(board.courses[name].id)
    events = await pool.fetch(_EVENTS, intent)
    heard = [(row["received_at"], _RESULT.validate_json(row["body"])) for row in await pool.fetch(_HEARD, intent)]
    reference = await pool.fetchval(_REFERENCE, intent)
    books = await ipps.books(reference)
    calls = await ipps.calls(reference)
    start: datetime = events[0]["at"]
    told = [((row["at"] - start).total_seconds(), "mesh", f"{row['from_state']} → {row['to_state']}") for row in events]
    told += [((at - start).total_seconds(), "adapter", _said(result)) for at, result in heard]
    told += [(call["atMs"] / 1000 - start.timestamp(), "IPPS", _served(call)) for call in calls]
    lines = [Told(*line) for line in sorted(told, key=lambda line: line[0])]
    states, outcomes = [row["to_state"] for row in events], [one.outcome for _, one in heard]
    return Story(name, lines, _faults(payout, states, outcomes, calls, books))


def _said(result: ResultMessage) -> str:
    action = "" if result.action is None else f"{result.action.lower()}: "
    why = f" ({result.code})" if result.code else ""
    return f"{action}reports {result.outcome}{why}"


def _served(call: Mapping[str, Any]) -> str:
    paid = "pays, and " if call["operation"] == "transfer" and call["committed"] else ""
    return f"{call['operation']}: {paid}{_answer(call)}"


def _answer(call: Mapping[str, Any]) -> str:
    match call["outcome"]:
        case None | "timeout":
            return "never answers"
        case "status":
            found = _STATUS.search(call["scenario"])
            return f"answers HTTP {found[1]}" if found else "answers with an error"
        case outcome:
            return f"answers HTTP {outcome}"


def _faults(
    payout: Payout,
    states: Sequence[str],
    outcomes: Sequence[str],
    calls: Sequence[Mapping[str, Any]],
    books: Mapping[str, Any],
) -> list[str]:
    found = []
    amount = payout.step.operation["amount_minor"]
    if (books["payouts"], books["paidMinor"]) != (1, amount):
        found.append(f"IPPS paid {books['payouts']} times, {books['paidMinor']} instead of once {amount}")
    asked = Counter(call["operation"] for call in calls)
    if asked["transfer"] != 1 or not asked["status"]:
        found.append(f"was sent {asked['transfer']} times and asked about {asked['status']} times")
    if payout.unanswered and "IN_DOUBT" not in states:
        found.append(f"was never in doubt: {' → '.join(states)}")
    if "PAID" not in outcomes:
        found.append("was settled without an answer of IPPS's")
    return found


async def compare_books(
    *, ipps: SandboxControl, qp: SandboxControl, script: PspScript, held: Mapping[str, int], before: Mapping[str, int]
) -> tuple[list[list[Any]], list[str]]:
    """Hold what moved in the wallets against what the sandboxes say was paid; return rows to show, and faults.

    Args:
        ipps: the sandbox that pays out.
        qp: the sandbox that is paid.
        script: what must have been paid.
        held: what the wallets hold.
        before: what the sandboxes had been paid before the play.
    """
    funded = sum(step.operation["amount_minor"] for step in script.funding)
    left = sum(minor for name, minor in held.items() if name.endswith(":THB"))
    came_in = sum(minor for name, minor in held.items() if name.endswith(":RUB"))
    rows: list[list[Any]] = []
    faults = []
    for psp, control, wallets, due in (
        ("ipps", ipps, funded - left, script.paid_out_minor),
        ("qp", qp, came_in, script.paid_in_minor),
    ):
        books = (await control.books())["paidMinor"] - before[psp]
        rows.append([psp, wallets, books, due])
        if not wallets == books == due:
            faults.append(f"{psp}: wallets moved {wallets}, its books say {books}, the script {due}")
    return rows, faults
