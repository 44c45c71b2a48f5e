"""The mesh's identity and ticks, on a real PostgreSQL and a real Valkey; the ledger is a small faithful stand-in.

The ledger's own half runs against both real ledgers in `tests/contract`.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from shared import mesh
from shared.db.pool import Pool, open_pool
from shared.errors import OutcomeUnknown, StoreMismatch
from shared.mesh import LAG_TICKS_MAX, Mark, MeshIdentity
from shared.streams import keys
from shared.streams.script import Script
from tests.databases import Databases

PARTITIONS = 2
SLOTS = [keys.mesh("i0"), keys.mesh("i1")]
CRASHES = ["slot i0", "slot i1", "PostgreSQL"]
"""Before which write of a tick the process ends; its index is the number of slots written."""


class BookedTicks:
    """A ledger that names one mesh and books each tick once."""

    def __init__(self, mesh_id: UUID | None = None, booked: Sequence[int] = ()) -> None:
        self.mesh_id = mesh_id
        self.booked = set(booked)

    async def read(self) -> Mark:
        return Mark("ledger", self.mesh_id, None, len(self.booked))

    async def claim(self, mesh_id: UUID) -> UUID:
        self.mesh_id = self.mesh_id or mesh_id
        return self.mesh_id

    async def advance(self, mesh_id: UUID, *, since: int, until: int) -> None:
        assert mesh_id == self.mesh_id
        self.booked |= set(range(since + 1, until + 1))


class Crash(Exception):
    """The process ends here."""


class Mesh:
    """Three stores and what is asked of them."""

    def __init__(self, pool: Pool, redis: Redis) -> None:
        self.pool = pool
        self.redis = redis
        self.ledger = BookedTicks()

    async def install(self, **others: Any) -> MeshIdentity:
        wiring: dict[str, Any] = {"pool": self.pool, "redis": self.redis, "ledger": self.ledger, **others}
        wiring = {"ledger_kind": "postgres", "partitions": PARTITIONS, "new_id": uuid4(), **wiring}
        return await mesh.install(**wiring)

    async def verify(self, **others: Any) -> MeshIdentity:
        wiring: dict[str, Any] = {"pool": self.pool, "redis": self.redis, "ledger": self.ledger, **others}
        return await mesh.verify(**{"ledger_kind": "postgres", **wiring})

    async def tick(self, **others: Any) -> int:
        return await mesh.tick(**{"pool": self.pool, "redis": self.redis, "ledger": self.ledger, **others})

    async def ticks(self) -> list[int]:
        """Return PostgreSQL's tick, every slot's, and the ledger's."""
        counted = await self.pool.fetchval("SELECT tick FROM pm.mesh")
        slots = [int(await self.redis.hget(slot, "tick") or -1) for slot in SLOTS]
        return [counted, *slots, len(self.ledger.booked)]


@pytest.fixture
def world(pool: Pool, redis: Redis) -> Mesh:
    """Three empty stores."""
    return Mesh(pool, redis)


async def test_an_installed_mesh_verifies_and_installs_again_unchanged(world: Mesh) -> None:
    """Every deployment runs the installation."""
    new_id = uuid4()
    first = await world.install(new_id=new_id)
    again = await world.install(new_id=uuid4())
    assert first == again == await world.verify()
    assert first == MeshIdentity(new_id, 1, "postgres", PARTITIONS)
    assert first.token == f"{new_id}:1"


async def test_the_slots_carry_what_accept_compares(world: Mesh) -> None:
    """Accept reads id and epoch of its slot."""
    identity = await world.install()
    for slot in SLOTS:
        marked = await world.redis.hmget(slot, ["id", "epoch"])
        assert b":".join(value for value in marked if isinstance(value, bytes)).decode() == identity.token


async def test_a_gateway_verifies_without_a_ledger(world: Mesh) -> None:
    """Gateways hold no ledger client."""
    await world.install()
    assert (await world.verify(ledger=None, ledger_kind=None)).partitions == PARTITIONS


async def test_two_installations_at_once_make_one_mesh(world: Mesh) -> None:
    """Two operators, or two pods, migrate together."""
    identities = await asyncio.gather(*(world.install() for _ in range(4)))
    assert len(set(identities)) == 1


