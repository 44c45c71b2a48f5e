"""The stores as far as they can be reached: a command about dead letters goes on without the one that is away.

Whatever could not be reached is a note that the command prints. This module must never hide that something is
missing, and never let a deed go on without the database that keeps it on record.
"""

import pkgutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

import adapters
from ops.refusals import Refused
from shared.config import StoreSettings
from shared.db.failures import database
from shared.db.pool import Pool, close_pool, open_pool
from shared.errors import OutcomeUnknown, Transient
from shared.ledger.open import open_ledger
from shared.ledger.port import Ledger
from shared.streams import keys
from shared.streams.client import command, connect
from shared.streams.permits import ALONE, Replicas

_CONNECT_TIMEOUT_S: Final = 3.0
_LEDGER_TIMEOUT_S: Final = 30.0
_PARTITIONS_MAX: Final = 256


@dataclass(slots=True)
class Reach:
    """What a command can work with.

    Attributes:
        settings: where the stores should be.
        redis: connects with its first command.
        notes: what could not be reached, in sentences.
    """

    settings: StoreSettings
    redis: Redis
    closing: AsyncExitStack = field(repr=False)
    notes: list[str] = field(default_factory=list)
    pool_or_none: Pool | None = None
    _ledger: Ledger | None = None

    @property
    def pool(self) -> Pool:
        """The database.

        Raises:
            Transient: it is out of reach, and what was asked for cannot be done without it.
        """
        if self.pool_or_none is None:
            raise Transient(
                "PostgreSQL is out of reach, and nothing is done that cannot be put on record", code="no_database"
            )
        return self.pool_or_none

    async def replicas(self) -> Replicas:
        """Return whom a permit must have reached before anybody acts on it: one replica, where there is any."""
        with reading_redis():
            said = await command(self.redis, "INFO", "replication")
        return Replicas(least=1) if int(said.get("connected_slaves", 0)) > 0 else ALONE

    def ledger(self) -> Ledger:
        """Open a ledger session, or return the one that is open."""
        if self._ledger is None:
            self._ledger = open_ledger(
                tigerbeetle_addresses=self.settings.tigerbeetle_addresses,
                tigerbeetle_cluster_id=self.settings.tigerbeetle_cluster_id,
                pool=self.pool,
                timeout_s=_LEDGER_TIMEOUT_S,
            )
            self.closing.push_async_callback(self._ledger.close)
        return self._ledger


@asynccontextmanager
async def reach_stores(settings: StoreSettings) -> AsyncIterator[Reach]:
    """Connect to what answers, for the length of the block."""
    async with AsyncExitStack() as closing:
        redis = connect(settings.redis_url)
        closing.push_async_callback(redis.aclose)
        reach = Reach(settings, redis, closing)
        try:
            with database():
                pool = await open_pool(
                    settings.database_url,
                    min_size=1,
                    max_size=4,
                    application_name="paymesh-cli",
                    connect_timeout_s=_CONNECT_TIMEOUT_S,
                )
        except (Transient, OutcomeUnknown, asyncpg.PostgresError) as error:
            name = type(error.__cause__ or error).__name__
            reach.notes.append(
                f"PostgreSQL is out of reach ({name}): states of intents and what was decided are missing"
            )
        else:
            closing.push_async_callback(close_pool, pool)
            reach.pool_or_none = pool
        yield reach


@contextmanager
def reading_redis() -> Iterator[None]:
    """Say in a sentence that Redis is away, for the length of a block that only reads it.

    Raises:
        Transient: it did not answer.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise Transient(f"Redis is out of reach: {type(error).__name__}", code="redis_unreachable") from error


async def streams_of(reach: Reach, psp: str | None = None) -> list[str]:
    """Name the work streams of the mesh, or of one PSP.

    Without the database the partitions are those that carry a mark in Redis, and the PSPs those whose adapters are
    installed here and that carry one; a note says so.

    Raises:
        BadInput: no such PSP.
        Transient: neither store can say.
    """
    if reach.pool_or_none is not None:
        with database():
            partitions = await reach.pool.fetchval("SELECT partitions FROM pm.mesh") or 0
            psps = [row["psp"] for row in await reach.pool.fetch("SELECT psp FROM pm.psp ORDER BY psp")]
    else:
        partitions, psps = await _marked(reach, psp)
    if psp is not None:
        if psp not in psps:
            raise Refused(f"{psp} is not registered; see `paymesh psp list`", code="unknown_psp")
        return [keys.jobs(psp), keys.results(psp)]
    return [*map(keys.intents, range(partitions)), *(name(one) for one in psps for name in (keys.jobs, keys.results))]


async def _marked(reach: Reach, psp: str | None) -> tuple[int, list[str]]:
    installed = {module.name for module in pkgutil.iter_modules(adapters.__path__) if module.ispkg}
    wanted = sorted(installed | ({psp} if psp is not None else set()))
    partitions = 0
    with reading_redis():
        while partitions < _PARTITIONS_MAX and await _has_mark(reach.redis, keys.slot(partitions)):
            partitions += 1
        psps = [name for name in wanted if await _has_mark(reach.redis, name)]
    reach.notes.append("the PSPs looked at are those whose adapters are installed here")
    return partitions, psps


async def _has_mark(redis: Redis, slot: str) -> bool:
    return bool(await command(redis, "EXISTS", keys.mesh(slot)))
