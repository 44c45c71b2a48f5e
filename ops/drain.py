"""Draining: the door, or one PSP, is closed to what is new, and whatever is under way runs out of the streams.

What waits for a PSP's word (a code that nobody has paid, a payment in doubt) is told and not waited for: it is safe
where it stands, and only the PSP knows how long it takes. This module must never stop anything that is under way.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from ops import psps
from ops.audit import audit
from ops.refusals import Refused
from ops.statements import statement
from ops.stores import OpenStores
from shared import intake
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from shared.mesh import read_identity
from shared.streams import keys
from shared.streams.client import server
from shared.streams.control import NEW_WORK

_LOOK_S: Final = 0.25
_SEEN_S: Final = 2.0
"""By then every gateway and orchestrator has seen that the door is closed."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is still under way.

    Attributes:
        entries: in the streams of intents, put off ones included.
        planned: intents whose plan nobody has carried out yet.
        unsent: jobs in the outbox.
        jobs: in the streams of jobs, put off ones included.
        results: in the streams of results, put off ones included.
        at_psps: intents that wait for their PSP; not waited for.
        dead_letters: given up; for the reconciler or for people, not waited for.
    """

    entries: int
    planned: int
    unsent: int
    jobs: int
    results: int
    at_psps: int
    dead_letters: int

    @property
    def total(self) -> int:
        """How much has to run out."""
        return self.entries + self.planned + self.unsent + self.jobs + self.results


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of a drain; `left` is None where the last look found a store out of reach."""

    psp: str | None
    left: Left | None
    waited_s: float
    unreached: str = ""

    @property
    def empty(self) -> bool:
        """Whether everything has run out."""
        return self.left is not None and not self.left.total


async def look(pool: Pool, redis: Redis, psp: str | None = None) -> Left:
    """Count what is under way, in all or at one PSP.

    Raises:
        BadInput: there is no such PSP.
        StoreMismatch, Transient, OutcomeUnknown: a store is out of reach, or of no mesh.
    """
    identity, _ = await read_identity(pool)
    if psp is not None and psp not in identity.psps:
        raise Refused(f"{psp} is not registered; see `paymesh psp list`", code="unknown_psp")
    with database():
        row = await pool.fetchrow(statement("drain_database"), psp)
    chosen = identity.psps if psp is None else (psp,)
    intents = [keys.intents(partition) for partition in range(identity.partitions)] if psp is None else []
    jobs, results = [keys.jobs(each) for each in chosen], [keys.results(each) for each in chosen]
    with server():
        entries, waiting, told = [await _standing(redis, streams) for streams in (intents, jobs, results)]
        dead = sum([await redis.xlen(keys.dlq(stream)) for stream in (*intents, *jobs, *results)])
    counted = dict(row or {})
    return Left(entries=entries, jobs=waiting, results=told, dead_letters=dead, **counted)


async def close(stores: OpenStores, psp: str | None, *, reason: str, actor: str) -> None:
    """Close the door, or a PSP, to what is new; effective within two seconds.

    Raises:
        BadInput: there is no such PSP; no reason.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    if psp is not None:
        await psps.pause(stores.pool, stores.redis, psp=psp, operation=NEW_WORK, reason=reason, actor=actor)
        return
    with database():
        async with stores.pool.acquire() as connection, connection.transaction():
            await intake.close(connection, intake.Why.DRAIN, reason=reason, by=actor)
            await audit(connection, actor=actor, action="mesh.drain", target="intake", reason=reason)


async def reopen(stores: OpenStores, psp: str | None, *, reason: str, actor: str) -> list[str]:
    """Open the door, or a PSP, again; return what was closed: ``drain``, ``recover`` or a PSP's name.

    What a recovery closed is opened too: whoever says so answers for what the reconciler has not explained.

    Raises:
        BadInput: there is no such PSP; no reason.
        Transient, OutcomeUnknown: the database is out of reach.
    """
    if psp is not None:
        done = await psps.resume(stores.pool, stores.redis, psp=psp, operation=NEW_WORK, reason=reason, actor=actor)
        return [psp] if done.changed else []
    with database():
        async with stores.pool.acquire() as connection, connection.transaction():
            opened = [str(why) for why in intake.Why if await intake.reopen(connection, why)]
            if opened:
                detail = {"opened": opened}
                await audit(
                    connection, actor=actor, action="mesh.reopen", target="intake", reason=reason, detail=detail
                )
    return opened


async def wait_empty(stores: OpenStores, psp: str | None, *, timeout_s: float, tell: Callable[[Left], None]) -> Drained:
    """Wait until everything has run out, or time is up; a store out of reach is asked again."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    left, unreached = None, ""
    while True:
        try:
            left, unreached = await look(stores.pool, stores.redis, psp), ""
            tell(left)
        except (Transient, OutcomeUnknown) as error:
            left, unreached = None, str(error)
        waited_s = loop.time() - began
        if waited_s >= min(_SEEN_S, timeout_s) and left is not None and not left.total:
            break
        if waited_s >= timeout_s:
            break
        await asyncio.sleep(_LOOK_S)
    return Drained(psp, left, round(waited_s, 1), unreached)


async def _standing(redis: Redis, streams: Sequence[str]) -> int:
    return sum([await redis.xlen(stream) + await redis.zcard(keys.delay(stream)) for stream in streams])
