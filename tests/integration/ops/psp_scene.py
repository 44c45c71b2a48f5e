"""Payments through PSPs for tests of operations: two wallets of a mesh, and what PSPs say about their payments."""

from typing import Any
from uuid import UUID

from shared.contracts import Outcome
from shared.ids import IntentId
from shared.psp import write_manifest
from tests.integration.orchestrator.saga import Saga

PAYER, PAYEE = "user:payer-t:THB", "user:payee-t:RUB"


class PspScene(Saga):
    """A mesh with two registered PSPs: one that pays out in baht, one that collects roubles."""

    async def set_up(self) -> None:
        """Register the PSPs, open the accounts that their money needs, and two wallets."""
        await self.prepare()
        for manifest in self.world.channels.manifests:
            await self.world.pool.execute(
                "INSERT INTO pm.psp (psp, manifest) VALUES ($1, $2)", manifest.psp, write_manifest(manifest)
            )
        await self.world.fund({PAYER: 1000, PAYEE: 0})

    async def paying(self, amount_minor: int = 300) -> IntentId:
        """A withdrawal, held and on its way to the PSP."""
        return await self.withdraw(PAYER, amount_minor)

    async def collecting(self, amount_minor: int = 500) -> IntentId:
        """A top-up that nobody has paid yet."""
        return await self.top_up(PAYEE, amount_minor)

    async def sent(self) -> None:
        """Whatever waits in the outbox is sent, and its entries are finished."""
        await self.world.pool.execute("UPDATE pm.outbox_event SET sent_at = now() WHERE sent_at IS NULL")

    async def told(self, intent: IntentId, outcome: Outcome, *, psp: str = "ipps", **more: Any) -> None:
        """The PSP says something about an intent."""
        await self.hear(self.said(intent, outcome, psp=psp, **more))


async def paid(scene: PspScene) -> IntentId:
    """A withdrawal that the PSP has paid."""
    intent = await scene.paying()
    await scene.told(intent, Outcome.PAID)
    assert (await scene.state(intent))[0] == "SETTLED"
    return intent


async def collected(scene: PspScene, amount_minor: int = 500) -> IntentId:
    """A top-up that somebody has paid."""
    intent = await scene.collecting()
    await scene.told(intent, Outcome.PAID, psp="qp", amount_minor=amount_minor)
    assert (await scene.state(intent))[0] == "SETTLED"
    return intent


async def declined(scene: PspScene) -> IntentId:
    """A withdrawal that the PSP has declined."""
    intent = await scene.paying()
    await scene.told(intent, Outcome.DECLINED, code="over_limit", final=True)
    assert (await scene.state(intent))[0] == "FAILED"
    return intent


async def late_credit(scene: PspScene) -> UUID:
    """A top-up paid twice; return the child of the second payment."""
    intent = await collected(scene)
    await scene.told(intent, Outcome.PAID, psp="qp", psp_transaction_id="second", amount_minor=70)
    child: UUID = await scene.world.pool.fetchval("SELECT child_id FROM pm.psp_child WHERE parent_id = $1", intent)
    return child
