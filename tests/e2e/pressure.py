"""A mesh whose PSP's adapter is away, and what piles up in it meanwhile, watched all the time.

Real processes: servers, one gateway, one orchestrator, the PSP's sandbox, and its adapter once it is let back in.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import psutil
from redis.asyncio import Redis

from adapters.sandbox.client import SandboxControl
from ops.accounts import ask_to_open, wait_open
from ops.client import new_idempotency_key, open_client
from ops.commands.invariants import look
from ops.embedded.postgres import remove_cluster
from ops.embedded.server import Server
from ops.embedded.services import Stores
from ops.embedded.stack import LedgerChoice, Stack, StackPlan, running_stack
from ops.install import install
from ops.invariants.findings import Report
from ops.keys import NewSecret, create_key
from ops.psps import find_manifest, register
from ops.stores import OpenStores, open_stores
from shared.ids import account_id
from shared.streams import keys
from tests.e2e.withdrawals import CURRENCY, Door
from tests.integration.ops.processes import plain_environ, quick_folder
from tests.waiting import pace

PSP: Final = "ipps"
SCALE_VARIABLE: Final = "PAYMESH_BACKPRESSURE"
"""`whole` posts 50,000 withdrawals instead of 3,000."""
FUNDED_MINOR: Final = 10**10
_WALLETS: Final = tuple(f"user:payer{number}:{CURRENCY}" for number in range(20))
_PERMISSIONS: Final = {
    "operations": ["IPPS_WITHDRAWAL", "ADJUSTMENT"],
    "accounts": ["user:*"],
    "open_accounts": True,
    "adjustment": {"max_minor": FUNDED_MINOR, "alone_max_minor": FUNDED_MINOR},
}
_LOOK_S: Final = 0.01
_CLOSE_LOOK_S: Final = 1.0
_SUBMISSION: Final = b'"action":"submit"'
_LOOKS_PER_COUNT: Final = 50
_MIB: Final = 1 << 20
_UNSENT: Final = "SELECT count(*) FROM pm.outbox_event WHERE sent_at IS NULL"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the mesh is told to hold for one PSP."""

    jobs_max: int
    """In the job stream and its delay set together."""
    door_max: int
    """In the outbox, before gateways refuse."""
    outbox_max: int
    """In the outbox, before orchestrators refuse."""

    def environ(self) -> dict[str, str]:
        """How the mesh is told."""
        return {
            "ORCHESTRATOR_JOBS_MAX": str(self.jobs_max),
            "ORCHESTRATOR_OUTBOX_MAX": str(self.outbox_max),
            "GATEWAY_OUTBOX_MAX": str(self.door_max),
        }


@dataclass(slots=True)
class Watch:
    """The most that was ever seen of anything."""

    looks: int = 0
    jobs: int = 0
    """In the job stream and its delay set together."""
    submissions: int = 0
    """Of them, those that the relay has let in; the others are questions about payments that are under way."""
    unsent: int = 0
    memory_mib: dict[str, int] = field(default_factory=dict)
    """Resident, by process."""

    async def run(self, stores: OpenStores, bounds: Bounds, servers: Sequence[Server], stop: asyncio.Event) -> None:
        """Look until `stop`: a hundred times a second at the streams, twice a second at the rest."""
        looked_closely_s = 0.0
        while not stop.is_set():
            jobs = submissions = await jobs_under_way(stores.redis)
            if jobs > bounds.jobs_max and time.monotonic() - looked_closely_s > _CLOSE_LOOK_S:
                submissions = await submissions_under_way(stores.redis)
                looked_closely_s = time.monotonic()
            elif jobs > bounds.jobs_max:
                submissions = 0
            self.jobs, self.submissions = max(self.jobs, jobs), max(self.submissions, submissions)
            if self.looks % _LOOKS_PER_COUNT == 0:
                self.unsent = max(self.unsent, await stores.pool.fetchval(_UNSENT))
                self._weigh(servers)
            self.looks += 1
            await pace(_LOOK_S)

    def _weigh(self, servers: Sequence[Server]) -> None:
        for server in servers:
            if server.running:
                mib = psutil.Process(server.pid).memory_info().rss // _MIB
                self.memory_mib[server.name] = max(self.memory_mib.get(server.name, 0), mib)


