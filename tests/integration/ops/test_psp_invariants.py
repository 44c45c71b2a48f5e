"""The invariants of intents that ask PSPs: sound ones pass, however they ended, and planted faults are found."""

from uuid import UUID

import pytest
import tigerbeetle as tb

from shared.contracts import Action, Outcome
from shared.ids import IntentId, Phase, account_id, transfer_id
from shared.ledger.chain import build_post, build_void
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.looking import broken, details, look
from tests.integration.ops.psp_scene import PAYEE, PAYER, PspScene, collected, declined, paid
from tests.integration.orchestrator.saga import close, p2p_rub
from tests.integration.orchestrator.world import intent_entry, message

pytestmark = pytest.mark.usefixtures("impatient")


def of(intent: IntentId, phase: Phase, leg: int = 0) -> UUID:
    """The id of one of an intent's transfers."""
    return UUID(int=transfer_id(intent, attempt=1, phase=phase, leg=leg))


async def test_every_way_a_payment_can_end_passes(mesh: Mesh, scene: PspScene) -> None:
    """Paid in full, in part and in excess, declined, in doubt, late, twice, taken back before and after, expired."""
    await paid(scene)
    await declined(scene)
    less, more, doubtful, fresh = [await scene.paying(100) for _ in range(4)]
    await scene.told(less, Outcome.PAID, amount_minor=60)
    await scene.told(more, Outcome.PAID, amount_minor=130)
    await scene.told(doubtful, Outcome.UNKNOWN)
    back = await scene.paying(100)
    await scene.told(back, Outcome.REVERSED, psp_transaction_id=f"T-{back}")
    after = await scene.paying(100)
    await scene.told(after, Outcome.PAID, amount_minor=100)
    await scene.told(after, Outcome.REVERSED, psp_transaction_id=f"T-{after}")
    late = await declined(scene)
    await scene.told(late, Outcome.PAID)
    twice = await collected(scene)
    await scene.told(twice, Outcome.PAID, psp="qp", psp_transaction_id="second", amount_minor=70)
    expired = await scene.collecting()
    await scene.told(expired, Outcome.EXPIRED, psp="qp", action=Action.INQUIRE)
    await scene.collecting()
    report = await look(mesh, allow_alerts=True)
    assert broken(report) == {}
    assert (await scene.state(fresh))[0] == "AUTHORIZED"
    assert report.states == {"AUTHORIZED": 2, "EXPIRED": 1, "FAILED": 3, "IN_DOUBT": 1, "SETTLED": 10}
    examined = {check.name: check.examined for check in report.checks}
    assert (examined["under_way"], examined["released"], examined["settled"]) == (3, 4, 10)
    assert (examined["payments"], examined["psp_accounts"], examined["references"]) == (8, 2, 12)


async def test_money_that_fell_to_suspense_is_accounted_for(mesh: Mesh, scene: PspScene) -> None:
    """Of a wallet that is closed, and of one that has spent what was taken back."""
    spent = await collected(scene)
    await scene.world.fund({"user:other-t:RUB": 0})
    await scene.world.handle(intent_entry(message(p2p_rub(PAYEE, "user:other-t:RUB", 450))))
    await scene.told(spent, Outcome.REVERSED, psp="qp", psp_transaction_id=f"T-{spent}")
    first, late = await scene.collecting(), await scene.collecting()
    await scene.told(late, Outcome.EXPIRED, psp="qp", action=Action.INQUIRE)
    await close(scene, PAYEE)
    await scene.told(first, Outcome.PAID, psp="qp", amount_minor=500)
    await scene.told(late, Outcome.PAID, psp="qp", amount_minor=70)
    assert await scene.state(first) == ("FAILED", "unknown", "credit_refused")
    found = broken(await look(mesh, allow_alerts=True))
    # What closes an account is a transfer by hand, and it leaves another flag behind.
    assert {violation.detail.split(":")[-1] for violation in found.pop("owners").violations} == {
        " the database knows no such intent"
    }
    assert set(found) == {"accounts"}


async def test_a_refused_credit_that_is_nowhere_is_found(mesh: Mesh, scene: PspScene) -> None:
    """The PSP has the customer's money, and nobody here."""
    intent = await scene.collecting()
    await close(scene, PAYEE)
    await scene.told(intent, Outcome.PAID, psp="qp", amount_minor=500)
    await mesh.pool.execute("DELETE FROM pm.psp_child WHERE parent_id = $1", intent)
    report = await look(mesh, allow_alerts=True)
    assert details(report, "payments") == [f"500 was paid, and 0 is accounted for by intent {intent} and its children"]


async def test_a_hold_that_the_ledger_does_not_have_is_found(mesh: Mesh, scene: PspScene) -> None:
    """AUTHORIZED, and nothing is held: the PSP pays with money that the payer may spend."""
    intent = await scene.paying()
    await mesh.pool.execute("DELETE FROM ledger.transfer WHERE user_data_128 = $1", intent)
    assert details(await look(mesh), "under_way") == [
        f"attempt 1, leg {leg}: the ledger has no transfer of 300" for leg in (0, 1)
    ]


async def test_a_hold_that_moved_at_once_is_found(mesh: Mesh, scene: PspScene) -> None:
    """The transfers are there, and they are no holds."""
    intent = await scene.paying()
    await mesh.pool.execute("UPDATE ledger.transfer SET flags = 0 WHERE user_data_128 = $1", intent)
    assert "flags is" in details(await look(mesh), "under_way")[0]


