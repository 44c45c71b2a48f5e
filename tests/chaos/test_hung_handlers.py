"""A handler that hangs while its process lives on: the hold ends, the process says so and goes, others do its work."""

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
import pytest_asyncio

from shared.process import EXIT_FAILED
from tests.chaos import length
from tests.chaos.clock import lapse
from tests.chaos.frozen import holder_of
from tests.chaos.journal import Journal
from tests.chaos.load import SETTLED, Load, Wallets, pay, payer_of
from tests.chaos.mesh import SHORT_PERIODS, Mesh
from tests.chaos.processes import Exit
from tests.chaos.reckoning import reckon
from tests.chaos.stumbling import DEAF, HANGS, clear_the_way, somebody_sleeps, stumbling
from tests.waiting import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.parametrize("ledger_kind", length.kinds(), indirect=True, scope="package"),
]

HOLD_MAX_S = 3
"""How long a handler may hang; three times as long as an entry may go without a heartbeat."""
NEIGHBOURS = 40


@pytest_asyncio.fixture(loop_scope="package")
async def strict_mesh(mesh: Mesh) -> AsyncIterator[Mesh]:
    """A mesh whose orchestrators hold nothing for long."""
    await mesh.restart("orchestrator", {"ORCHESTRATOR_HOLD_MAX_S": f"{HOLD_MAX_S}"})
    yield mesh
    await mesh.restart("orchestrator", {**SHORT_PERIODS, "ORCHESTRATOR_HOLD_MAX_S": "600"})


async def test_orchestrator_whose_handler_hangs_gives_itself_up_and_others_finish_its_entries(
    strict_mesh: Mesh, load: Load, journal: Journal, tell: Callable[[object], None]
) -> None:
    """It beats for as long as it may, then no more: it is not alive, it ends, and what it held is settled once.

    Where the handler lets itself be cancelled, the end follows too quickly for anybody to ask.
    """
    load.wait_share = 0.0
    await hang(strict_mesh, load, journal, HANGS)
    await reckon(strict_mesh, journal)
    told = await hang(strict_mesh, load, journal, DEAF)
    assert told, "it ended without ever having said that it is not alive"
    tell(await reckon(strict_mesh, journal))


async def hang(mesh: Mesh, load: Load, journal: Journal, deed: str) -> bool:
    """Have a handler hang among its neighbours until its process has ended; say whether that called itself dead."""
    payer, payee = Wallets.of(journal.tag).rich[:2]
    operation = pay(payer, payee, 100)
    story = journal.begin(operation, user_id=payer_of(operation), lands=SETTLED)
    async with stumbling(mesh.stores, key=story.key, deed=deed):
        await asyncio.gather(load.burst(NEIGHBOURS), load.insist(story), load.burst(NEIGHBOURS))
        await until(lambda: somebody_sleeps(mesh.stores), "a handler that hangs")
        await clear_the_way(mesh.stores)
        holder = await holder_of(mesh, story.ids)
        assert holder is not None, "nobody holds the entry"
        dead = asyncio.create_task(first_dead(mesh, holder))
        await lapse(HOLD_MAX_S / 2)
        assert await holder_of(mesh, story.ids) == holder, "its heart has stopped while it might still work"
        assert not dead.done(), "it calls itself dead too soon"
        await until(lambda: ends_of(mesh, holder), "the end of whoever hangs", timeout_s=20)
        told = await dead
    await mesh.all_up()
    mesh.excuse(EXIT_FAILED)
    assert all(end.asked for end in mesh.exits)
    return told


async def first_dead(mesh: Mesh, name: str) -> bool:
    """Ask the process whether it is alive until it says no; False when it ends without having said so."""
    url = f"http://127.0.0.1:{(mesh.child(name).env or {})['ORCHESTRATOR_HEALTH_PORT']}/livez"
    ended = len(ends_of(mesh, name))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while len(ends_of(mesh, name)) == ended:
            try:
                async with session.get(url) as answer:
                    if answer.status == 503:
                        return True
            except aiohttp.ClientError:
                return False
            await lapse(0.005)
    return False


def ends_of(mesh: Mesh, name: str) -> list[Exit]:
    """Return the ends of a process that nobody asked for."""
    return [end for end in mesh.exits if end.name == name and not end.asked]
