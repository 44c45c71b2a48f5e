"""Installation: one mesh out of three stores, once, whoever repeats it."""

import asyncio
from uuid import UUID

import pytest

from ops.install import install
from shared.db.migrations import TRUNK, read_migrations
from shared.errors import StoreMismatch
from shared.ledger.postgres import MIGRATIONS
from tests.integration.ops.conftest import Mesh


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
    await mesh.pool.execute("DROP SCHEMA pm CASCADE; DROP SCHEMA ledger CASCADE; DELETE FROM public.pm_migrations")
    await mesh.redis.flushall()
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
