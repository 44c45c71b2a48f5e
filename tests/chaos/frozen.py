"""An orchestrator under SIGSTOP: what it held in its hands, how far each intent had come, and who may have it next.

The server's view tells it all: the entries that stand under the process's name, the database's rows and the ledger's
transfers. Nothing is asked of the process itself, which could not answer.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from ops.stores import OpenStores
from shared.ids import IntentId, Phase, transfer_id
from shared.streams import keys
from shared.streams.client import command
from tests.chaos.mesh import ORCHESTRATORS, PARTITIONS, Mesh
from tests.waiting import until

TAKEN_OVER_TIMEOUT_S: Final = 30.0
SERVER_TIMEOUT_S: Final = 60.0
"""How long the server lets a session sit in an open transaction."""

# The server itself ends such a session, by and by; a test does it in its place, so as not to wait that long.
_END_OPEN_TRANSACTIONS: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'paymesh-orchestrator' AND wait_event = 'ClientRead' AND xact_start IS NOT NULL
  AND state_change < clock_timestamp() - interval '0.7 s'
"""


class Moment(StrEnum):
    """How far an intent had come when its orchestrator was stopped."""

    UNPLANNED = "before its plan was stored"
    PLANNED = "planned, not submitted"
    MOVED = "moved, not recorded"
    RECORDED = "recorded, not finished"


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a stopped process held: intents, and the moment of each."""

    process_id: int
    moments: dict[UUID, Moment]

    @property
    def counts(self) -> Counter[Moment]:
        """How many intents were caught at each moment."""
        return Counter(self.moments.values())


def stop_orchestrators(mesh: Mesh) -> None:
    """Stop every orchestrator, so that nobody changes anything meanwhile."""
    for name in ORCHESTRATORS:
        mesh.pause(name)


def wake_orchestrators(mesh: Mesh, *, but: str | None = None) -> None:
    """Let every orchestrator go on, but perhaps one."""
    for name in ORCHESTRATORS:
        if name != but:
            mesh.wake(name)


async def holder_of(mesh: Mesh, intents: Collection[str]) -> str | None:
    """Return the orchestrator under whose name one of these intents is pending."""
    for name in ORCHESTRATORS:
        if any(str(held) in intents for held in await _held(mesh.stores, mesh.child(name).pid)):
            return name
    return None


async def inspect(mesh: Mesh, name: str) -> Frozen:
    """Look at what a stopped orchestrator holds, while nobody can take it over."""
    stores, process_id = mesh.stores, mesh.child(name).pid
    intents = await _held(stores, process_id)
    rows = await stores.pool.fetch("SELECT id, state FROM pm.intent WHERE id = ANY ($1::uuid[])", intents)
    states = {row["id"]: row["state"] for row in rows}
    first_legs = {intent: transfer_id(IntentId(intent), attempt=1, phase=Phase.MOVE, leg=0) for intent in intents}
    booked = {transfer.id for transfer in await stores.ledger().lookup_transfers(list(first_legs.values()))}
    return Frozen(process_id, {intent: _moment(states.get(intent), first_legs[intent] in booked) for intent in intents})


async def taken_over(mesh: Mesh, frozen: Frozen, *, patiently: bool = False) -> None:
    """Wait until others have finished everything that the stopped process held.

    What it had open in the database is ended for it, unless the test has the patience to let the server do so.
    """

    async def finished() -> bool:
        if not patiently:
            await mesh.stores.pool.execute(_END_OPEN_TRANSACTIONS)
        if await _held(mesh.stores, frozen.process_id):
            return False
        decided = await mesh.stores.pool.fetchval(
            "SELECT count(*) FROM pm.intent WHERE id = ANY ($1::uuid[]) AND state <> 'VALIDATED'", list(frozen.moments)
        )
        return bool(decided == len(frozen.moments))

    timeout_s = SERVER_TIMEOUT_S + TAKEN_OVER_TIMEOUT_S if patiently else TAKEN_OVER_TIMEOUT_S
    await until(finished, "another orchestrator's taking over", timeout_s=timeout_s)


async def _held(stores: OpenStores, process_id: int) -> list[UUID]:
    """Return the intents whose entries are pending under the process's name."""
    intents: list[UUID] = []
    for partition in range(PARTITIONS):
        stream = keys.intents(partition)
        for consumer in await stores.redis.xinfo_consumers(stream, keys.ORCHESTRATOR_GROUP):
            name = consumer["name"].decode()
            if f"-{process_id}-" not in name or not consumer["pending"]:
                continue
            pending = await stores.redis.xpending_range(
                stream, keys.ORCHESTRATOR_GROUP, "-", "+", 10_000, consumername=name
            )
            for entry in pending:
                intents += await _intents_of(stores, stream, entry["message_id"])
    return intents


async def _intents_of(stores: OpenStores, stream: str, entry_id: bytes | str | int) -> list[UUID]:
    found = await command(stores.redis, "XRANGE", stream, entry_id, entry_id)
    return [UUID(fields[b"id"].decode()) for _, fields in found]


def _moment(state: str | None, booked: bool) -> Moment:  # noqa: FBT001 - one flag, named at its only caller
    if state is None:
        return Moment.UNPLANNED
    if state != "VALIDATED":
        return Moment.RECORDED
    return Moment.MOVED if booked else Moment.PLANNED
