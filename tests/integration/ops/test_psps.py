"""PSPs as operators handle them, on real stores: registered as a whole, paused at once, and on record."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.ipps.settlement_file import SETTLEMENT
from ops.psps import Registered, find_layout, find_manifest, list_psps, pause, register, resume
from ops.stores import open_stores
from orchestrator.psp_register import PspRegister
from reconciler.settlement.rounds import read_layouts
from shared.errors import BadInput, StoreMismatch
from shared.psp import BadManifest, Manifest
from shared.streams import keys
from shared.streams.breaker import BreakerRules, BreakerState, record
from shared.streams.client import connect
from shared.streams.control import read_control
from tests.integration.ops.commanding import NOBODY
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.dlq_scene import typed
from tests.integration.orchestrator.outbound import PAYOUT, PSP, manifest_of

MANIFEST = manifest_of()
ME = "me@here"


async def registered(mesh: Mesh, manifest: Manifest = MANIFEST) -> Registered:
    """Register a PSP as the command does."""
    async with open_stores(mesh.settings) as stores:
        return await register(stores, manifest, actor=ME)


async def audited(mesh: Mesh) -> list[tuple[str, str, str | None]]:
    """What is on record about PSPs."""
    rows = await mesh.pool.fetch("SELECT action, target, reason FROM pm.audit_log WHERE actor = $1 ORDER BY id", ME)
    return [tuple(row) for row in rows]


async def test_a_registered_psp_has_all_that_its_money_needs(mesh: Mesh) -> None:
    """Register, mark, routes and accounts: an orchestrator that sees it can plan for it at once."""
    done = await registered(mesh)
    assert done == Registered(
        psp=PSP,
        version=1,
        changed=True,
        routes=(PAYOUT, "TEST_TOPUP"),
        accounts=("psp:tp:THB", "suspense:tp:THB"),
    )
    register_ = PspRegister(pool=mesh.pool, redis=mesh.redis, epoch=mesh.installed.mesh.token)
    await register_.refresh()
    assert register_.manifest(PSP) == MANIFEST
    marked = await mesh.redis.hmget(keys.mesh(PSP), ["id", "epoch"])
    assert b":".join(word for word in marked if isinstance(word, bytes)).decode() == mesh.installed.mesh.token
    names = await mesh.pool.fetch("SELECT name FROM pm.tb_account_map ORDER BY name")
    assert {row["name"] for row in names} >= {"psp:tp:THB", "suspense:tp:THB", "transit:THB"}
    routes = await mesh.pool.fetch("SELECT operation_type, currency FROM pm.payment_route WHERE channel = 'TP'")
    assert sorted(map(tuple, routes)) == [(PAYOUT, "THB"), ("TEST_TOPUP", "THB")]
    assert await audited(mesh) == [("psp.register", PSP, None)]


async def test_registering_again_changes_nothing_and_a_changed_promise_is_a_new_version(mesh: Mesh) -> None:
    """Every deployment registers; a route that was switched off stays off."""
    await registered(mesh)
    await mesh.pool.execute("UPDATE pm.payment_route SET active = false WHERE operation_type = 'TEST_TOPUP'")
    again = await registered(mesh)
    assert (again.version, again.changed, again.routes) == (1, False, ())
    changed = await registered(mesh, replace(MANIFEST, job_ttl_s=77))
    assert (changed.version, changed.changed, changed.routes) == (2, True, ())
    assert len(await audited(mesh)) == 2
    active = await mesh.pool.fetchval("SELECT count(*) FROM pm.payment_route WHERE channel = 'TP' AND active")
    assert active == 1


async def test_how_its_settlement_files_are_laid_out_is_registered_with_it(mesh: Mesh) -> None:
    """The reconciler reads by what is registered; another PSP's layout is refused."""
    layout = replace(SETTLEMENT, psp=PSP)
    async with open_stores(mesh.settings) as stores:
        with pytest.raises(BadInput, match="files of ipps"):
            await register(stores, MANIFEST, actor=ME, settlement=SETTLEMENT)
        versions = [
            (await register(stores, MANIFEST, actor=ME, settlement=one)).version
            for one in (None, layout, layout, replace(layout, zone_minutes=60))
        ]
    assert versions == [1, 2, 2, 3]
    assert await read_layouts(mesh.pool) == [replace(layout, zone_minutes=60)]


def test_an_adapters_layout_is_found_beside_its_manifest() -> None:
    """By its folder, for another agreement too; an adapter without one has none."""
    assert find_layout("ipps") == SETTLEMENT
    assert find_layout("ipps2") == replace(SETTLEMENT, psp="ipps2")
    assert find_layout("adapters.ipps.manifest") == SETTLEMENT
    assert find_layout("adapters.runtime.manifest") is None


async def test_a_psp_that_promises_too_little_is_not_registered(mesh: Mesh) -> None:
    """Nothing of it is left behind."""
    with pytest.raises(BadManifest, match="status by our reference"):
        await registered(mesh, replace(MANIFEST, status_by_our_reference=False))
    assert not await mesh.redis.exists(keys.mesh(PSP))
    assert await mesh.pool.fetchval("SELECT count(*) FROM pm.tb_account_map WHERE name LIKE 'psp:%'") == 0


