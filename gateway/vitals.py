"""Vital signs of the stores: is this still our mesh, which epoch, how many partitions, is memory short.

Looked at every second, and at once when the accept script says that a slot belongs elsewhere. What is known here
opens and closes the door (`Admission`) and answers ``/readyz``. This module must never open the door on a guess: an
epoch is adopted only when PostgreSQL and every slot agree on it, and not without asking whether the door was closed.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import intake
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, StoreMismatch, Transient
from shared.mesh import MeshIdentity, verify
from shared.streams.accept import Admission
from shared.streams.client import refused, unreachable

LOOK_INTERVAL_S: Final = 1.0
STALE_S: Final = 5.0
MEMORY_SHARE_MAX: Final = 0.75

_log = structlog.get_logger(__name__)


class Vitals:
    """What the gateway knows about its stores."""

    def __init__(
        self,
        *,
        pool: Pool,
        redis: Redis,
        identity: MeshIdentity,
        length_max: int,
        dedupe_ttl_s: int,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._identity = identity
        self._length_max = length_max
        self._dedupe_ttl_ms = dedupe_ttl_s * 1000
        self._monotonic_s = monotonic_s
        self._memory_full = False
        self.closed = False
        """Whether somebody has closed the door; what was accepted before is answered all the same."""
        self._suspected = asyncio.Event()
        self._looked_at = monotonic_s()
        self._faults: dict[str, str] = {}
        self.admission = self._admission()

    @property
    def partitions(self) -> int:
        """How many partitions the mesh has."""
        return self._identity.partitions

    def checks(self) -> dict[str, str]:
        """Return each check of readiness with ``ok`` or what is wrong."""
        checks = {name: self._faults.get(name, "ok") for name in ("database", "redis", "mesh")}
        if self._monotonic_s() - self._looked_at > STALE_S:
            checks["stores"] = "no answer"
        return checks

    def suspect(self) -> None:
        """Have the mesh looked at now: the accept script found another one, or another epoch."""
        self._suspected.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Look every second until `stop`."""
        while not stop.is_set():
            await self.look()
            self._suspected.clear()
            try:
                async with asyncio.timeout(LOOK_INTERVAL_S):
                    await self._suspected.wait()
            except TimeoutError:
                continue
            # Suspicions come with every refused request; one look a quarter of a second answers them all.
            await asyncio.sleep(LOOK_INTERVAL_S / 4)

    async def look(self) -> None:
        """Look once at both stores."""
        faults: dict[str, str] = {}
        await self._look_at_memory(faults)
        await self._look_at_mesh(faults)
        if faults != self._faults:
            _log.warning("vitals_changed", **{name: faults.get(name, "ok") for name in {**faults, **self._faults}})
        self._faults = faults
        self._looked_at = self._monotonic_s()
        self.admission = self._admission()

    def _admission(self) -> Admission:
        return Admission(
            epoch=self._identity.token,
            length_max=self._length_max,
            memory_full=self._memory_full or self.closed,
            dedupe_ttl_ms=self._dedupe_ttl_ms,
        )

    async def _look_at_memory(self, faults: dict[str, str]) -> None:
        try:
            memory = await self._redis.info("memory")
        except (RedisError, OSError) as error:
            if not (unreachable(error) or refused(error)):
                raise
            faults["redis"] = type(error).__name__
            return
        limit = int(memory["maxmemory"])
        self._memory_full = limit > 0 and int(memory["used_memory"]) > limit * MEMORY_SHARE_MAX

    async def _look_at_mesh(self, faults: dict[str, str]) -> None:
        try:
            identity = await verify(pool=self._pool, redis=self._redis, ledger=None, ledger_kind=None)
            # In this order: whoever raises the epoch closes the door in the same transaction.
            closures = await intake.closures(self._pool)
        except StoreMismatch as error:
            faults["mesh"] = str(error)
        except (Transient, OutcomeUnknown) as error:
            faults["database" if error.code.startswith("database") else "redis"] = error.code
        else:
            if identity.id != self._identity.id:
                faults["mesh"] = "PostgreSQL and Redis now belong to another mesh than the one this process started in"
            else:
                self._identity = identity
                self._note_closures(closures)

    def _note_closures(self, closures: Sequence[intake.Closure]) -> None:
        if bool(closures) != self.closed:
            _log.warning("intake_switched", closed=[closure.why for closure in closures])
        self.closed = bool(closures)