async def test_a_database_without_a_mesh_stops_the_start(world: Mesh) -> None:
    """The message says which command to run."""
    with pytest.raises(StoreMismatch, match=r"PostgreSQL.*no mesh.*paymesh migrate"):
        await world.verify()


async def test_a_database_without_a_schema_stops_the_start(world: Mesh) -> None:
    """The same message as without a row."""
    await world.pool.execute("DROP SCHEMA pm CASCADE")
    with pytest.raises(StoreMismatch, match=r"PostgreSQL.*paymesh migrate"):
        await world.verify()


async def test_an_emptied_redis_stops_the_start_and_is_not_installed_over(world: Mesh) -> None:
    """Accepted intents have vanished with it; a routine `paymesh migrate` must not bless that."""
    await world.install()
    await world.redis.flushall()
    for action in (world.verify, world.install, world.tick):
        with pytest.raises(StoreMismatch, match=r"Redis \(slot i0\) carries no mark"):
            await action()
    assert await world.redis.dbsize() == 0


async def test_one_emptied_slot_is_named(world: Mesh) -> None:
    """In a cluster one shard may be lost alone."""
    await world.install()
    await world.redis.delete(SLOTS[1])
    with pytest.raises(StoreMismatch, match=r"Redis \(slot i1\) carries no mark") as refusal:
        await world.verify()
    assert "i0" not in str(refusal.value)


async def test_a_slot_emptied_between_look_and_tick_is_not_marked_again(world: Mesh, redis_url: str) -> None:
    """A ticker that looked before the loss must not cover it up."""

    class EmptyingLedger(BookedTicks):
        async def advance(self, mesh_id: UUID, *, since: int, until: int) -> None:
            async with Redis.from_url(redis_url) as client:
                await client.flushall()
            await super().advance(mesh_id, since=since, until=until)

    identity = await world.install()
    with pytest.raises(StoreMismatch, match="lost its mark"):
        await world.tick(ledger=EmptyingLedger(identity.id, [1]))
    assert await world.redis.dbsize() == 0


async def test_redis_of_another_mesh_stops_the_start(world: Mesh) -> None:
    """REDIS_URL points at somebody else's server."""
    await world.install()
    other = uuid4()
    await world.redis.hset(SLOTS[0], "id", str(other))
    with pytest.raises(StoreMismatch, match=f"Redis.*belongs to mesh {other}"):
        await world.verify()


async def test_redis_of_an_older_epoch_stops_the_start(world: Mesh) -> None:
    """A slot that a recovery has not reached must not be accepted into."""
    await world.install()
    await world.pool.execute("UPDATE pm.mesh SET epoch = 2")
    with pytest.raises(StoreMismatch, match=r"Redis.*is in epoch 1, while PostgreSQL is in epoch 2"):
        await world.verify()


async def test_a_database_restored_from_an_older_copy_stops_the_start(world: Mesh) -> None:
    """Sent outbox rows would become unsent, recent plans and keys vanish."""
    await world.install()
    for _ in range(LAG_TICKS_MAX + 1):
        await world.tick()
    await world.pool.execute("UPDATE pm.mesh SET tick = 1")
    for action in (world.verify, world.tick):
        with pytest.raises(StoreMismatch, match=r"PostgreSQL lags 4 ticks \(about 40 s\) behind .*older copy"):
            await action()
    assert (await world.ticks())[0] == 1, "a tick must not mend a restored store"


async def test_redis_restored_from_an_older_copy_stops_the_start(world: Mesh) -> None:
    """Entries acknowledged since then would be processed again, later ones are gone."""
    await world.install()
    copy = await world.redis.hget(SLOTS[0], "tick")
    assert copy is not None
    for _ in range(LAG_TICKS_MAX + 1):
        await world.tick()
    await world.redis.hset(SLOTS[0], "tick", copy)
    with pytest.raises(StoreMismatch, match=r"Redis \(slot i0\) lags"):
        await world.verify()


async def test_a_lag_within_the_tolerance_starts_and_is_mended_by_the_next_tick(world: Mesh) -> None:
    """The stated tolerance is three ticks."""
    await world.install()
    for _ in range(LAG_TICKS_MAX):
        await world.tick()
    await world.pool.execute("UPDATE pm.mesh SET tick = 1")
    await world.verify()
    await world.tick()
    assert len(set(await world.ticks())) == 1


