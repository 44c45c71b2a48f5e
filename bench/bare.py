"""The bare pipeline: what the mesh does to the stores for each payment, and nothing of what it thinks about it.

The same entries come in, the same transfers go into the ledger, the same rows into the database by two transactions,
the same effects end an entry. What is missing is everything that makes it safe: no validation, no plan, no route, no
look at what the ledger said, no fence, no heartbeat, no recovery. It is the ceiling that the mesh is measured
against, and must never touch real money.
"""

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import uvloop
from redis.asyncio import Redis

from bench.bare_ledger import BareLedger, open_bare_ledger
from bench.events import say, told
from shared.db.pool import Pool, open_pool
from shared.ledger.codes import LegCode
from shared.streams import keys
from shared.streams.client import command, connect
from shared.streams.verdicts import ENTRIES_MAX

BATCHES_IN_FLIGHT: Final = 2
"""Per partition, as many as an orchestrator has."""
_BLOCK_MS: Final = 1000
_HERE: Final = Path(__file__).parent
_POINT_LOOK_UPS: Final = {"enable_seqscan": "off", "enable_mergejoin": "off", "jit": "off"}
"""What the orchestrator sets too."""


@dataclass(frozen=True, slots=True)
class BareConfig:
    """What a bare process is told."""

    redis_url: str
    database_url: str
    tigerbeetle_addresses: str | None
    partitions: int
    name: str


class Bare:
    """Carries batches through."""

    def __init__(self, *, pool: Pool, redis: Redis, ledger: BareLedger, accounts: dict[str, int]) -> None:
        self._pool = pool
        self._redis = redis
        self._ledger = ledger
        self._accounts = accounts
        self._record_plans = (_HERE / "sql" / "bare_plans.sql").read_text()
        self._record_moves = (_HERE / "sql" / "bare_moves.sql").read_text()
        self._finish = (_HERE / "lua" / "bare_finish.lua").read_text()

    async def batch(self, partition: int, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
        """Carry one batch through."""
        plans: list[tuple[Any, ...]] = []
        moves: list[tuple[Any, ...]] = []
        transfers: list[tuple[int, int, int, int, int, int]] = []
        ends: list[bytes] = []
        at = datetime.fromtimestamp(time.time(), UTC)
        transit = self._accounts["transit:THB"]
        for entry_id, fields in entries:
            text = fields[b"id"].decode()
            body = json.loads(fields[b"body"])
            operation = body["operation"]
            payer, payee = operation["from_account"], operation["to_account"]
            amount, currency = operation["amount_minor"], operation["currency"]
            intent = UUID(text)
            pay, receive = intent.int | 1 << 10, intent.int | 1 << 10 | 1
            debit, credit = self._accounts[payer], self._accounts[payee]
            transfers.append((intent.int, pay, debit, transit, amount, LegCode.P2P_PAY))
            transfers.append((intent.int, receive, transit, credit, amount, LegCode.P2P_RECEIVE))
            plan = (
                f'{{"v":1,"channel":"INTERNAL_P2P","route":{{"id":1,"version":1}},"legs":'
                f'[["{payer}","transit:{currency}",{amount},101],["transit:{currency}","{payee}",{amount},102]]}}'
            )
            plans.append(
                (
                    intent, body["service_key"], body["user_id"], body["idempotency_key"], body["fingerprints"][0],
                    amount, currency, json.dumps(operation), at, plan,
                )
            )  # fmt: skip
            moves.append((intent, UUID(int=debit), UUID(int=pay), -amount, LegCode.P2P_PAY))
            moves.append((intent, UUID(int=credit), UUID(int=receive), amount, LegCode.P2P_RECEIVE))
            ends += (entry_id, text.encode(), body["waiter"].encode())
        await self._pool.execute(self._record_plans, *zip(*plans, strict=True))
        await self._ledger.move(transfers)
        await self._pool.execute(self._record_moves, [plan[0] for plan in plans], *zip(*moves, strict=True), at)
        stream = keys.intents(partition)
        await command(self._redis, "EVAL", self._finish, 1, stream, keys.ORCHESTRATOR_GROUP, *ends)

    async def consume(self, partition: int, reader: Redis, consumer: str) -> None:
        """Read and carry through, one batch after the other, until cancelled."""
        words = ("GROUP", keys.ORCHESTRATOR_GROUP, consumer, "COUNT", ENTRIES_MAX, "BLOCK", _BLOCK_MS)
        stream = keys.intents(partition)
        while True:
            reply = await command(reader, "XREADGROUP", *words, "STREAMS", stream, ">")
            if reply:
                await self.batch(partition, reply[0][1])


async def main() -> None:
    """Run until told to stop."""
    config = told(BareConfig)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    pool = await open_pool(config.database_url, max_size=12, server_settings=_POINT_LOOK_UPS)
    redis = connect(config.redis_url)
    ledger = open_bare_ledger(config.tigerbeetle_addresses, pool)
    rows = await pool.fetch("SELECT name, id FROM pm.tb_account_map")
    bare = Bare(pool=pool, redis=redis, ledger=ledger, accounts={row["name"]: row["id"].int for row in rows})
    readers = [connect(config.redis_url, blocking=True) for _ in range(config.partitions)]
    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(bare.consume(partition, reader, f"{config.name}-{number}"))
            for partition, reader in enumerate(readers)
            for number in range(BATCHES_IN_FLIGHT)
        ]
        say("ready")
        await stop.wait()
        for loop in loops:
            loop.cancel()
    await ledger.close()
    for client in (redis, *readers):
        await client.aclose()
    await pool.close()


if __name__ == "__main__":
    uvloop.run(main())
