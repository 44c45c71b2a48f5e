"""The verdict on a run: what the sandboxes' books say was really paid, against the ledger and against the database.

Every intent has a wallet of its own, so the ledger itself tells what left it, what came in, and what is still held.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from ops.invariants.run import check_invariants
from shared.ids import account_id
from shared.psp import FenceKind
from shared.states import TERMINAL, IntentState
from shared.streams import keys
from tests.matrix.intents import FUNDED, Posted
from tests.matrix.scenarios import Payout
from tests.matrix.stack import Stack

_S = IntentState
_PSPS: Final = {"ipps": "THB", "qp": "RUB"}
_INTENTS: Final = """
SELECT i.id, i.state, i.funds, i.polls, i.error_code, r.reference, b.posted, b.held
FROM pm.intent i
LEFT JOIN pm.psp_reference r ON r.intent_id = i.id AND r.attempt = i.attempt
LEFT JOIN pm.tb_account_map a ON a.name = coalesce(i.operation ->> 'from_account', i.operation ->> 'to_account')
LEFT JOIN pm.account_balance b ON b.account_id = a.id
WHERE i.id = ANY ($1)
"""
_CHILDREN: Final = """
SELECT parent_id, operation_type, state, amount_minor, operation ->> 'direction' AS direction
FROM pm.intent WHERE parent_id = ANY ($1)
"""


@dataclass(slots=True)
class Line:
    """What is known about one intent, from all sides; amounts are what moved between the PSP and us."""

    posted: Posted
    state: IntentState
    error: str | None
    polls: int
    books: dict[str, Any]
    wallet_moved: int
    """By the ledger: out of a payer's wallet, or into a payee's."""
    wallet_held: int
    database_moved: int
    database_held: int
    children: list[Mapping[str, Any]]
    faults: list[str] = field(default_factory=list)

    @property
    def paid(self) -> int:
        """What the PSP says was paid, less what it took back."""
        return int(self.books["paidMinor"])

    @property
    def paid_times(self) -> int:
        """How often the PSP paid, or was paid."""
        return int(self.books["payouts" if isinstance(self.posted.played, Payout) else "accepted"])

    @property
    def reversals(self) -> int:
        """How many payments the PSP took back."""
        return sum(1 for movement in self.books["movements"] if movement["kind"] == "REVERSAL")

    def opened(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the children of one kind."""
        return [child for child in self.children if child["operation_type"] == kind]


