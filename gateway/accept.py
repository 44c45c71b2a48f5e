"""The door as the gateway sees it: entries gather per partition, and every outcome has its answer.

A request counts as accepted only when the accept script said so and, where replicas are demanded, they have it too.
A lost reply means that the intent may have been accepted: the client is told to ask again with the same key. This
module must never turn an unknown outcome into a definite one.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from redis.asyncio import Redis

from gateway.coalescer import Coalescer
from gateway.metrics import GatewayMetrics
from gateway.problems import Problem
from gateway.vitals import Vitals
from shared.errors import OutcomeUnknown, Transient
from shared.streams.accept import AcceptEntry, AcceptResult, AcceptStatus, accept

ENTRY_OVERHEAD_BYTES: Final = 512
"""What an entry costs beside its body: ids, keys, fingerprints."""

Lane = Coalescer[AcceptEntry, AcceptResult]


def partition_for(service_key_id: str, key: str, partitions: int) -> int:
    """Return the partition of a (service key, idempotency key): the same in every process, for ever."""
    return zlib.crc32(f"{service_key_id} {key}".encode()) % partitions


def _size(entry: AcceptEntry) -> int:
    return len(entry.envelope.body) + ENTRY_OVERHEAD_BYTES


class Door:
    """Offers entries to their streams, one call in flight per partition."""

    def __init__(
        self,
        *,
        client: Redis,
        vitals: Vitals,
        metrics: GatewayMetrics,
        replicas_min: int = 0,
        replica_timeout_ms: int = 1000,
    ) -> None:
        self._client = client
        self._vitals = vitals
        self._metrics = metrics
        self._replicas_min = replicas_min
        self._replica_timeout_ms = replica_timeout_ms
        self._lanes: dict[int, Lane] = {}
        self._closed_lanes: dict[int, Lane] = {}

    async def offer(self, partition: int, entry: AcceptEntry) -> AcceptResult:
        """Offer one entry; return ACCEPTED, REPLAYED or CLASH.

        Raises:
            Problem: nothing was accepted, or (``outcome_unknown``) the same key will tell.
        """
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = Coalescer(partial(self._carry, partition), size_of=_size)
        return await self._submit(lane, entry)

    async def replay(self, partition: int, entry: AcceptEntry) -> AcceptResult | None:
        """Offer one entry at a closed door; return REPLAYED, or None where its key is not bound to anything here.

        Raises:
            Problem: as `offer`; nothing was accepted.
        """
        lane = self._closed_lanes.get(partition)
        if lane is None:
            carry = partial(self._carry, partition, closed=True)
            lane = self._closed_lanes[partition] = Coalescer(carry, size_of=_size)
        try:
            return await self._submit(lane, entry)
        except Problem as problem:
            if problem.code in ("busy", "intake_closed"):
                return None
            raise

    async def _submit(self, lane: Lane, entry: AcceptEntry) -> AcceptResult:
        try:
            result = await lane.submit(entry)
        except OutcomeUnknown as error:
            raise Problem("outcome_unknown", intent_id=entry.envelope.id) from error
        except Transient as error:
            raise Problem("busy" if error.code == "busy" else "stream_unavailable") from error
        match result.status:
            case AcceptStatus.ACCEPTED | AcceptStatus.REPLAYED | AcceptStatus.CLASH:
                return result
            case AcceptStatus.BUSY:
                raise Problem("intake_closed" if self._vitals.closed else "busy")
            case AcceptStatus.CONFLICT:
                raise Problem("idempotency_key_reused", intent_id=result.id)
            case AcceptStatus.CLOCK:
                raise Problem("clock_skew")
            case AcceptStatus.WRONG_MESH:
                self._vitals.suspect()
                raise Problem("wrong_mesh")

    async def drain(self) -> None:
        """Wait until nothing is queued or in flight."""
        for lane in (*self._lanes.values(), *self._closed_lanes.values()):
            await lane.drain()

    async def _carry(
        self, partition: int, entries: Sequence[AcceptEntry], *, closed: bool = False
    ) -> Sequence[AcceptResult]:
        self._metrics.accept_batch.observe(len(entries))
        admission = self._vitals.admission
        return await accept(
            self._client,
            partition=partition,
            entries=entries,
            admission=replace(admission, memory_full=True) if closed else admission,
            replicas_min=self._replicas_min,
            replica_timeout_ms=self._replica_timeout_ms,
        )
