"""PSPs of an embedded stack: told what they need and no more, registered for a sandbox, and alone with their PSP."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ops.embedded import psps
from ops.embedded.psps import POLL, PSPS, adapter, places, port_names, refuse_company, register_psps, sandbox
from ops.embedded.server import ServerFailed
from ops.embedded.services import Stores
from shared.psp import read_manifest
from shared.streams import keys
from tests.integration.ops.conftest import Mesh


def stores_of(mesh: Mesh) -> Stores:
    """The stores of a mesh, as an embedded stack knows them."""
    return Stores(mesh.settings.redis_url, mesh.settings.database_url, None, None)


async def read_as_adapter(redis: Redis, psp: str) -> None:
    """Look for jobs once, as an adapter does."""
    await redis.xreadgroup(keys.ADAPTER_GROUP, "somebody", {keys.jobs(psp): ">"}, count=1)


async def test_a_sandbox_never_joins_an_adapter_that_is_at_work(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on reading is company; one that has fallen silent is not, nor is a PSP without a stream."""
    monkeypatch.setattr(psps, "_SILENT_MS", 400)
    await refuse_company(stores_of(mesh), PSPS)
    await mesh.redis.xgroup_create(keys.jobs("qp"), keys.ADAPTER_GROUP, id="0", mkstream=True)
    await read_as_adapter(mesh.redis, "qp")
    await refuse_company(stores_of(mesh), PSPS)
    stop = asyncio.Event()

    async def at_work() -> None:
        while not stop.is_set():
            await read_as_adapter(mesh.redis, "qp")
            await asyncio.wait([asyncio.create_task(stop.wait())], timeout=0.05)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(at_work())
        with pytest.raises(ServerFailed, match="another adapter serves qp"):
            await refuse_company(stores_of(mesh), PSPS)
        stop.set()


async def test_psps_are_registered_with_accounts_and_routes_to_be_asked_often(mesh: Mesh) -> None:
    """Once and again: the adapters' promises, but for a poll schedule that suits a sandbox."""
    for _ in range(2):
        await register_psps(stores_of(mesh), PSPS)
    rows = await mesh.pool.fetch("SELECT psp, manifest, version FROM pm.psp ORDER BY psp")
    assert [(row["psp"], row["version"]) for row in rows] == [("ipps", 1), ("qp", 1)]
    assert {read_manifest(row["manifest"]).poll for row in rows} == {POLL}
    opened = {row["name"] for row in await mesh.pool.fetch("SELECT name FROM pm.tb_account_map")}
    assert {"psp:ipps:THB", "suspense:ipps:THB", "psp:qp:RUB", "suspense:qp:RUB", "transit:RUB"} <= opened
    routed = {row["operation_type"] for row in await mesh.pool.fetch("SELECT operation_type FROM pm.payment_route")}
    assert {"IPPS_WITHDRAWAL", "THAI_QR_PAY", "QP_TOPUP"} <= routed


def test_an_environment_is_passed_on_by_name_only(tmp_path: Path) -> None:
    """Whatever else is set where the stack starts reaches neither; a ring in a variable reaches the adapter alone."""
    base = {
        "PATH": "/bin",
        "DATABASE_URL": "postgresql://x",
        "SECRET": "x",
        "PAYMESH_KEYRING": "k:x",
        "ADAPTER_TRIES": "1",
    }
    (place,) = places(["ipps"], {name: 20_000 + at for at, name in enumerate(port_names(["ipps"]))})
    stores = Stores("redis://x", "postgresql://x", "127.0.0.1:1", None)
    ours = adapter(place, stores=stores, base=base, logs=tmp_path).env or {}
    theirs = sandbox(place, base=base, logs=tmp_path, books=tmp_path / "books").env or {}
    assert ours["PAYMESH_KEYRING"] == "k:x"
    assert {name for name in ours if not name.startswith("ADAPTER_")} == {
        "PATH", "REDIS_URL", "PAYMESH_KEYRING", "PAYMESH_ENVIRONMENT", "PAYMESH_LOG", "PYTHONUNBUFFERED"
    }  # fmt: skip
    assert "ADAPTER_TRIES" not in ours
    assert {name for name in theirs if not name.startswith("SANDBOX_")} == {
        "PATH", "PAYMESH_ENVIRONMENT", "PAYMESH_LOG", "PYTHONUNBUFFERED"
    }  # fmt: skip
    assert ours["ADAPTER_CALLBACK_SECRETS"] == theirs["SANDBOX_CALLBACK_SECRET"]
    assert place.callback_secret not in repr(place)
