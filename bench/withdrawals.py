"""A steady stream of withdrawals beside the payments that are measured, offered as gateways would offer them.

A process of its own. It follows no withdrawal: what becomes of each stands in the database. It goes on while the PSP
is slow or dead, and while orchestrators refuse what it offers, which a gateway would spare them.

Reports: ``ready``; once it is told to end, ``done`` with how many were accepted.
"""

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits
from typing import Final

import uvloop
from redis.asyncio import Redis

from bench.events import BenchFailed, say, told
from bench.workload import account, owner
from shared.contracts import Envelope, IntentMessage, Kind
from shared.ids import intent_id
from shared.operations import IppsWithdrawal
from shared.sealing import KeyRing, seal
from shared.streams import keys
from shared.streams.accept import AcceptEntry, AcceptStatus, Admission, accept
from shared.streams.client import connect
from shared.streams.events import wait_up_to

_WAITER: Final = "bench-withdrawals"
"""Nobody listens there."""
_LENGTH_MAX: Final = 10_000
_DEDUPE_TTL_MS: Final = 3_600_000
_AMOUNT_MIN: Final = 100
_AMOUNTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class WithdrawalsConfig:
    """What the process is told."""

    redis_url: str
    epoch: str
    partitions: int
    section: str
    keyring_file: str
    first_wallet: int
    wallets: int
    """The wallets that pay, in turn, from the first one on."""
    rate: int
    """Withdrawals a second."""


class Withdrawals:
    """Offers withdrawals."""

    def __init__(self, config: WithdrawalsConfig, client: Redis) -> None:
        self._config = config
        self._client = client
        self._ring = KeyRing.read(Path(config.keyring_file))
        self._admission = Admission(config.epoch, _LENGTH_MAX, memory_full=False, dedupe_ttl_ms=_DEDUPE_TTL_MS)
        self.accepted = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Offer one after the other until `stop`."""
        began, number = time.monotonic(), 0
        while not stop.is_set():
            await wait_up_to(stop, max(0.0, began + number / self._config.rate - time.monotonic()))
            await self._offer(number)
            number += 1

    async def _offer(self, number: int) -> None:
        partition = number % self._config.partitions
        (result,) = await accept(
            self._client, partition=partition, entries=[self._entry(partition, number)], admission=self._admission
        )
        if result.status is AcceptStatus.ACCEPTED:
            self.accepted += 1
        elif result.status is not AcceptStatus.BUSY:
            raise BenchFailed(f"a withdrawal was answered {result.status}")

    def _entry(self, partition: int, number: int) -> AcceptEntry:
        config = self._config
        wallet = config.first_wallet + number % config.wallets
        intent = str(intent_id(time.time_ns() // 1000, partition, randbits(38)))
        key, fingerprint = f"{config.section}-{number}", f"bench:{number:064x}"
        message = IntentMessage(
            service_key=config.section,
            user_id=owner(wallet),
            idempotency_key=key,
            fingerprints=(fingerprint,),
            operation=IppsWithdrawal(
                from_account=account(wallet),
                amount_minor=_AMOUNT_MIN + number % _AMOUNTS,
                currency="THB",
                proxy_type="MOBILE",
                proxy=seal(self._ring, context=intent, field="proxy", text=f"08{number:08d}"),
            ),
            waiter=_WAITER,
        )
        return AcceptEntry(
            Envelope(Kind.INTENT, intent, message.model_dump_json().encode()),
            keys.idem(partition, config.section, key),
            (fingerprint,),
            f"{config.section}:{owner(wallet)}",
        )


async def main() -> None:
    """Offer withdrawals until told to end."""
    config = told(WithdrawalsConfig)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = connect(config.redis_url)
    withdrawals = Withdrawals(config, client)
    say("ready")
    try:
        await withdrawals.run(stop)
    finally:
        await client.aclose()
    say("done", accepted=withdrawals.accepted)


if __name__ == "__main__":
    uvloop.run(main())
