"""The reconciler process on a mesh at work: no alarm for what is under way, a break for what is wrong, and its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import aiohttp

from ops.embedded.ports import leased_port
from reconciler.main import serve
from reconciler.settings import ReconcilerSettings
from shared.contracts import Outcome
from shared.ids import account_id
from shared.mesh import psp_marked
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.psp_scene import PAYER, PspScene
from tests.integration.orchestrator.world import intent_entry, message, p2p
from tests.waiting import until

BREAKS = "SELECT count(*) FROM pm.reconciliation_break WHERE state = 'OPEN'"
WALKED = "SELECT walked FROM pm.reconciliation_cursor WHERE name = 'ledger'"


@asynccontextmanager
async def reconcilers(mesh: Mesh) -> AsyncIterator[int]:
    """Run two reconcilers that hardly wait, for the length of the block; give the port of one's metrics."""
    stop = asyncio.Event()
    with leased_port() as port:
        async with asyncio.TaskGroup() as tasks:
            for each in (port, 0):
                settings = ReconcilerSettings(
                    **mesh.settings.model_dump(include={"redis_url", "database_url", "keyring_text"}),
                    tigerbeetle_addresses=None, keyring_file=None, health_port=each, reconcile_s=0.02,
                    reconcile_settle_s=0.0, reconcile_grace_s=0.3, reconcile_share=1.0, reconcile_stale_s=1.0,
                )  # fmt: skip
                tasks.create_task(serve(settings, stop))
            try:
                yield port
            finally:
                stop.set()


async def open_breaks(mesh: Mesh) -> int:
    """How many breaks are open."""
    return int(await mesh.pool.fetchval(BREAKS))


async def registered_anew(mesh: Mesh) -> None:
    """Register the PSPs as the command does it, which marks their slots: a process looks at those when it starts."""
    rows = await mesh.pool.fetch("DELETE FROM pm.psp RETURNING psp, manifest")
    for row in rows:
        async with psp_marked(pool=mesh.pool, redis=mesh.redis, psp=row["psp"]) as connection:
            await connection.execute("INSERT INTO pm.psp (psp, manifest) VALUES ($1, $2)", row["psp"], row["manifest"])


async def test_a_mesh_at_work_gives_no_alarm_and_a_fault_does(mesh: Mesh, scene: PspScene) -> None:
    """Two reconcilers beside payments of every kind; then a wallet that shows too much, until it is mended."""
    await registered_anew(mesh)
    await mesh.world.fund({f"user:w{number}-t:THB": 100_000 for number in range(4)})
    wallet = UUID(int=account_id(PAYER))
    change = "UPDATE pm.account_balance SET posted = posted + $2 WHERE account_id = $1"

    async def pay(number: int) -> None:
        payer, payee = f"user:w{number % 4}-t:THB", f"user:w{(number + 1) % 4}-t:THB"
        await mesh.world.handle(intent_entry(message(p2p(payer, payee, 7 + number))))
        if number % 5 == 0:
            intent = await scene.paying(20)
            await scene.told(intent, Outcome.PAID if number % 2 else Outcome.DECLINED, code="over_limit", final=True)

    async with reconcilers(mesh) as port:
        for start in range(0, 40, 4):
            await asyncio.gather(*(pay(number) for number in range(start, start + 4)))
        total = await mesh.pool.fetchval("SELECT count(*) FROM ledger.transfer WHERE ledger <> 1")

        async def caught_up() -> bool:
            return int(await mesh.pool.fetchval(WALKED) or 0) >= total and not int(
                await mesh.pool.fetchval("SELECT count(*) FROM pm.reconciliation_suspect")
            )

        await until(caught_up, "everything is compared", timeout_s=60.0)
        assert await mesh.pool.fetch("SELECT kind, subject, sides FROM pm.reconciliation_break") == []
        await mesh.pool.execute(change, wallet, 5)
        await until(lambda: open_breaks(mesh), "the break is open", timeout_s=60.0)
        async with aiohttp.ClientSession() as client:

            async def told() -> bool:
                async with client.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    return 'paymesh_reconciliation_breaks{severity="critical"} 1.0' in await answer.text()

            await until(told, "the metrics say so", timeout_s=30.0)
        await mesh.pool.execute(change, wallet, -5)

        async def gone() -> bool:
            return not await open_breaks(mesh)

        await until(gone, "it closes by itself", timeout_s=60.0)