@dataclass(slots=True)
class Reckoning:
    """The verdict on a run."""

    lines: list[Line]
    faults: list[str]

    @property
    def all_faults(self) -> list[str]:
        """Return everything that is wrong."""
        return self.faults + [f"{line.posted.name}: {fault}" for line in self.lines for fault in line.faults]

    def table(self) -> str:
        """Return scenario, end, and what all three books say."""
        rows = [("scenario", "state", "why", "PSP paid", "wallet", "held", "children", "faults")]
        for line in self.lines:
            children = [f"{child['operation_type']} {child['state']}" for child in line.children]
            rows.append(
                (
                    line.posted.name,
                    line.state,
                    line.error or "",
                    f"{line.paid} ({line.paid_times}x)",
                    str(line.wallet_moved),
                    str(line.wallet_held),
                    ", ".join(children),
                    "; ".join(line.faults),
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


async def reckon(stack: Stack, posted: Sequence[Posted]) -> Reckoning:
    """Compare all books, intent by intent and as a whole."""
    lines = await _lines(stack, posted)
    for line in lines:
        line.faults = _faults(line, stack.fence)
    faults = await _sums(stack, lines)
    stored = await stack.stores.pool.fetchval("SELECT count(*) FROM pm.intent WHERE parent_id IS NULL")
    if stored != 2 * len(posted):
        faults.append(f"{2 * len(posted)} intents were posted, grants included, and {stored} are in the log")
    return Reckoning(lines, faults)


async def _lines(stack: Stack, posted: Sequence[Posted]) -> list[Line]:
    pool, ids = stack.stores.pool, [one.intent for one in posted]
    rows = {row["id"]: row for row in await pool.fetch(_INTENTS, ids)}
    children: dict[UUID, list[Mapping[str, Any]]] = {}
    for child in await pool.fetch(_CHILDREN, ids):
        children.setdefault(child["parent_id"], []).append(dict(child))
    accounts = {
        account.id: account
        for account in await stack.stores.ledger().lookup_accounts([account_id(one.wallet) for one in posted])
    }
    books = {psp: _by_reference(await stack.control[psp].books()) for psp in stack.control}
    lines = []
    for one in posted:
        row, account = rows[one.intent], accounts[account_id(one.wallet)]
        out = isinstance(one.played, Payout)
        gained = account.credits_posted - account.debits_posted - FUNDED
        in_database = int(row["posted"]) - FUNDED
        lines.append(
            Line(
                posted=one,
                state=IntentState(row["state"]),
                error=row["error_code"],
                polls=row["polls"],
                books=books["ipps" if out else "qp"].get(row["reference"], _NOTHING),
                wallet_moved=-gained if out else gained,
                wallet_held=account.debits_pending + account.credits_pending,
                database_moved=-in_database if out else in_database,
                database_held=int(row["held"]),
                children=children.get(one.intent, []),
            )
        )
    return lines


_NOTHING: Final[dict[str, Any]] = {"movements": [], "payouts": 0, "accepted": 0, "paidMinor": 0}


def _by_reference(books: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort a sandbox's movements by our references."""
    found: dict[str, dict[str, Any]] = {}
    for movement in books["movements"]:
        reference = movement.get("partnerTxnUid") or movement["order"]
        amount = movement.get("amountSatang") or movement["amountKopecks"]
        mine = found.setdefault(reference, {"movements": [], "payouts": 0, "accepted": 0, "paidMinor": 0})
        forth = movement["kind"] in ("PAYOUT", "PAYMENT")
        mine["movements"].append(movement)
        mine["payouts"] += forth
        mine["accepted"] += forth
        mine["paidMinor"] += amount if forth else -amount
    return found


def _faults(line: Line, fence: FenceKind) -> list[str]:
    faults = _of_payout(line, fence) if isinstance(line.posted.played, Payout) else _of_topup(line)
    if line.database_moved != line.wallet_moved or line.database_held != line.wallet_held:
        faults.append(f"the database says {line.database_moved} moved, {line.database_held} held")
    if any(child["state"] not in ("SETTLED", "REJECTED") for child in line.children):
        faults.append("a child is not done")
    return faults


def _of_payout(line: Line, fence: FenceKind) -> list[str]:
    state, held = line.state, line.wallet_held
    revived = isinstance(line.posted.played, Payout) and line.posted.played.revived
    suspense = sum(
        child["amount_minor"] if child["direction"] == "out" else -child["amount_minor"]
        for child in line.opened("SUSPENSE")
        if child["state"] == _S.SETTLED
    )
    # Refused while the PSP was out of order, before anything was held.
    final = {_S.SETTLED, _S.FAILED, _S.REJECTED} | ({_S.IN_DOUBT} if fence is FenceKind.NONE else set())
    taken_back = len(line.opened("REVERSAL"))
    checks = {
        f"left {state}, with the fence {fence}": state in final,
        f"paid {line.paid_times} times": line.paid_times <= 1,
        "settled and never paid": line.paid_times > 0 or state is not _S.SETTLED,
        # Whoever was paid and taken back before we knew is as good as never paid.
        "paid and voided": state not in (_S.FAILED, _S.REJECTED) or not line.paid or revived,
        "paid, and nobody found out": state is not _S.IN_DOUBT or not line.paid_times,
        f"{held} held": held == (line.posted.amount_minor if state is _S.IN_DOUBT else 0),
        f"we paid {line.wallet_moved}, and {suspense} out of suspense": line.wallet_moved + suspense == line.paid,
        "booked into suspense": not suspense or revived,
        f"{taken_back} reversals here": state is not _S.SETTLED or taken_back == line.reversals,
    }
    return [fault for fault, holds in checks.items() if not holds]


def _of_topup(line: Line) -> list[str]:
    credited = int(line.state is _S.SETTLED) + len(line.opened("LATE_CREDIT"))
    checks = {
        f"left {line.state}": line.state in TERMINAL,
        f"{line.wallet_moved} credited": line.wallet_moved == line.paid,
        # What is paid and taken back before we hear of it is never credited.
        f"{credited} payments credited": credited == line.paid_times or line.reversals > 0,
        "booked into suspense": not line.opened("SUSPENSE"),
        f"{line.wallet_held} held": line.wallet_held == 0,
    }
    return [fault for fault, holds in checks.items() if not holds]


async def _sums(stack: Stack, lines: Sequence[Line]) -> list[str]:
    """Check the house's accounts, and every invariant that an operator would check."""
    faults = []
    ledger, stores = stack.stores.ledger(), stack.stores
    for psp in stack.control:
        currency = _PSPS[psp]
        (account,) = await ledger.lookup_accounts([account_id(f"psp:{psp}:{currency}")])
        ours = account.credits_posted - account.debits_posted
        out = 1 if psp == "ipps" else -1
        theirs = out * sum(line.paid for line in lines if isinstance(line.posted.played, Payout) == (psp == "ipps"))
        if ours != theirs:
            faults.append(f"{psp} says {theirs}, our account there {ours}")
        letters = [await stores.redis.xlen(keys.dlq(stream)) for stream in (keys.jobs(psp), keys.results(psp))]
        if any(letters):
            faults.append(f"{letters} dead letters of {psp}'s jobs and results")
        (between,) = await ledger.lookup_accounts([account_id(f"transit:{currency}")])
        posted, held = between.credits_posted - between.debits_posted, between.credits_pending - between.debits_pending
        if posted or held:
            faults.append(f"transit in {currency} stands at {posted} posted and {held} held")
    report = await check_invariants(
        ledger=ledger, pool=stores.pool, redis=stores.redis, begin=lambda _title, _total: lambda _done: None
    )
    faults += [
        f"{check.name}: {violation.subject} {violation.detail}"
        for check in report.checks
        if check.name != "alerts"  # judged here, since some scenarios are meant to raise them
        for violation in check.violations
    ]
    alerts = await stores.pool.fetch("SELECT kind, intent_id, detail FROM pm.reconciliation_alert")
    faults += [
        f"alert {alert['kind']} {json.loads(alert['detail'])}" for alert in alerts if alert["kind"] in _NEVER_ALERTED
    ]
    told = {alert["intent_id"] for alert in alerts if alert["kind"] == "paid_after_failure"}
    if told != (broken := {line.posted.intent for line in lines if line.state is _S.FAILED and line.paid}):
        faults.append(f"{len(broken)} payments after a decline, and people were told of {len(told)}")
    return faults


_NEVER_ALERTED: Final = (
    "voided_though_paid",
    "posted_though_to_be_voided",
    "paid_twice",
    "payment_of_two_intents",
    "unmatched_result",
    "not_found_though_settled",
    "hold_already_voided",
    "credit_refused",
)
