"""All invariants, one after the other, into one report.

They only read, and may run beside a mesh at work; see each check for how it tells a difference from a delay.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from ops.invariants.books import check_sums, check_transfers
from ops.invariants.findings import Advance, Check, Report
from ops.invariants.records import check_accounts, check_intents
from shared.db.pool import Pool
from shared.ledger.port import Ledger
from shared.states import TERMINAL
from shared.streams import keys

_LAST: Final = UUID(int=(1 << 128) - 1)
_PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 0.05
_COUNT_STATES: Final = "SELECT state, count(*) AS n FROM pm.intent GROUP BY state ORDER BY state"
_COUNT_DECIDED: Final = "SELECT count(*) FROM pm.intent WHERE state IN ('SETTLED', 'REJECTED', 'DUPLICATE')"

Begin = Callable[[str, int | None], Advance]
"""Starts a progress bar with a title and, where it is known, a total."""


async def check_invariants(
    *, ledger: Ledger, pool: Pool, redis: Redis, begin: Begin, nothing_open: bool = False
) -> Report:
    """Check everything.

    Args:
        ledger: the books.
        pool: the database.
        redis: the streams, for what is still under way.
        begin: told about each stage.
        nothing_open: count an unfinished intent, stream entry or dead letter as a violation.
    """
    sums = Check("sums", "debits equal credits in every ledger")
    transit = Check("transit", "every transit account stands at zero")
    accounts = Check("accounts", "every account stands in the ledger as its name says")
    balances = Check("balances", "every wallet holds the same in database and ledger")
    settled = Check("settled", "every settled intent's legs are in the ledger as planned")
    unmoved = Check("unmoved", "no rejected or duplicate intent moved money")
    owners = Check("owners", "every transfer belongs to an intent that planned it")
    finished = Check("finished", "nothing is left open")
    await check_sums(ledger, sums, transit, begin("ledger sums", None))
    names = await pool.fetchval("SELECT count(*) FROM pm.tb_account_map")
    await check_accounts(ledger, pool, accounts, balances, begin("accounts", names))
    decided = await pool.fetchval(_COUNT_DECIDED)
    until = await pool.fetchval("SELECT id FROM pm.intent ORDER BY id DESC LIMIT 1") or _LAST
    await check_intents(ledger, pool, settled, unmoved, until=until, advance=begin("intents", decided))
    await check_transfers(ledger, pool, owners, begin("transfers", None))
    checks = [sums, transit, accounts, balances, settled, unmoved, owners]
    left = await _left(pool, redis, patience_s=_PATIENCE_S if nothing_open else 0.0)
    if nothing_open:
        finished.examined = sum(left.states.values())
        for what, count in left.counts.items():
            if count:
                finished.violated(what, f"{count} left")
        checks.append(finished)
    return Report(tuple(checks), left.states, **{name.replace(" ", "_"): count for name, count in left.counts.items()})


@dataclass(frozen=True, slots=True)
class _Left:
    """What is not finished at the moment."""

    states: dict[str, int]
    counts: dict[str, int]


async def _left(pool: Pool, redis: Redis, *, patience_s: float) -> _Left:
    """Count what is left, again until there is nothing or patience ends: an entry outlives its intent for a moment."""
    deadline = time.monotonic() + patience_s
    while True:
        states = {row["state"]: row["n"] for row in await pool.fetch(_COUNT_STATES)}
        undecided = sum(count for state, count in states.items() if state not in TERMINAL)
        entries, dead = await _streams(pool, redis)
        left = _Left(states, {"open intents": undecided, "stream entries": entries, "dead letters": dead})
        if not any(left.counts.values()) or time.monotonic() >= deadline:
            return left
        await asyncio.sleep(_PAUSE_S)


async def _streams(pool: Pool, redis: Redis) -> tuple[int, int]:
    """Return how many entries stand in the intent streams (delayed ones included), and how many are dead letters."""
    partitions = await pool.fetchval("SELECT partitions FROM pm.mesh") or 0
    entries = dead = 0
    for number in range(partitions):
        stream = keys.intents(number)
        entries += await redis.xlen(stream) + await redis.zcard(keys.delay(stream))
        dead += await redis.xlen(keys.dlq(stream))
    return entries, dead
