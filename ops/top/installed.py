"""What there is to look at: partitions and PSPs, from the database, or as far as Redis can tell.

Redis is never asked for a list of its keys. Without the database its marks are looked for by name: those of every
possible partition, and those of the PSPs whose adapters are part of this release.
"""

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

import adapters
from ops.top.rows import MeshRow
from shared.db.pool import Pool
from shared.ids import PARTITIONS_MAX
from shared.streams import keys

_MESH: Final = "SELECT id, epoch, ledger_kind, partitions FROM pm.mesh"
_PSPS: Final = "SELECT psp FROM pm.psp ORDER BY psp"
_NO_PSPS: Final = frozenset({"runtime", "sandbox"})


@dataclass(frozen=True, slots=True)
class Installed:
    """Which mesh this is, if it is one, and its PSPs."""

    mesh: MeshRow | None
    psps: tuple[str, ...]

    @property
    def groups(self) -> list[tuple[str, str]]:
        """Every work stream with the group that reads it."""
        partitions = self.mesh.partitions if self.mesh is not None else 0
        return [
            *((keys.intents(number), keys.ORCHESTRATOR_GROUP) for number in range(partitions)),
            *((keys.jobs(psp), keys.ADAPTER_GROUP) for psp in self.psps),
            *((keys.results(psp), keys.ORCHESTRATOR_GROUP) for psp in self.psps),
        ]


async def from_database(pool: Pool) -> Installed:
    """Read both registers."""
    mesh = await pool.fetchrow(_MESH)
    psps = tuple(row["psp"] for row in await pool.fetch(_PSPS))
    if mesh is None:
        return Installed(None, psps)
    return Installed(MeshRow(str(mesh["id"]), mesh["epoch"], mesh["ledger_kind"], mesh["partitions"]), psps)


async def from_redis(redis: Redis) -> Installed:
    """Look for the marks of partitions and PSPs."""
    slots = [keys.slot(number) for number in range(PARTITIONS_MAX)]
    known = [entry.name for entry in pkgutil.iter_modules(adapters.__path__) if entry.ispkg]
    psps = [name for name in known if name not in _NO_PSPS]
    marks = await _marks(redis, [*slots, *psps])
    partitions = sum(marks[slot] is not None for slot in slots)
    first = marks[slots[0]]
    mesh = None if first is None else MeshRow(first[0], first[1], None, partitions)
    return Installed(mesh, tuple(psp for psp in psps if marks[psp] is not None))


async def _marks(redis: Redis, tags: Sequence[str]) -> dict[str, tuple[str, int] | None]:
    """Return mesh id and epoch by slot; None where there is no mark."""
    async with redis.pipeline(transaction=False) as pipeline:
        for tag in tags:
            pipeline.execute_command("HMGET", keys.mesh(tag), "id", "epoch")
        found = await pipeline.execute()
    return {
        tag: (mesh.decode(), int(epoch)) if mesh is not None and (epoch or b"").isdigit() else None
        for tag, (mesh, epoch) in zip(tags, found, strict=True)
    }
