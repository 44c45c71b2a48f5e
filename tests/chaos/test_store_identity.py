"""A store that is emptied while the mesh runs: intake closes, nothing is made up, and nothing starts on it again."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from shared.process import EXIT_CONFIG
from tests.chaos.journal import Journal
from tests.chaos.load import Load, Wallets, pay, payer_of
from tests.chaos.mesh import GATEWAYS, ORCHESTRATORS, RECONCILERS, Mesh
from tests.chaos.reckoning import reckon
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="package")

POSTS = 40


@pytest.mark.parametrize("ledger_kind", ["postgres"], indirect=True, scope="package")
async def test_emptied_redis_closes_intake_and_stops_every_start(
    mesh: Mesh, load: Load, journal: Journal, tell: Callable[[object], None]
) -> None:
    """After FLUSHALL: 503 wrong_mesh for every post, reads go on, and a restarted service names Redis and ends 78."""
    await load.burst(50)
    reckoning = await reckon(mesh, journal)
    mesh.sound = False  # whatever comes of this, nobody can use the mesh again
    intents = await mesh.stores.pool.fetchval("SELECT count(*) FROM pm.intent")
    await mesh.stores.redis.flushall()
    await all_posts_are_refused(load, journal)
    await until(lambda: ready_status(mesh, 503), "a gateway that calls itself not ready")
    known = next(iter(journal.accepted[0].ids))
    assert (await mesh.client.intent(known)).document["state"] == "SETTLED"
    await asyncio.gather(*(starts_no_more(mesh, name) for name in (*GATEWAYS, *ORCHESTRATORS, *RECONCILERS)))
    assert await mesh.stores.pool.fetchval("SELECT count(*) FROM pm.intent") == intents
    tell(f"Redis emptied after {reckoning}")


async def all_posts_are_refused(load: Load, journal: Journal) -> None:
    """Post to both gateways: nobody may be told that anything was accepted."""
    wallets = Wallets.of(journal.tag)
    operation = pay(wallets.rich[0], wallets.rich[1], 1)
    keys = [f"{journal.tag}-late-{number}" for number in range(POSTS)]
    answers = await asyncio.gather(
        *(load.client.post_intent(operation, idempotency_key=key, user_id=payer_of(operation)) for key in keys)
    )
    assert {(answer.status, answer.code) for answer in answers} == {(503, "wrong_mesh")}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)


async def ready_status(mesh: Mesh, status: int) -> bool:
    """Say whether the gateway answers /readyz with this status."""
    async with aiohttp.ClientSession() as session, session.get(f"{mesh.stack.url}/readyz") as answer:
        return answer.status == status


async def starts_no_more(mesh: Mesh, name: str) -> None:
    """Restart a service: it must end as wrongly configured and say which store is not the mesh's."""
    await mesh.stop(name)
    await until(
        lambda: any(end.name == name and end.code == EXIT_CONFIG for end in mesh.exits),
        f"{name} refusing to start",
        timeout_s=30,
    )
    mesh.give_up(name)
    assert "Redis (slot i0)" in mesh.child(name).log_tail()
