"""Installation: schema, mesh identity, and nothing that is there already.

Safe to repeat, to interrupt, and to run twice at once. This module must never change the ledger kind of a mesh that
exists.
"""

from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from ops.stores import open_stores
from shared.config import StoreSettings
from shared.db.migrations import migrate
from shared.ledger.mesh_mark import TickingLedger
from shared.ledger.postgres import MIGRATIONS as LEDGER_MIGRATIONS
from shared.mesh import MeshIdentity, grow
from shared.mesh import install as install_mesh

PARTITIONS_DEFAULT: Final = 2


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation did: migrations applied just now, and whose mesh it is."""

    applied: tuple[str, ...]
    mesh: MeshIdentity


async def install(settings: StoreSettings, *, partitions: int | None = None) -> Installed:
    """Bring the stores that the settings name up to date, and make them one mesh.

    `partitions` is how many intent streams there shall be: more than there are adds some, fewer changes nothing.

    Raises:
        StoreMismatch: a store belongs to another mesh, or the mesh has another ledger kind.
        MigrationRefused: the migration files contradict the database's history.
        Transient, OutcomeUnknown: a store is out of reach; install again.
    """
    applied = await migrate(settings.database_url)
    if settings.ledger_kind == "postgres":
        applied += await migrate(settings.database_url, directory=LEDGER_MIGRATIONS)
    async with open_stores(settings) as stores:
        mesh = await install_mesh(
            pool=stores.pool,
            redis=stores.redis,
            ledger=TickingLedger(stores.ledger()),
            ledger_kind=settings.ledger_kind,
            partitions=partitions or PARTITIONS_DEFAULT,
            new_id=uuid4(),
        )
        if partitions is not None:
            mesh = await grow(pool=stores.pool, redis=stores.redis, partitions=partitions)
    return Installed(tuple(applied), mesh)