@pytest.mark.parametrize("phase", [Phase.POST, Phase.VOID])
async def test_a_hold_resolved_without_a_resolution_is_found(mesh: Mesh, scene: PspScene, phase: Phase) -> None:
    """Whoever moved it has written nothing down."""
    intent = await scene.paying()
    held = [of(intent, Phase.MOVE, leg).int for leg in (0, 1)]
    chain = build_post(intent, 1, held, [300, 300]) if phase is Phase.POST else build_void(intent, 1, held)
    results = await mesh.ledger.create_transfers(chain)
    assert {result.status for result in results} == {tb.CreateTransferStatus.CREATED}
    report = await look(mesh)
    assert "no plan of the intent has it" in details(report, "owners")[0]
    assert details(report, "held") == ["the database says that 300 is held, the ledger 0"]


async def test_an_open_payment_without_a_job_is_found(mesh: Mesh, scene: PspScene) -> None:
    """Nobody will ever ask the PSP, and nobody will be asked about it."""
    intent = await scene.collecting()
    await mesh.pool.execute("DELETE FROM pm.outbox_event WHERE intent_id = $1", intent)
    assert details(await look(mesh), "under_way") == ["open, and no job for its PSP was ever written"]


async def test_what_is_held_in_one_book_only_is_found(mesh: Mesh, scene: PspScene) -> None:
    """Both figures and the wallet are named, and the balance itself is not blamed."""
    await scene.paying()
    await mesh.pool.execute(
        "UPDATE pm.account_balance SET held = 299 WHERE account_id = $1", UUID(int=account_id(PAYER))
    )
    found = broken(await look(mesh))
    assert set(found) == {"held"}
    assert found["held"].violations[0].subject == PAYER
    assert found["held"].violations[0].detail == "the database says that 299 is held, the ledger 300"


async def test_a_payment_posted_for_another_amount_than_resolved_is_found(mesh: Mesh, scene: PspScene) -> None:
    """The resolution is what counts, not the plan."""
    intent = await paid(scene)
    await mesh.pool.execute("UPDATE pm.resolution SET amount_minor = 299 WHERE intent_id = $1", intent)
    report = await look(mesh)
    assert set(broken(report)) == {"settled", "payments"}
    assert (
        details(report, "settled")[0] == "attempt 1, resolution, leg 0: amount is 300 in the ledger and 299 in the plan"
    )
    assert details(report, "payments")[0].startswith("300 was paid, and 299 is accounted for")


async def test_a_settled_payment_without_a_resolution_is_found(mesh: Mesh, scene: PspScene) -> None:
    """Money in as well as out: the state follows from nothing."""
    intents = [await paid(scene), await collected(scene)]
    await mesh.pool.execute("DELETE FROM pm.resolution WHERE intent_id = ANY ($1)", intents)
    report = await look(mesh)
    assert set(broken(report)) == {"settled", "owners", "payments"}
    assert details(report, "settled") == ["settled, and nothing was resolved about it"] * 2


async def test_a_credit_that_the_ledger_does_not_have_is_found(mesh: Mesh, scene: PspScene) -> None:
    """SETTLED, and the wallet has nothing of it."""
    intent = await collected(scene)
    await mesh.pool.execute("DELETE FROM ledger.transfer WHERE user_data_128 = $1", intent)
    assert details(await look(mesh), "settled")[0] == (
        "attempt 1, resolution, leg 0: the ledger has no transfer of 500"
    )


async def test_a_failed_payment_that_is_still_held_is_found(mesh: Mesh, scene: PspScene) -> None:
    """FAILED, and nobody gave the payer the money back."""
    intent = await declined(scene)
    await mesh.pool.execute(
        "DELETE FROM ledger.transfer WHERE id = ANY ($1::uuid[])", [of(intent, Phase.VOID, leg) for leg in (0, 1)]
    )
    assert details(await look(mesh), "released") == [
        f"attempt 1, resolution, leg {leg}: the ledger has no transfer of 300" for leg in (0, 1)
    ]


@pytest.mark.parametrize("state", ["FAILED", "EXPIRED"])
async def test_a_credit_of_an_intent_that_did_not_settle_is_found(mesh: Mesh, scene: PspScene, state: str) -> None:
    """Somebody was given money for a payment that is said not to have come."""
    intent = await collected(scene)
    await mesh.pool.execute("UPDATE pm.intent SET state = $2, error_code = 'planted' WHERE id = $1", intent, state)
    assert details(await look(mesh), "released") == [
        f"{state.lower()}, though it was resolved to credit as settled",
        f"attempt 1, leg 0: moved 500 although the intent is {state.lower()}",
        f"attempt 1, leg 1: moved 500 although the intent is {state.lower()}",
    ]


async def test_a_voided_payment_that_is_called_settled_is_found(mesh: Mesh, scene: PspScene) -> None:
    """Nobody was paid."""
    intent = await declined(scene)
    await mesh.pool.execute("UPDATE pm.intent SET state = 'SETTLED', error_code = NULL WHERE id = $1", intent)
    assert "settled, though it was resolved to void as failed" in details(await look(mesh), "settled")


async def test_a_refused_intent_that_holds_money_is_found(mesh: Mesh, scene: PspScene) -> None:
    """REJECTED means that nothing was ever held."""
    intent = await scene.paying()
    await mesh.pool.execute("UPDATE pm.intent SET state = 'REJECTED', error_code = 'planted' WHERE id = $1", intent)
    report = await look(mesh)
    assert details(report, "unmoved")[0] == "attempt 1, leg 0: moved 300 although the intent is rejected"
    assert "although the intent is REJECTED" in details(report, "owners")[0]
