"""An orchestrator is stopped with SIGSTOP in the middle of its work, others take that over, and then it wakes up."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
import tigerbeetle as tb

from shared.money import currency
from shared.streams import keys
from tests.chaos import length
from tests.chaos.clock import lapse
from tests.chaos.frozen import Frozen, Moment, inspect, stop_orchestrators, taken_over, wake_orchestrators
from tests.chaos.journal import Journal
from tests.chaos.load import CURRENCY, Load
from tests.chaos.mesh import ORCHESTRATORS, PARTITIONS, Mesh
from tests.chaos.reckoning import reckon
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="package")

TRIES_MAX = 5
ACCEPTED_MIN = 150
RANDOM_STOPS = 4
"""How many random stops there are in a round."""
UNREAD_MIN = 10
"""With so many unread entries, nobody is about to read them: each orchestrator holds as many batches as it may."""


async def test_orchestrator_that_sleeps_around_its_move_finds_it_decided(
    mesh: Mesh, load: Load, journal: Journal, rng: Random, rounds: int, tell: Callable[[object], None]
) -> None:
    """Stopped between plan and ledger, and between ledger and record: what others finished meanwhile stays as it is."""
    seen = Counter[Moment]()
    async with load.running():
        for _ in range(rounds):
            for name in ORCHESTRATORS:
                frozen = await freeze_before_ledger(mesh, name)
                seen += frozen.counts
                await outlive(mesh, name, frozen, rng)
    tell(f"caught {described(seen)}; {await reckon(mesh, journal, accepted_min=ACCEPTED_MIN)}")


async def test_orchestrator_stopped_at_any_moment_doubles_nothing(
    mesh: Mesh, load: Load, journal: Journal, rng: Random, rounds: int, tell: Callable[[object], None]
) -> None:
    """Stopped wherever it happens to be, transactions included, until its entries have been finished by another."""
    seen = Counter[Moment]()
    async with load.running():
        for _ in range(RANDOM_STOPS * rounds):
            name = rng.choice(ORCHESTRATORS)
            frozen = await freeze_at_work(mesh, name, rng)
            seen += frozen.counts
            await outlive(mesh, name, frozen, rng)
    assert seen, "no stop has caught an orchestrator at work"
    tell(f"caught {described(seen)}; {await reckon(mesh, journal, accepted_min=ACCEPTED_MIN)}")


async def test_orchestrator_stopped_in_its_transaction_holds_nobody_up_for_ever(
    mesh: Mesh, load: Load, journal: Journal, rng: Random, tell: Callable[[object], None]
) -> None:
    """Its keys and rows stay locked while it sleeps; the server ends its session, and another finishes its work."""
    async with load.running():
        frozen = await freeze_in_transaction(mesh, ORCHESTRATORS[0])
        await outlive(mesh, ORCHESTRATORS[0], frozen, rng, patiently=length.is_long())
    tell(f"caught {described(frozen.counts)}; {await reckon(mesh, journal, accepted_min=ACCEPTED_MIN)}")


async def freeze_in_transaction(mesh: Mesh, name: str) -> Frozen:
    """Stop an orchestrator in the transaction that stores plans: its statement is made to wait, and let go after."""
    pool = mesh.stores.pool
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE pm.intent_event IN EXCLUSIVE MODE")
        await until(lambda: everybody_waits(mesh), "every orchestrator to wait for the table", timeout_s=8)
        stop_orchestrators(mesh)
    frozen = await inspect_alone(mesh, name)
    open_ones = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name = $1"
    await until(lambda: pool.fetchval(open_ones, "paymesh-orchestrator"), "an open transaction")
    assert frozen.counts[Moment.UNPLANNED], "nothing was caught before its plan was stored"
    return frozen


async def freeze_before_ledger(mesh: Mesh, name: str) -> Frozen:
    """Stop an orchestrator whose one request to the ledger is under way while other batches wait behind it.

    The ledger is made to wait, the orchestrator stopped, the ledger let go: the request under way is carried out
    and its answer not heard, the batches behind it are planned and never submitted. Where all its batches happen to
    travel in one request there is nothing behind, and it is tried again.
    """
    for _ in range(TRIES_MAX):
        async with mesh.ledger_held():
            await until(lambda: everybody_waits(mesh), "every orchestrator to wait for the ledger", timeout_s=8)
            stop_orchestrators(mesh)
        await until(lambda: ledger_rests(mesh), "the ledger to carry out what it was sent")
        frozen = await inspect_alone(mesh, name)
        if frozen.counts[Moment.PLANNED] and frozen.counts[Moment.MOVED]:
            return frozen
        mesh.wake(name)
    raise AssertionError(f"{name} was not caught on both sides of the ledger in {TRIES_MAX} tries")


async def ledger_rests(mesh: Mesh) -> bool:
    """Say whether the ledger answers, and has nothing new after a while."""
    before = await newest_transfer(mesh)
    await lapse(0.3)
    return before == await newest_transfer(mesh)


async def newest_transfer(mesh: Mesh) -> int:
    """Return the time of the ledger's newest transfer, the mesh's own left out."""
    newest = tb.QueryFilter(
        user_data_128=0, user_data_64=0, user_data_32=0, ledger=currency(CURRENCY).number, code=0, timestamp_min=0,
        timestamp_max=0, limit=1, flags=tb.QueryFilterFlags.REVERSED,
    )  # fmt: skip
    return max((found.timestamp for found in await mesh.stores.ledger().query_transfers(newest)), default=0)


async def inspect_alone(mesh: Mesh, name: str) -> Frozen:
    """Look at what one stopped orchestrator holds, then let the others go on."""
    await lapse(0.2)  # what it had sent off arrives
    found = await inspect(mesh, name)
    wake_orchestrators(mesh, but=name)
    return found


async def everybody_waits(mesh: Mesh) -> bool:
    """Say whether every orchestrator holds as many batches as it may and none of them moves."""
    before = await under_way(mesh)
    await lapse(0.3)
    return before is not None and before == await under_way(mesh)


async def under_way(mesh: Mesh) -> tuple[int, ...] | None:
    """Count what is pending in each stream and planned in the database; None while somebody has a hand free."""
    counts = [await mesh.stores.pool.fetchval("SELECT count(*) FROM pm.intent WHERE state = 'VALIDATED'")]
    for stream in map(keys.intents, range(PARTITIONS)):
        pending = (await mesh.stores.redis.xpending(stream, keys.ORCHESTRATOR_GROUP))["pending"]
        if await mesh.stores.redis.xlen(stream) < pending + UNREAD_MIN:
            return None
        counts.append(pending)
    return tuple(counts)


async def anything_planned(mesh: Mesh) -> bool:
    """Say whether an intent is planned and undecided."""
    return bool(await mesh.stores.pool.fetchval("SELECT count(*) FROM pm.intent WHERE state = 'VALIDATED'"))


async def freeze_at_work(mesh: Mesh, name: str, rng: Random) -> Frozen:
    """Stop an orchestrator, again and again, until that has caught it with something in its hands."""
    caught: list[Frozen] = []

    async def frozen() -> bool:
        if rng.random() < 0.5:
            await lapse(rng.uniform(0.0, 0.1))
        else:
            await until(lambda: anything_planned(mesh), "a planned intent")
        stop_orchestrators(mesh)
        found = await inspect_alone(mesh, name)
        if not found.moments:
            mesh.wake(name)
            return False
        caught.append(found)
        return True

    await until(frozen, "an orchestrator caught at work", timeout_s=30)
    return caught[0]


async def outlive(mesh: Mesh, name: str, frozen: Frozen, rng: Random, *, patiently: bool = False) -> None:
    """Let others finish what a stopped orchestrator held, then let it go on."""
    await taken_over(mesh, frozen, patiently=patiently)
    await lapse(rng.uniform(0.0, 0.5))
    mesh.wake(name)


def described(seen: Counter[Moment]) -> str:
    """Write down how many intents were caught when."""
    return ", ".join(f"{count} {moment}" for moment, count in seen.items())