@dataclass(frozen=True, slots=True)
class Mesh:
    """The mesh under pressure."""

    stack: Stack
    stores: OpenStores
    door: Door

    @property
    def adapter(self) -> Server:
        """The PSP's adapter."""
        return self.stack.child(f"adapter-{PSP}")

    async def unsent(self) -> int:
        """Return how many jobs wait in the outbox."""
        return int(await self.stores.pool.fetchval(_UNSENT))

    async def states(self) -> dict[str, int]:
        """Return how many withdrawals are in each state, with the reason where there is one."""
        rows = await self.stores.pool.fetch(
            "SELECT concat_ws(' ', state, error_code) AS state, count(*) AS n FROM pm.intent"
            " WHERE operation_type = 'IPPS_WITHDRAWAL' GROUP BY 1"
        )
        return {row["state"]: row["n"] for row in rows}

    async def questions(self) -> int:
        """Return how often the PSP was asked what became of a payment."""
        return int(
            await self.stores.pool.fetchval("SELECT count(*) FROM pm.psp_result WHERE body ->> 'action' = 'inquire'")
        )

    async def accepted_are_planned(self) -> bool:
        """Say whether nothing that was accepted is still to be thought about."""
        streams = range(await self.stores.pool.fetchval("SELECT partitions FROM pm.mesh"))
        return not sum([await self.stores.redis.xlen(keys.intents(number)) for number in streams])

    async def dead_letters(self) -> int:
        """Return how many jobs and results were given up."""
        return sum([await self.stores.redis.xlen(keys.dlq(stream(PSP))) for stream in (keys.jobs, keys.results)])

    async def paid(self) -> list[int]:
        """Return the amounts of all payments in the PSP's own books."""
        async with aiohttp.ClientSession() as http:
            books = await SandboxControl(http=http, control_url=self.stack.psp(PSP).control_url).books()
        assert all(row["kind"] == "PAYOUT" for row in books["movements"])
        return [int(row["amountSatang"]) for row in books["movements"]]

    async def paid_by_ledger(self) -> int:
        """Return what the ledger says the PSP has paid for us."""
        (found,) = await self.stores.ledger().lookup_accounts([account_id(f"psp:{PSP}:{CURRENCY}")])
        return int(found.credits_posted - found.debits_posted)

    async def left_in_wallets(self) -> int:
        """Return what the ledger says all wallets hold together."""
        found = await self.stores.ledger().lookup_accounts([account_id(name) for name in _WALLETS])
        return sum(one.credits_posted - one.debits_posted for one in found)

    async def report(self) -> Report:
        """Do what `paymesh invariants --nothing-open` does."""
        return await look(self.stores.settings, nothing_open=True)


async def jobs_under_way(redis: Redis) -> int:
    """Return how many jobs stand in the PSP's stream and in its delay set, at one moment."""
    stream = keys.jobs(PSP)
    async with redis.pipeline(transaction=True) as both:
        both.xlen(stream)
        both.zcard(keys.delay(stream))
        found: list[int] = await both.execute()
    return sum(found)


async def submissions_under_way(redis: Redis) -> int:
    """Return the same without the questions, which are not let in by the relay and never wait in the delay set."""
    stream = keys.jobs(PSP)
    async with redis.pipeline(transaction=True) as both:
        both.xrange(stream)
        both.zcard(keys.delay(stream))
        entries, delayed = await both.execute()
    return int(delayed) + sum(any(_SUBMISSION in value for value in fields.values()) for _, fields in entries)


def funded_minor() -> int:
    """Return what all wallets were given."""
    return FUNDED_MINOR * len(_WALLETS)


@asynccontextmanager
async def pressed_mesh(bounds: Bounds, *, ledger: LedgerChoice, durable: bool) -> AsyncIterator[Mesh]:
    """Run a mesh with funded wallets and without the PSP's adapter for the length of the block.

    Args:
        bounds: what it may hold.
        ledger: which ledger.
        durable: on disk, with fsync; else in memory.
    """
    folder = Path(tempfile.mkdtemp(prefix="paymesh-pressure-")) if durable else quick_folder("paymesh-pressure-")
    folder.chmod(0o755)
    plan = StackPlan(
        folder=folder / "stack",
        environ=_environ(bounds),
        ledger=ledger,
        gateways=1,
        reconcilers=0,
        psps=(PSP,),
        fsync=durable,
        supervised=False,
    )
    made: list[NewSecret] = []

    async def prepare(stores: Stores) -> None:
        made.append(await _key(stores))

    try:
        async with running_stack(plan, prepare=prepare, say=lambda _line: None) as stack:
            stack.child(f"adapter-{PSP}").stop()
            async with open_stores(stack.stores.settings()) as stores:
                # As in production: the PSP of a sandbox is asked much more often.
                await register(stores, find_manifest(PSP), actor="test")
                address = urlsplit(stack.url)
                door = Door(address.hostname or "", address.port or 0, made[0], _WALLETS)
                await _fund(stack, stores, made[0])
                yield Mesh(stack, stores, door)
    finally:
        remove_cluster(folder / "stack" / "postgres")
        shutil.rmtree(folder, ignore_errors=True)


def _environ(bounds: Bounds) -> dict[str, str]:
    """Return our environment without what is meant for tests: services start with no variable that they do not know."""
    plain = plain_environ(**bounds.environ())
    return {name: value for name, value in plain.items() if name != SCALE_VARIABLE}


async def _key(stores: Stores) -> NewSecret:
    settings = stores.settings()
    await install(settings)
    async with open_stores(settings) as opened:
        return await create_key(
            opened.pool, settings.keyring(), key="pressure", owner="test", permissions=_PERMISSIONS, actor="test"
        )


async def _fund(stack: Stack, stores: OpenStores, key: NewSecret) -> None:
    await ask_to_open(stores.pool, stores.redis, names=_WALLETS, actor="test")
    assert not await wait_open(stores.pool, _WALLETS, timeout_s=30)
    async with open_client(url=stack.url, key=key.key, secret=key.secret) as client:
        for wallet in _WALLETS:
            grant: Mapping[str, Any] = {
                "operation_type": "ADJUSTMENT",
                "account": wallet,
                "direction": "CREDIT",
                "amount_minor": FUNDED_MINOR,
                "currency": CURRENCY,
            }
            answer = await client.send_until_answered(grant, idempotency_key=new_idempotency_key(), wait_s=10)
            assert answer.document["state"] == "SETTLED", answer
