"""All invariants, one after the other, into one report.

They only read, and may run beside a mesh at work; see each check for how it tells a difference from a delay.
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from ops.invariants.books import check_sums, check_transfers
from ops.invariants.findings import Advance, Check, Report
from ops.invariants.intents import IntentChecks, check_intents
from ops.invariants.left import Left, count_left, open_alerts
from ops.invariants.payments import check_payments, check_psp_accounts, check_references
from ops.invariants.records import AccountChecks, check_accounts
from shared.db.pool import Pool
from shared.ledger.port import Ledger

_LAST: Final = UUID(int=(1 << 128) - 1)
_PATIENCE_S: Final = 10.0
_COUNT_PLANNED: Final = "SELECT count(*) FROM pm.intent WHERE state <> 'VALIDATED'"

Begin = Callable[[str, int | None], Advance]
"""Starts a progress bar with a title and, where it is known, a total."""


_PROMISES: Final = {
    "sums": "debits equal credits in every ledger",
    "transit": "every transit account stands at zero",
    "accounts": "every account stands in the ledger as its name says",
    "balances": "every wallet holds the same in database and ledger",
    "held": "as much of every wallet is held in the database as in the ledger",
    "settled": "every settled intent's legs are in the ledger as planned and resolved",
    "unmoved": "no rejected or duplicate intent moved money",
    "released": "every failed or expired intent gave back what it held, and credited nothing",
    "under_way": "every open intent's funds are held, and its job is written",
    "owners": "every transfer belongs to an intent that planned or resolved it",
    "payments": "every payment of a PSP is accounted for, in full and once",
    "psp_accounts": "our money at every PSP moved by what the PSP named",
    "references": "every reference at a PSP is the one its intent planned",
    "alerts": "no critical alert is open",
    "finished": "nothing is left open",
}
"""Every check, in the order of the report."""


async def check_invariants(
    *,
    ledger: Ledger,
    pool: Pool,
    redis: Redis,
    begin: Begin,
    nothing_open: bool = False,
    allow_alerts: bool = False,
) -> Report:
    """Check everything.

    Args:
        ledger: the books.
        pool: the database.
        redis: the streams, for what is still under way.
        begin: told about each stage.
        nothing_open: count an unfinished intent, job or stream entry, and a dead letter, as a violation.
        allow_alerts: list open alerts, and do not count the critical ones as violations.
    """
    checks = {name: Check(name, promise) for name, promise in _PROMISES.items()}
    await check_sums(ledger, checks["sums"], checks["transit"], begin("ledger sums", None))
    names = await pool.fetchval("SELECT count(*) FROM pm.tb_account_map")
    of_accounts = AccountChecks(checks["accounts"], checks["balances"], checks["held"])
    await check_accounts(ledger, pool, of_accounts, begin("accounts", names))
    planned = await pool.fetchval(_COUNT_PLANNED)
    until = await pool.fetchval("SELECT id FROM pm.intent ORDER BY id DESC LIMIT 1") or _LAST
    of_intents = IntentChecks(
        settled=checks["settled"],
        unmoved=checks["unmoved"],
        released=checks["released"],
        under_way=checks["under_way"],
        references=checks["references"],
    )
    await check_intents(ledger, pool, of_intents, until=until, advance=begin("intents", planned))
    await check_transfers(ledger, pool, checks["owners"], begin("transfers", None))
    await check_payments(pool, checks["payments"], begin("payments", None))
    await check_psp_accounts(ledger, pool, checks["psp_accounts"], begin("money at PSPs", None))
    await check_references(pool, checks["references"], begin("references", None))
    left = await count_left(pool, redis, patience_s=_PATIENCE_S if nothing_open else 0.0)
    if nothing_open:
        _count_left(checks["finished"], left)
    alerts = await open_alerts(pool)
    if not allow_alerts:
        alerts.count_by(checks["alerts"])
    without = {name for name, left_out in (("finished", not nothing_open), ("alerts", allow_alerts)) if left_out}
    return Report(
        tuple(check for check in checks.values() if check.name not in without),
        left.states,
        **{name.replace(" ", "_"): count for name, count in left.counts.items()},
        stale_jobs=left.stale_jobs,
        alerts=alerts.kept,
        alerts_total=alerts.total,
    )


def _count_left(finished: Check, left: Left) -> None:
    finished.examined = sum(left.states.values())
    for what, count in left.counts.items():
        if count:
            finished.violated(what, f"{count} left")
