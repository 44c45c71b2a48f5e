"""The proof behind every figure: each accepted payment settled exactly once, and no other money moved.

The load knows which payments were accepted, hence what every wallet must hold: a payment that was lost or made twice
shows in two wallets, in the ledger or in the database. A benchmark that loses a payment fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from bench.events import BenchFailed
from bench.stage import Stage
from bench.workload import CURRENCY, account
from shared.accounts import transit
from shared.ids import account_id
from shared.streams import keys

FAULTS_SHOWN_MAX: Final = 5
_SCAN_COUNT: Final = 10_000
_SECTION_SQL: Final = (Path(__file__).parent / "sql" / "section.sql").read_text()
_BALANCES_SQL: Final = "SELECT account_id, posted FROM pm.account_balance WHERE account_id = ANY ($1::uuid[])"
_ROWS_PER_PAYMENT: Final = {"intents": 1, "settled": 1, "plans": 1, "events": 3, "movements": 2, "keys": 1}


@dataclass(frozen=True, slots=True)
class Books:
    """What every wallet holds, by its number, as the ledger says and as the database says; and what is in transit."""

    ledger: Sequence[int]
    database: Sequence[int]
    transit: int


async def read_books(stage: Stage) -> Books:
    """Read what every wallet holds."""
    ids = [account_id(account(wallet)) for wallet in range(stage.options.wallets)]
    between = account_id(transit(CURRENCY))
    found = await stage.stores.ledger().lookup_accounts([*ids, between])
    held = {entry.id: entry.credits_posted - entry.debits_posted for entry in found}
    rows = await stage.stores.pool.fetch(_BALANCES_SQL, [UUID(int=number) for number in ids])
    recorded = {row["account_id"].int: int(row["posted"]) for row in rows}
    return Books([held[number] for number in ids], [recorded[number] for number in ids], held[between])


async def verify(stage: Stage, *, before: Books, since: UUID, accepted: int, deltas: Sequence[int]) -> None:
    """Compare both stores with what was accepted since an id.

    Raises:
        BenchFailed: naming what differs.
    """
    counted = await stage.stores.pool.fetchrow(_SECTION_SQL, since)
    if counted is None:
        raise BenchFailed("the database counts nothing")
    faults = count_faults(dict(counted), accepted)
    faults += book_faults(before, await read_books(stage), deltas)
    faults += await _leftovers(stage)
    if faults:
        more = f"\n… and {len(faults) - FAULTS_SHOWN_MAX} more" if len(faults) > FAULTS_SHOWN_MAX else ""
        raise BenchFailed("the books are wrong:\n" + "\n".join(faults[:FAULTS_SHOWN_MAX]) + more)


def count_faults(counted: Mapping[str, Any], accepted: int) -> list[str]:
    """Name every count of rows that is not what so many accepted payments make; pure."""
    return [
        f"{counted[what]} {what} for {accepted} accepted payments, {each} each"
        for what, each in _ROWS_PER_PAYMENT.items()
        if counted[what] != each * accepted
    ]


def book_faults(before: Books, after: Books, deltas: Sequence[int]) -> list[str]:
    """Name every wallet that does not hold what it should; pure."""
    faults = [f"{after.transit} in transit"] if after.transit else []
    for store, held, holds in (
        ("ledger", before.ledger, after.ledger),
        ("database", before.database, after.database),
    ):
        if sum(held) != sum(holds):
            faults.append(f"{store}: the wallets held {sum(held)} and hold {sum(holds)}")
        faults += [
            f"{store}: {account(wallet)} holds {now} instead of {then + delta}"
            for wallet, (then, now, delta) in enumerate(zip(held, holds, deltas, strict=True))
            if now != then + delta
        ]
    return faults


async def _leftovers(stage: Stage) -> list[str]:
    """Name what should have gone: entries, dead letters, markers of acceptance."""
    redis = stage.stores.redis
    partitions = range(stage.mesh.partitions)
    left = {
        "entries": await stage.unfinished(),
        "dead letters": sum([await redis.xlen(keys.dlq(keys.intents(number))) for number in partitions]),
        "accepted markers": sum([1 async for _ in redis.scan_iter(match="acc.*", count=_SCAN_COUNT)]),
    }
    return [f"{count} {what} left" for what, count in left.items() if count]
