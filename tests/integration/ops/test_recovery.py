"""Recovering on real stores: what was lost is named, nothing of the past can be paid, and money is explained."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from ops import recovery
from ops.doctor.run import examine
from ops.install import install
from ops.psps import register
from ops.stores import OpenStores, open_stores
from orchestrator.psp_register import PspRegister
from reconciler import catch_up
from reconciler.catch_up import CatchUp
from shared import intake
from shared.config import StoreSettings
from shared.db.migrations import migrate
from shared.db.pool import open_pool
from shared.errors import BadInput, StoreMismatch
from shared.ids import intent_id
from shared.ledger.mesh_mark import TickingLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import MIGRATIONS, PostgresLedger
from shared.mesh import LAG_TICKS_MAX, grow, tick, verify
from shared.sealing import generate
from shared.streams import keys, permits
from shared.streams.client import connect
from shared.streams.permits import Cancelled, PermitFor
from tests.databases import Databases
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.dlq_scene import typed
from tests.integration.ops.psp_scene import PspScene
from tests.integration.orchestrator.outbound import PAYOUT, PSP, manifest_of
from tests.integration.orchestrator.world import World, intent_entry, message, new_id, p2p

ME: dict[str, Any] = {"reason": "lost its disk", "actor": "me"}


async def verified(mesh: Mesh) -> int:
    """Start as a process does; return the epoch."""
    mark = TickingLedger(mesh.ledger)
    return (await verify(pool=mesh.pool, redis=mesh.redis, ledger=mark, ledger_kind="postgres")).epoch


async def closed_for(mesh: Mesh) -> list[str]:
    """Why the door is closed."""
    return [str(closure.why) for closure in await intake.closures(mesh.pool)]


async def ticked(mesh: Mesh, times: int = LAG_TICKS_MAX + 1) -> None:
    """Let time pass."""
    for _ in range(times):
        await tick(pool=mesh.pool, redis=mesh.redis, ledger=TickingLedger(mesh.ledger))


async def test_an_emptied_redis_is_named_and_led_back(mesh: Mesh) -> None:
    """PSPs' slots too; the door is closed, it is on record, and processes start again."""
    async with open_stores(mesh.settings) as stores:
        await register(stores, manifest_of(), actor="me")
        await mesh.redis.flushall()
        outlook = await recovery.look(stores)
        assert {fault.split(" carries")[0] for fault in outlook.faults} == {
            "Redis (slot i0)", "Redis (slot i1)", f"Redis (slot {PSP})",
        }  # fmt: skip
        assert (outlook.epoch, outlook.redis_lost, outlook.database_restored, outlook.refusals) == (2, True, False, ())
        assert await mesh.redis.dbsize() == 0, "looking changes nothing"
        with pytest.raises(StoreMismatch, match="paymesh recover"):
            await verified(mesh)
        await recovery.recover(stores, **ME)
    assert await verified(mesh) == 2
    assert await closed_for(mesh) == ["recover"]
    assert await mesh.redis.hget(keys.mesh(PSP), "epoch") == b"2"
    row = await mesh.pool.fetchrow("SELECT actor, reason, detail FROM pm.audit_log WHERE action = 'mesh.recover'")
    assert row is not None
    assert (row["actor"], row["reason"], json.loads(row["detail"])["epoch"]) == ("me", "lost its disk", 2)
    await ticked(mesh)
    assert "mesh.marks" not in {found.check for found in (await examine(mesh.settings)).findings}


async def test_what_was_sent_before_can_only_be_asked_about_and_what_is_new_can_be_paid(mesh: Mesh) -> None:
    """The permits are gone: whoever holds an old job must not take that for a proof."""
    async with open_stores(mesh.settings) as stores:
        await register(stores, manifest_of(), actor="me")
        before = await register_of(mesh)
        old = new_id()
        await mesh.redis.flushall()
        await recovery.recover(stores, **ME)
    for known in (before, await register_of(mesh)):
        await known.refresh()
        assert known.epoch.endswith(":2"), "one that runs on adopts it, one that starts finds it"
        assert known.epoch_for(old).endswith(":1"), "whatever is older is asked about, whoever writes its job"
        late = intent_id(10**6 * (2 * 10**9), 0, 1)
        assert known.epoch_for(late).endswith(":2")
        created_ms = int((await mesh.redis.time())[0] * 1000)
        for intent, won in ((old, Cancelled.STALE), (late, Cancelled.CANCELLED)):
            key = keys.permit(PSP, str(intent), 1, PAYOUT)
            permit = PermitFor(key, created_ms, known.epoch_for(intent))
            assert await permits.win_cancelled(mesh.redis, permit=permit, who="me") is won


