"""What an orchestrator publishes is committed by then: whoever is told may read, and finds no less than it was told."""

import asyncio
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from orchestrator.main import serve
from orchestrator.settings import OrchestratorSettings
from shared import mesh
from shared.contracts import Envelope, IntentMessage, Kind
from shared.db.pool import Pool
from shared.ledger.mesh_mark import TickingLedger
from shared.ledger.port import Ledger
from shared.ledger.postgres import PostgresLedger
from shared.states import TERMINAL, IntentState
from shared.streams import keys
from shared.streams.accept import append
from tests.integration.orchestrator.world import World, message, new_id, p2p

INTENTS = 60

# Every commit of a change to an intent takes a while: whoever speaks before it is caught.
_SLOW_COMMIT = """
CREATE FUNCTION pm.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT OR UPDATE ON pm.intent DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION pm.dawdle()
"""


@pytest.fixture
def ledger(postgres_ledger: PostgresLedger) -> Ledger:
    """The ledger that shares the database, so that it commits as slowly."""
    return postgres_ledger


@pytest_asyncio.fixture
async def settings(world: World, redis: Redis, ledger: Ledger, redis_url: str, database: str) -> OrchestratorSettings:
    """An orchestrator of a mesh with two funded wallets, whose database is slow to commit."""
    mark = TickingLedger(ledger)
    await mesh.install(pool=world.pool, redis=redis, ledger=mark, ledger_kind="postgres", partitions=1, new_id=uuid4())
    await world.fund({world.wallet("a"): INTENTS, world.wallet("b"): 0})
    await world.pool.execute(_SLOW_COMMIT)
    return OrchestratorSettings(redis_url=redis_url, database_url=database, batch_max=8)


async def test_nothing_is_published_before_the_decision_is_committed(
    world: World, redis: Redis, settings: OrchestratorSettings
) -> None:
    """Settled, refused, and an alias of an earlier one: each hint is followed at once by a look into the database."""
    stop = asyncio.Event()
    async with redis.pubsub() as hints:
        await hints.psubscribe(keys.intent_channel("*"))
        intents = await accept_all(world, redis)
        running = asyncio.create_task(serve(settings, stop))
        try:
            async with asyncio.timeout(60):
                told = await follow(world.pool, hints, len(intents))
        finally:
            stop.set()
            await asyncio.wait_for(running, 20)
    assert told.keys() == intents
    assert set(told.values()) == {IntentState.SETTLED, IntentState.REJECTED, IntentState.DUPLICATE}


async def accept_all(world: World, redis: Redis) -> set[UUID]:
    """Write intents as a gateway does: most can be paid, some cannot, some repeat a key."""
    a, b = world.wallet("a"), world.wallet("b")
    paid = [message(p2p(a, b, 1)) for _ in range(INTENTS // 2)]
    refused = [message(p2p(a, b, INTENTS + 1)) for _ in range(INTENTS // 4)]
    intents = {await accept(redis, body) for body in (*paid, *refused)}
    return intents | {await accept(redis, body) for body in paid[: INTENTS // 4]}


async def accept(redis: Redis, body: IntentMessage) -> UUID:
    """Write one intent's entry."""
    intent = new_id()
    await append(redis, partition=0, envelope=Envelope(Kind.INTENT, str(intent), body.model_dump_json().encode()))
    return intent


async def follow(pool: Pool, hints: PubSub, count: int) -> dict[UUID, IntentState]:
    """Read the state of every intent in the moment its hint arrives; return what was told of each."""
    told: dict[UUID, IntentState] = {}
    async for hint in hints.listen():
        if hint["type"] != "pmessage":
            continue
        intent, state = UUID(hint["channel"].decode().removeprefix("intent.")), IntentState(hint["data"].decode())
        committed = await pool.fetchval("SELECT state FROM pm.intent WHERE id = $1", intent)
        assert state in TERMINAL, "the test knows only hints of decisions"
        assert committed == state, f"{intent} was told to be {state} and is {committed}"
        told[intent] = state
        if len(told) == count:
            break
    return told
