"""Installation: one mesh out of three stores, once, whoever repeats it."""

import asyncio
from pathlib import Path
from shutil import copy
from uuid import UUID

import pytest

from ops.install import install
from shared.config import Environment, StoreSettings
from shared.db.migrations import TRUNK, migrate, read_migrations
from shared.errors import StoreMismatch
from shared.ledger.postgres import MIGRATIONS
from shared.mesh import read_environment
from tests.integration.ops.conftest import Mesh


def told(settings: StoreSettings, environment: Environment) -> StoreSettings:
    """The settings of somebody who sets PAYMESH_ENVIRONMENT."""
    return settings.model_copy(update={"environment": environment})


async def test_installing_again_changes_nothing(mesh: Mesh) -> None:
    """The same identity, no migration left, and the number of partitions stays."""
    for partitions in (None, 1, 2):
        again = await install(mesh.settings, partitions=partitions)
        assert again.applied == ()
        assert again.mesh == mesh.installed.mesh
    assert mesh.installed.mesh.partitions == 2


async def test_installing_with_more_partitions_adds_them(mesh: Mesh) -> None:
    """Growing is asked for by number, and everything else stays as it was."""
    grown = await install(mesh.settings, partitions=3)
    assert (grown.mesh.id, grown.mesh.partitions) == (mesh.installed.mesh.id, 3)


async def test_several_may_install_at_once(mesh: Mesh) -> None:
    """Every pod of a deployment migrates at its start: one identity for all."""
    await emptied(mesh)
    done = await asyncio.gather(*(install(mesh.settings) for _ in range(4)))
    assert len({one.mesh for one in done}) == 1
    series = (*read_migrations(TRUNK), *read_migrations(MIGRATIONS))
    assert sorted(name for one in done for name in one.applied) == sorted(file.name for file in series)


async def test_a_mesh_never_changes_its_ledger(mesh: Mesh) -> None:
    """The mesh keeps its books in PostgreSQL; a start that was given TigerBeetle is refused, with what to do."""
    await mesh.pool.execute("UPDATE pm.mesh SET ledger_kind = 'tigerbeetle'")
    with pytest.raises(StoreMismatch, match="TIGERBEETLE_ADDRESSES"):
        await install(mesh.settings)


async def test_a_streams_server_that_was_emptied_stops_the_installation(mesh: Mesh) -> None:
    """A routine `paymesh migrate` must not bless a store that lost its past."""
    await mesh.redis.flushall()
    with pytest.raises(StoreMismatch, match="Redis"):
        await install(mesh.settings)
    assert isinstance(mesh.installed.mesh.id, UUID)


async def test_what_a_mesh_is_for_is_said_once(mesh: Mesh) -> None:
    """By whoever installs it first, and for production where nobody says anything; no setting changes it later."""
    assert (mesh.installed.environment, await read_environment(mesh.pool)) == ("production", "production")
    lowered = await install(told(mesh.settings, "test"))
    assert (lowered.environment, await read_environment(mesh.pool)) == ("production", "production")
    await emptied(mesh)
    assert (await install(told(mesh.settings, "test"))).environment == "test"
    assert (await install(mesh.settings)).environment == "test"


async def test_a_mesh_from_before_is_for_production_unless_its_servers_are_ours(mesh: Mesh, tmp_path: Path) -> None:
    """An upgrade cannot know; `paymesh dev`, which runs the database itself, does."""
    first, later = sorted(TRUNK.glob("*.sql"))[:4], sorted(TRUNK.glob("*.sql"))[4:]
    before = tmp_path / TRUNK.name
    before.mkdir()
    for migration in first:
        copy(migration, before)
    row = await mesh.pool.fetchrow("SELECT id, ledger_kind, epoch, partitions, tick FROM pm.mesh")
    assert row is not None
    await mesh.pool.execute("DROP SCHEMA pm CASCADE; DELETE FROM public.pm_migrations WHERE series = 'migrations'")
    await migrate(mesh.settings.database_url, directory=before)
    await mesh.pool.execute(
        "INSERT INTO pm.mesh (id, ledger_kind, epoch, partitions, tick) VALUES ($1, $2, $3, $4, $5)", *row.values()
    )
    assert await read_environment(mesh.pool) == "production"
    upgraded = await install(told(mesh.settings, "test"))
    assert (upgraded.applied, upgraded.environment) == (tuple(path.name for path in later), "production")
    assert (await install(mesh.settings, embedded="development")).environment == "development"


async def test_a_database_without_a_mesh_is_taken_for_production(mesh: Mesh) -> None:
    """The careful answer, whatever is missing."""
    await mesh.pool.execute("DELETE FROM pm.mesh")
    assert await read_environment(mesh.pool) == "production"
    await emptied(mesh)
    assert await read_environment(mesh.pool) == "production"


async def emptied(mesh: Mesh) -> None:
    """Leave nothing of the mesh in any store."""
    await mesh.pool.execute("DROP SCHEMA pm CASCADE; DROP SCHEMA ledger CASCADE; DELETE FROM public.pm_migrations")
    await mesh.redis.flushall()