async def register_of(mesh: Mesh) -> PspRegister:
    """The register of an orchestrator that starts now."""
    known = PspRegister(pool=mesh.pool, redis=mesh.redis, epoch=mesh.installed.mesh.token)
    await known.refresh()
    return known


async def test_open_intents_are_asked_about_soon_and_lost_cancellations_sent_again(scene: PspScene, mesh: Mesh) -> None:
    """What Redis lost, nobody else remembers."""
    intent = await scene.paying()
    await scene.sent()
    await mesh.pool.execute(
        "INSERT INTO pm.outbox_event (intent_id, attempt, action, psp, body, sent_at)"
        " SELECT intent_id, attempt, 'cancel', psp, body, now() FROM pm.outbox_event WHERE intent_id = $1",
        intent,
    )
    await mesh.pool.execute("UPDATE pm.intent SET next_poll_at = now() + interval '1 hour' WHERE id = $1", intent)
    await mesh.redis.flushall()
    async with open_stores(mesh.settings) as stores:
        outlook = await recovery.recover(stores, **ME)
    assert (outlook.at_psps, outlook.cancellations) == (1, 1)
    query = "SELECT next_poll_at < now() + interval '20 seconds' FROM pm.intent WHERE id = $1"
    assert await mesh.pool.fetchval(query, intent)
    rows = await mesh.pool.fetch("SELECT action FROM pm.outbox_event WHERE sent_at IS NULL")
    assert [row["action"] for row in rows] == ["cancel"]


async def test_stores_of_another_mesh_and_lost_books_are_never_recovered(mesh: Mesh) -> None:
    """Wrong settings are no loss, and nothing replaces the ledger."""
    async with open_stores(mesh.settings) as stores:
        await mesh.redis.hset(keys.mesh("i1"), "id", str(uuid4()))
        with pytest.raises(StoreMismatch, match="point REDIS_URL at this mesh's server"):
            await recovery.recover(stores, **ME)
        await mesh.redis.hset(keys.mesh("i1"), "id", str(mesh.installed.mesh.id))
        await mesh.pool.execute("UPDATE pm.mesh SET tick = 100")
        with pytest.raises(StoreMismatch, match="the ledger lags"):
            await recovery.recover(stores, **ME)
        await mesh.pool.execute("UPDATE pm.mesh SET id = $1", uuid4())
        with pytest.raises(StoreMismatch, match="the ledger is of mesh"):
            await recovery.recover(stores, **ME)
    assert await closed_for(mesh) == []
    assert await mesh.pool.fetchval("SELECT epoch FROM pm.mesh") == 1


async def test_a_dry_run_exits_as_it_finds_the_stores(mesh: Mesh) -> None:
    """Whoever looks learns by the exit status too whether there is anything to recover."""
    sound = await typed(mesh.settings, "recover")
    assert (sound.code, "the stores agree" in sound.output) == (0, True)
    insisted = await typed(mesh.settings, "recover", "--anyway")
    assert (insisted.code, "nothing was done" in insisted.errors) == (0, True)
    await mesh.redis.flushall()
    faulty = await typed(mesh.settings, "recover")
    assert (faulty.code, "nothing was done" in faulty.errors) == (1, True)
    assert (await typed(mesh.settings, "recover", "--confirm")).code == 2
    assert await mesh.redis.dbsize() == 0


async def test_where_nothing_is_wrong_nothing_is_done_unless_somebody_insists(mesh: Mesh) -> None:
    """Less than the tolerance was lost, and somebody knows it."""
    async with open_stores(mesh.settings) as stores:
        with pytest.raises(BadInput, match="nothing to recover"):
            await recovery.recover(stores, **ME)
        with pytest.raises(BadInput, match="say why"):
            await recovery.recover(stores, reason=" ", actor="me", anyway=True)
        await recovery.recover(stores, **ME, anyway=True)
    assert await verified(mesh) == 2