async def test_a_lost_mark_is_not_renewed_by_registering_again(mesh: Mesh) -> None:
    """The permits are lost with it."""
    await registered(mesh)
    await mesh.redis.delete(keys.mesh(PSP))
    with pytest.raises(StoreMismatch, match="slot tp"):
        await registered(mesh)
    assert not await mesh.redis.exists(keys.mesh(PSP))


async def test_a_pause_reaches_adapters_at_once_and_is_on_record(mesh: Mesh) -> None:
    """The whole PSP, then one operation; each ends by itself."""
    await registered(mesh)
    wiring: dict[str, Any] = {"pool": mesh.pool, "redis": mesh.redis, "psp": PSP, "actor": ME}
    first = await pause(operation="*", reason="burning", **wiring)
    assert (first.changed, first.told) == (True, True)
    assert (await read_control(mesh.redis, PSP)).all_paused
    assert not (await pause(operation="*", reason="still burning", **wiring)).changed
    await pause(operation=PAYOUT, reason="smoke", **wiring)
    assert (await resume(operation="*", reason="out", **wiring)).changed
    assert not (await resume(operation="*", reason="out", **wiring)).changed
    assert (await read_control(mesh.redis, PSP)).paused == {PAYOUT}
    (row,) = await list_psps(mesh.pool, mesh.redis)
    assert [(each["operation"], each["reason"], each["by"]) for each in row.paused] == [(PAYOUT, "smoke", ME)]
    assert (await audited(mesh))[1:] == [
        ("psp.pause", "tp *", "burning"),
        ("psp.pause", "tp *", "still burning"),
        ("psp.pause", f"tp {PAYOUT}", "smoke"),
        ("psp.resume", "tp *", "out"),
    ]


async def test_a_pause_stands_even_if_redis_does_not_answer(mesh: Mesh) -> None:
    """The orchestrators tell it later."""
    await registered(mesh)
    away = connect("redis://127.0.0.1:1")
    switched = await pause(mesh.pool, away, psp=PSP, operation="*", reason="burning", actor=ME)
    await away.aclose()
    assert (switched.changed, switched.told) == (True, False)
    register_ = PspRegister(pool=mesh.pool, redis=mesh.redis, epoch=mesh.installed.mesh.token)
    await register_.refresh()
    assert (await read_control(mesh.redis, PSP)).all_paused


@pytest.mark.parametrize(
    ("psp", "operation", "reason"), [("zz", "*", "why"), (PSP, "NO_SUCH", "why"), (PSP, "*", "  ")]
)
async def test_a_pause_of_nothing_or_for_no_reason_is_refused(
    mesh: Mesh, psp: str, operation: str, reason: str
) -> None:
    """A typing error must not look like a kill switch that was thrown."""
    await registered(mesh)
    with pytest.raises(BadInput):
        await pause(mesh.pool, mesh.redis, psp=psp, operation=operation, reason=reason, actor=ME)
    assert await mesh.pool.fetchval("SELECT count(*) FROM pm.psp_control") == 0
    assert not await mesh.redis.exists(keys.control(psp))


async def test_the_list_shows_how_a_psp_is_just_now(mesh: Mesh) -> None:
    """Even one whose manifest makes no sense any more; that one can still be paused."""
    await registered(mesh)
    await record(mesh.redis, PSP, "0" * 10, rules=BreakerRules(), jitter=0.0)
    (row,) = await list_psps(mesh.pool, mesh.redis)
    assert (row.psp, row.version, row.channel, row.breaker, row.unsent) == (PSP, 1, "TP", BreakerState.OPEN, 0)
    assert row.operations == {PAYOUT: "out THB", "TEST_TOPUP": "in THB"}
    await mesh.pool.execute("UPDATE pm.psp SET manifest = '{\"v\":1}'")
    (row,) = await list_psps(mesh.pool, mesh.redis)
    assert (row.operations, row.channel) == ({}, "?")
    assert (await pause(mesh.pool, mesh.redis, psp=PSP, operation="*", reason="why", actor=ME)).changed


async def test_without_redis_the_list_shows_what_the_database_knows(mesh: Mesh) -> None:
    """A pause is what people look for while Redis is down; what only Redis knows is said to be missing."""
    await registered(mesh)
    await pause(mesh.pool, mesh.redis, psp=PSP, operation="*", reason="ticket 7", actor=ME)
    alone = mesh.settings.model_copy(update={"redis_url": f"redis://{NOBODY}"})
    listed = await typed(alone, "psp", "list", "--json")
    assert (listed.code, "Redis did not answer" in listed.errors) == (1, True)
    (row,) = listed.json
    assert (row["psp"], row["breaker"], row["submit_fence"]) == (PSP, None, str(MANIFEST.submit_fence.kind))
    assert [each["reason"] for each in row["paused"]] == ["ticket 7"]
    shown = await typed(alone, "psp", "list")
    assert (shown.code, "ticket 7" in shown.output) == (1, True)


@pytest.mark.parametrize("name", ["nobody", "../etc", "ops.psps", "adapters.nobody.manifest", "a..b"])
def test_what_is_no_adapter_is_said_to_be_none(name: str) -> None:
    """A sentence, no traceback."""
    with pytest.raises(BadInput):
        find_manifest(name)


@pytest.mark.parametrize("name", ["ipps", "qp", "adapters.qp.manifest"])
def test_our_own_adapters_are_found_by_their_folders(name: str) -> None:
    """And promise enough."""
    assert find_manifest(name).psp in name
