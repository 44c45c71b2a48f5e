"""Installation: schema, mesh identity, and nothing that is there already.

Safe to repeat, to interrupt, and to run twice at once. This module must never change the ledger kind of a mesh that
exists, and never what it is for because of a setting: only whoever runs the mesh's own servers says that anew.
"""

from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from ops.stores import open_stores
from shared.config import Environment, StoreSettings
from shared.db.failures import database
from shared.db.migrations import migrate
from shared.ledger.mesh_mark import TickingLedger
from shared.ledger.postgres import MIGRATIONS as LEDGER_MIGRATIONS
from shared.mesh import MeshIdentity, grow, read_environment
from shared.mesh import install as install_mesh

PARTITIONS_DEFAULT: Final = 2


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation did: migrations applied just now, and whose mesh it is."""

    applied: tuple[str, ...]
    mesh: MeshIdentity
    environment: Environment
    """What the mesh is for, whatever this process was told."""


async def install(
    settings: StoreSettings, *, partitions: int | None = None, embedded: Environment | None = None
) -> Installed:
    """Bring the stores that the settings name up to date, and make them one mesh.

    Args:
        settings: the stores; their environment is what a new mesh is for, and is nothing to one that exists.
        partitions: how many intent streams there shall be: more than there are adds some, fewer changes nothing.
        embedded: what the mesh is for from now on, where its database is a server of the caller's own; else None.

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
            environment=embedded or settings.environment,
        )
        if partitions is not None:
            mesh = await grow(pool=stores.pool, redis=stores.redis, partitions=partitions)
        if embedded is not None:
            with database():
                await stores.pool.execute("UPDATE pm.mesh SET environment = $1", embedded)
        environment = await read_environment(stores.pool)
    return Installed(tuple(applied), mesh, environment)
