"""Stores that hang instead of dying: nothing is lost, the gateways say so in time, and nobody needs a restart."""

import asyncio
import time
from collections.abc import Callable

import pytest

from ops.client import Answer
from tests.chaos import length
from tests.chaos.clock import lapse
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.mesh import Mesh
from tests.chaos.reckoning import reckon

pytestmark = pytest.mark.asyncio(loop_scope="package")

HANG_S = 6.5
"""Longer than the gateways wait for any store."""
ANSWER_S_MAX = 8.0
"""How long a gateway may take to say that a store does not answer."""
SETTLE_S = 1.0
RATE_PER_S = 150
ACCEPTED_MIN = 100


@pytest.mark.parametrize(
    ("ledger_kind", "store"),
    [
        length.on("postgres", "postgres"),
        length.on("postgres", "valkey"),
        length.on("tigerbeetle", "tigerbeetle"),
    ],
    indirect=["ledger_kind"],
    scope="package",
)
async def test_store_that_hangs_loses_nothing_and_is_waited_for(
    mesh: Mesh, load: Load, journal: Journal, store: str, rounds: int, tell: Callable[[object], None]
) -> None:
    """Every request is answered meanwhile, at worst 503 with Retry-After; afterwards everything goes on by itself."""
    load.rate_per_s = RATE_PER_S
    asked: list[Answer] = []
    async with load.running():
        for _ in range(rounds):
            await lapse(SETTLE_S)
            known = next(iter(journal.accepted[-1].ids))
            with mesh.paused(store):
                asked += await ask_for(mesh, known, seconds=HANG_S)
        await lapse(SETTLE_S)
    reckoning = await reckon(mesh, journal, accepted_min=ACCEPTED_MIN)
    assert not mesh.exits, "a store that hung has brought somebody down"
    assert not reckoning.cut_off, "a request had no answer"
    refused = [answer for answer in asked if not answer.accepted]
    if store == "postgres":
        assert refused, "a database that hung was read from"
    for answer in refused:
        assert (answer.status, answer.code) in {(503, "database_unavailable"), (503, "busy")}
        assert int(answer.headers["Retry-After"]) > 0
    tell(f"{store} hung; {reckoning}")


async def ask_for(mesh: Mesh, intent: str, *, seconds: float) -> list[Answer]:
    """Ask for an intent again and again; each answer must come in time, whatever it is."""
    answers: list[Answer] = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        async with asyncio.timeout(ANSWER_S_MAX):
            answers.append(await mesh.client.intent(intent))
        await lapse(0.2)
    return answers