async def test_a_recovery_that_was_interrupted_starts_nothing_and_is_repeated(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between database and slots: an epoch is never used twice."""
    await mesh.redis.flushall()

    async def crash(*_: object) -> None:
        raise ConnectionError

    async with open_stores(mesh.settings) as stores:
        with monkeypatch.context() as patch:
            patch.setattr(recovery, "_mark", crash)
            with pytest.raises(ConnectionError):
                await recovery.recover(stores, **ME)
        with pytest.raises(StoreMismatch):
            await verified(mesh)
        outlook = await recovery.look(stores)
        stale = replace(outlook, identity=replace(outlook.identity, epoch=1))
        with pytest.raises(BadInput, match="somebody else"):
            await recovery._decide(stores, stale, **ME)
        await recovery.recover(stores, **ME)
    assert await verified(mesh) == 3


@asynccontextmanager
async def restorable(databases: Databases, redis_url: str) -> AsyncIterator["Restorable"]:
    """A mesh whose ledger is not in its database, so that the one can be restored without the other."""
    async with AsyncExitStack() as closing:
        books = databases.fresh()
        await migrate(books, directory=MIGRATIONS)
        pool = await closing.enter_async_context(await open_pool(books, max_size=4))
        yield Restorable(databases.fresh(), redis_url, PostgresLedger(pool), databases)
        databases.drop(books)


class Restorable:
    """The database, its older copy, and the ledger that both share."""

    def __init__(self, url: str, redis_url: str, ledger: Ledger, databases: Databases) -> None:
        self.url = url
        self.redis_url = redis_url
        self.ledger = ledger
        self.databases = databases

    @asynccontextmanager
    async def mesh(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mesh]:
        """The mesh as processes see it that start now."""
        settings = StoreSettings(
            redis_url=self.redis_url,
            database_url=self.url,
            tigerbeetle_addresses=None,
            keyring_text=SecretStr(generate("k1")),
            keyring_file=None,
        )
        monkeypatch.setattr(OpenStores, "ledger", lambda _: self.ledger)
        async with await open_pool(self.url, max_size=4) as pool:
            redis = connect(self.redis_url)
            yield Mesh(settings, pool, redis, self.ledger, await self._installed(settings))
            await redis.aclose()

    async def _installed(self, settings: Any) -> Any:
        try:
            return await install(settings)
        except StoreMismatch:
            return None  # That is what has to be recovered.

    async def copy(self) -> str:
        """Copy the database while nobody uses it; return the copy's URL."""
        name = self.url.partition("?")[0].rpartition("/")[2]
        admin = await asyncpg.connect(self.url.replace(f"/{name}", "/postgres"))
        try:
            await admin.execute(f"CREATE DATABASE {name}_older TEMPLATE {name} STRATEGY FILE_COPY")
        finally:
            await admin.close()
        return self.url.replace(f"/{name}", f"/{name}_older")


async def test_a_database_restored_from_an_older_copy_is_told_what_money_it_has_forgotten(
    databases: Databases, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every transfer since is looked at: what no intent explains is an alert, and keeps the door closed."""
    monkeypatch.setattr(catch_up, "CLOSED_MIN", timedelta(0))
    async with restorable(databases, redis_url) as stand:
        async with stand.mesh(monkeypatch) as mesh:
            world = mesh.world
            await world.fund({world.wallet("a"): 1000, world.wallet("b"): 0})
            known = await pay(world, 5)
        older = await stand.copy()
        async with stand.mesh(monkeypatch) as mesh:
            forgotten = [await pay(mesh.world, amount) for amount in (100, 101, 102)]
            await grow(pool=mesh.pool, redis=mesh.redis, partitions=3)
            async with open_stores(mesh.settings) as stores:
                await register(stores, manifest_of(), actor="me")
            await ticked(mesh)
        databases.drop(stand.url)
        stand.url = older
        async with stand.mesh(monkeypatch) as mesh, open_stores(mesh.settings) as stores:
            with pytest.raises(StoreMismatch, match=r"PostgreSQL lags \d+ ticks.*paymesh recover"):
                await verified(mesh)
            outlook = await recovery.recover(stores, **ME)
            assert (outlook.database_restored, outlook.redis_lost, outlook.partitions) == (True, False, 3)
            assert await verified(mesh) == 2
            walk = CatchUp(pool=mesh.pool, ledger=mesh.ledger)
            caught = await walk.round()
            assert caught is not None
            assert (caught.done, caught.unexplained, caught.reopened) == (True, len(forgotten), False)
            told = {row["intent_id"]: json.loads(row["detail"]) for row in await alerts(mesh)}
            assert set(told) == set(forgotten)
            assert known not in told
            legs = [leg["amount_minor"] for leg in told[forgotten[0]]["transfers"]]
            assert legs == [100, 100], "payer to transit, transit to payee"
            assert await closed_for(mesh) == ["recover"]
            # An entry that still stood in a stream brings one of them back, and the books agree with it.
            await mesh.world.handle(intent_entry(message(transfer(mesh.world, 100)), forgotten[0]))
            caught = await walk.round()
            assert caught is not None
            assert caught.unexplained == len(forgotten) - 1
            assert {row["intent_id"] for row in await alerts(mesh)} == set(forgotten[1:])
            # Somebody has looked at the others, and the walk that begins anew does not bring them up again.
            await mesh.pool.execute("UPDATE pm.reconciliation_alert SET closed_at = now()")
            caught = await CatchUp(pool=mesh.pool, ledger=mesh.ledger).round()
            assert caught is not None
            assert (caught.unexplained, caught.reopened) == (0, True)
            assert await closed_for(mesh) == []
            await registered_again(mesh, stores)
        databases.drop(older)


async def registered_again(mesh: Mesh, stores: OpenStores) -> None:
    """A PSP that the copy did not know can be registered again: its slot is of an epoch before."""
    await register(stores, manifest_of(), actor="me")
    assert await mesh.redis.hget(keys.mesh(PSP), "epoch") == b"2"


def transfer(world: World, amount_minor: int) -> Any:
    """A transfer between the two wallets."""
    return p2p(world.wallet("a"), world.wallet("b"), amount_minor)


async def pay(world: World, amount_minor: int) -> Any:
    """Have a transfer settled."""
    intent = new_id()
    await world.handle(intent_entry(message(transfer(world, amount_minor)), intent))
    assert (await world.row(intent))["state"] == "SETTLED"
    return intent


async def alerts(mesh: Mesh) -> list[Any]:
    """The open ones about unexplained money."""
    query = "SELECT intent_id, detail FROM pm.reconciliation_alert WHERE kind = 'transfer_without_intent'"
    rows: list[Any] = await mesh.pool.fetch(f"{query} AND closed_at IS NULL AND severity = 'critical'")
    return rows


async def test_the_door_opens_by_itself_once_everything_is_explained_and_decided(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while something that was planned before is undecided, not too soon, and never what another has closed."""
    await mesh.redis.flushall()
    async with open_stores(mesh.settings) as stores:
        await recovery.recover(stores, **ME)
    async with mesh.pool.acquire() as connection:
        await intake.close(connection, intake.Why.DRAIN, reason="moving", by="me")
    walk = CatchUp(pool=mesh.pool, ledger=mesh.ledger)
    assert not (await walk.round() or pytest.fail("no recovery")).reopened, "too soon"
    monkeypatch.setattr(catch_up, "CLOSED_MIN", timedelta(0))
    planned = intent_id(10**6, 0, 1)
    await mesh.pool.execute(
        "INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, amount_minor, currency, state,"
        " version, operation, created_at)"
        " VALUES ($1, 'shop', 'k', 'P2P_TRANSFER', 1, 'THB', 'VALIDATED', 1, '{}', now())",
        planned,
    )
    assert not (await walk.round() or pytest.fail("no recovery")).reopened, "planned before, and undecided"
    await mesh.pool.execute("DELETE FROM pm.intent WHERE id = $1", planned)
    assert (await walk.round() or pytest.fail("no recovery")).reopened
    assert await closed_for(mesh) == ["drain"]
    assert await walk.round() is None
    assert await mesh.pool.fetchval("SELECT actor FROM pm.audit_log WHERE action = 'mesh.recovered'") == "reconciler"