async def test_another_ledger_kind_stops_the_start(world: Mesh) -> None:
    """A TigerBeetle binary appears on PATH beside kept data: its books would start empty."""
    await world.install()
    with pytest.raises(StoreMismatch, match=r"ledger: this mesh keeps its books in PostgreSQL.*TIGERBEETLE_ADDRESSES"):
        await world.verify(ledger_kind="tigerbeetle")
    with pytest.raises(StoreMismatch, match="keeps its books in PostgreSQL"):
        await world.install(ledger_kind="tigerbeetle")


async def test_a_missing_tigerbeetle_stops_the_start(world: Mesh) -> None:
    """The other way round: the binary is gone."""
    await world.install(ledger_kind="tigerbeetle")
    with pytest.raises(StoreMismatch, match=r"keeps its books in TigerBeetle.*set TIGERBEETLE_ADDRESSES"):
        await world.verify(ledger_kind="postgres")


@pytest.mark.parametrize("other", [BookedTicks(), BookedTicks(uuid4(), range(1, 9))], ids=["empty", "of another mesh"])
async def test_another_ledger_cluster_stops_the_start(world: Mesh, other: BookedTicks) -> None:
    """An empty cluster would accept every old transfer again."""
    await world.install()
    booked = set(other.booked)
    for action in (world.verify, world.install, world.tick):
        with pytest.raises(StoreMismatch, match=r"ledger (carries no mark|belongs to mesh)"):
            await action(ledger=other)
    assert other.booked == booked, "nothing may be written into a foreign ledger"


async def test_a_ledger_restored_from_an_older_copy_stops_the_start(world: Mesh) -> None:
    """Movements that intents rely on are no longer in the books."""
    identity = await world.install()
    for _ in range(LAG_TICKS_MAX + 1):
        await world.tick()
    with pytest.raises(StoreMismatch, match="ledger lags 4 ticks"):
        await world.verify(ledger=BookedTicks(identity.id, [1]))


async def test_an_empty_database_beside_used_stores_is_not_installed(world: Mesh, databases: Databases) -> None:
    """The mesh that lost its database must not get a new identity, and the stores must keep theirs."""
    identity = await world.install()
    url = databases.fresh()
    async with await open_pool(url, max_size=2) as empty:
        with pytest.raises(StoreMismatch, match=f"PostgreSQL has no mesh, while Redis.*belongs to mesh {identity.id}"):
            await world.install(pool=empty)
        await world.redis.flushall()
        with pytest.raises(StoreMismatch, match=f"PostgreSQL has no mesh, while ledger belongs to mesh {identity.id}"):
            await world.install(pool=empty)
        assert await empty.fetchval("SELECT count(*) FROM pm.mesh") == 0
    databases.drop(url)


async def test_every_store_at_fault_is_named_at_once(world: Mesh) -> None:
    """An operator mends all of them in one go."""
    await world.install()
    await world.redis.delete(SLOTS[0])
    with pytest.raises(StoreMismatch) as refusal:
        await world.verify(ledger=BookedTicks(uuid4()))
    assert re.search(r"Redis \(slot i0\).*; ledger belongs", str(refusal.value))
    assert "restore" in str(refusal.value)


class CrashingScript(Script):
    """The tick script of a process that ends before its n-th call."""

    def __init__(self, calls_left: int) -> None:
        super().__init__("mesh_tick")
        self._calls_left = calls_left

    async def run(self, client: Redis, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        if self._calls_left == 0:
            raise Crash
        self._calls_left -= 1
        return await super().run(client, keys, args)


class CrashingPool:
    """The pool of a process that ends before it writes to PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def fetchrow(self, query: str) -> Any:
        return await self._pool.fetchrow(query)

    async def execute(self, *_: object) -> None:
        raise Crash


@pytest.mark.parametrize("crash_before", CRASHES)
async def test_ticks_survive_crashes_between_the_writes(
    world: Mesh, crash_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a ticker dies half-way, the stores stay within one tick and the next tick evens them."""
    await world.install()
    for _ in range(3 * LAG_TICKS_MAX):
        with monkeypatch.context() as patch:
            patch.setattr(mesh, "_TICK", CrashingScript(CRASHES.index(crash_before)))
            with pytest.raises(Crash):
                await world.tick(pool=CrashingPool(world.pool))
        counted = await world.ticks()
        assert max(counted) - min(counted) <= 1
        await world.verify()
    before = max(await world.ticks())
    assert await world.tick() == before + 1
    assert set(await world.ticks()) == {before + 1}


@pytest.mark.parametrize("crash_before", CRASHES)
async def test_a_crashed_installation_is_completed_by_the_next(
    world: Mesh, crash_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until PostgreSQL has ticked once, the installation goes on where it stopped; nobody else may start."""
    await world.pool.execute(mesh._INSERT, uuid4(), "postgres", PARTITIONS, "test")
    with monkeypatch.context() as patch:
        patch.setattr(mesh, "_TICK", CrashingScript(CRASHES.index(crash_before)))
        with pytest.raises(Crash):
            await world.install(pool=CrashingPool(world.pool))
    with pytest.raises(StoreMismatch, match=r"never completely installed.*paymesh migrate"):
        await world.verify()
    identity = await world.install()
    assert identity == await world.verify()


async def test_an_installer_that_slept_turns_nothing_back(world: Mesh) -> None:
    """It wakes while the mesh it found half-installed has long been at work."""
    identity = await world.install()
    await world.tick()
    before = await world.ticks()
    await mesh._claim(identity, world.redis, world.ledger)
    assert await world.ticks() == before


async def test_an_installation_that_meets_a_foreign_slot_stops(world: Mesh) -> None:
    """Claimed between the look and the installation by another mesh."""
    await world.pool.execute(mesh._INSERT, uuid4(), "postgres", PARTITIONS, "test")
    foreign = {"id": str(uuid4()), "epoch": "1", "tick": "0"}
    for name, value in foreign.items():
        await world.redis.hset(SLOTS[1], name, value)
    with pytest.raises(StoreMismatch, match=r"Redis \(slot i1\) belongs to mesh"):
        await world.install()
    assert await world.redis.hget(SLOTS[1], "id") == foreign["id"].encode()


async def test_streams_are_added_while_the_mesh_runs_and_never_taken_away(world: Mesh) -> None:
    """New slots carry the mark before anybody is told of them; ticks and starts go on as before."""
    await world.install()
    for _ in range(6):
        await world.tick()
    grown = await mesh.grow(pool=world.pool, redis=world.redis, partitions=4)
    assert grown.partitions == 4
    assert (await world.verify()).partitions == 4
    await world.tick()
    assert (await mesh.grow(pool=world.pool, redis=world.redis, partitions=3)).partitions == 4
    assert (await world.install(partitions=2)).partitions == 4


async def test_a_growth_that_ended_half_way_changes_nothing_and_is_completed(world: Mesh) -> None:
    """Marks without a count are looked at by nobody; growing again finds them and goes on."""
    identity = await world.install()
    await world.redis.hset(keys.mesh("i2"), mapping={"id": str(identity.id), "epoch": "1", "tick": "0"})
    assert (await world.verify()).partitions == PARTITIONS
    await world.tick()
    assert (await mesh.grow(pool=world.pool, redis=world.redis, partitions=3)).partitions == 3


async def test_a_new_slot_of_another_mesh_is_not_grown_into(world: Mesh) -> None:
    """Streams that belong to somebody else stay theirs."""
    await world.install()
    await world.redis.hset(keys.mesh("i2"), mapping={"id": str(uuid4()), "epoch": "1", "tick": "9"})
    with pytest.raises(StoreMismatch, match="slot i2"):
        await mesh.grow(pool=world.pool, redis=world.redis, partitions=3)
    assert (await world.verify()).partitions == PARTITIONS


async def register(world: Mesh, psp: str = "tp") -> None:
    """Register a PSP as operations do."""
    async with mesh.psp_marked(pool=world.pool, redis=world.redis, psp=psp) as connection:
        await connection.execute("INSERT INTO pm.psp (psp, manifest) VALUES ($1, '{}') ON CONFLICT DO NOTHING", psp)


async def test_a_psps_slot_is_marked_when_it_is_registered_and_ticks_with_the_others(world: Mesh) -> None:
    """Permits are won against that mark."""
    await world.install()
    for _ in range(LAG_TICKS_MAX + 2):
        await world.tick()
    await register(world)
    identity = await world.verify()
    assert identity.slots == ("i0", "i1", "tp")
    counted = await world.tick()
    assert await world.redis.hgetall(keys.mesh("tp")) == {
        b"id": str(identity.id).encode(),
        b"epoch": b"1",
        b"tick": b"%d" % counted,
    }


async def test_a_redis_that_lost_a_psps_mark_is_noticed_and_never_marked_again(world: Mesh) -> None:
    """Its permits are gone with it: with a fresh mark adapters would submit what was submitted before."""
    await world.install()
    await register(world)
    await world.redis.delete(keys.mesh("tp"))
    for action in (world.verify, world.install, world.tick, lambda: register(world)):
        with pytest.raises(StoreMismatch, match=r"Redis \(slot tp\) carries no mark"):
            await action()
    assert not await world.redis.exists(keys.mesh("tp"))


async def test_a_registration_that_ended_half_way_stops_nobody_and_is_completed_later(world: Mesh) -> None:
    """A mark without a PSP is looked at by nobody, and brought to the present by the next registration."""
    await world.install()
    with pytest.raises(Crash):
        async with mesh.psp_marked(pool=world.pool, redis=world.redis, psp="tp"):
            raise Crash
    for _ in range(LAG_TICKS_MAX + 2):
        await world.tick()
    assert (await world.verify()).psps == ()
    await register(world)
    assert (await world.verify()).psps == ("tp",)


async def test_a_slow_registration_holds_the_ticks_up_instead_of_falling_behind(world: Mesh) -> None:
    """A mark that lags when it enters the register would stop every start."""
    await world.install()
    async with mesh.psp_marked(pool=world.pool, redis=world.redis, psp="tp") as connection:
        ticks = [asyncio.create_task(world.tick()) for _ in range(LAG_TICKS_MAX + 2)]
        await asyncio.wait(ticks, timeout=0.2)
        assert not any(tick.done() for tick in ticks)
        await connection.execute("INSERT INTO pm.psp (psp, manifest) VALUES ('tp', '{}')")
    await asyncio.gather(*ticks)
    assert (await world.verify()).psps == ("tp",)
    assert len(set(await world.ticks())) == 1


async def test_a_psps_slot_of_another_mesh_is_not_registered_into(world: Mesh) -> None:
    """Two meshes on one Redis would win each other's permits."""
    await world.install()
    await world.redis.hset(keys.mesh("tp"), mapping={"id": str(uuid4()), "epoch": 1, "tick": 9})
    with pytest.raises(StoreMismatch, match=r"slot tp\) carries the mark of another mesh"):
        await register(world)
    assert (await world.verify()).psps == ()


async def test_registrations_at_once_make_one_mark(world: Mesh) -> None:
    """Two operators, or two pods, register together."""
    await world.install()
    await asyncio.gather(*(register(world) for _ in range(4)))
    assert (await world.verify()).psps == ("tp",)


async def test_a_ticker_that_slept_turns_nothing_back(world: Mesh) -> None:
    """It wakes with an old number in its hand, after others have gone on."""
    identity = await world.install()
    for _ in range(5):
        await world.tick()
    before = await world.ticks()
    await mesh._advance(identity, world.pool, world.redis, world.ledger, since=1, until=2)
    assert await world.ticks() == before


async def test_tickers_at_once_keep_the_stores_even(world: Mesh) -> None:
    """Several reconcilers tick without coordination."""
    await world.install()
    for _ in range(5):
        await asyncio.gather(*(world.tick() for _ in range(4)))
    counted = await world.ticks()
    assert max(counted) - min(counted) <= 1
    await world.verify()


async def test_a_redis_out_of_reach_is_not_a_mismatch(world: Mesh) -> None:
    """An outage is waited out; only a contradiction stops the start for good."""
    await world.install()
    async with Redis.from_url("redis://127.0.0.1:1/0") as nowhere:
        with pytest.raises(OutcomeUnknown):
            await world.verify(redis=nowhere)
