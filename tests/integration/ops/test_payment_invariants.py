"""The invariants of what PSPs said: each payment, child and reference accounted for, or found and named."""

import asyncio
from uuid import UUID

import pytest

from ops.invariants import payments
from shared.contracts import Outcome
from shared.ids import account_id
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.looking import broken, details, look
from tests.integration.ops.psp_scene import PspScene, collected, late_credit, paid
from tests.integration.orchestrator.world import new_id

pytestmark = pytest.mark.usefixtures("impatient")


async def test_a_payment_that_nobody_booked_is_found(mesh: Mesh, scene: PspScene) -> None:
    """The PSP has named it, and neither an intent nor a child accounts for it."""
    intent = await paid(scene)
    await mesh.pool.execute(
        "INSERT INTO pm.psp_tx_map (psp, psp_transaction_id, intent_id, attempt, settles, amount_minor, currency) "
        "VALUES ('ipps', 'again', $1, 1, false, 80, 'THB')",
        intent,
    )
    report = await look(mesh)
    assert set(broken(report)) == {"payments", "psp_accounts"}
    assert details(report, "payments") == [f"80 was paid, and 0 is accounted for by intent {intent} and its children"]
    assert details(report, "psp_accounts") == ["the PSP named payments of 380, the ledger says 300"]


async def test_two_payments_that_claim_to_settle_one_intent_are_found(mesh: Mesh, scene: PspScene) -> None:
    """Only one was resolved upon."""
    intent = await paid(scene)
    await mesh.pool.execute(
        "INSERT INTO pm.psp_tx_map (psp, psp_transaction_id, intent_id, attempt, settles, amount_minor, currency) "
        "VALUES ('ipps', 'again', $1, 1, true, 300, 'THB')",
        intent,
    )
    assert details(await look(mesh), "payments") == [
        f"said to settle intent {intent}, which was resolved upon T-{intent}"
    ]


async def test_a_payment_of_an_unknown_intent_is_found(mesh: Mesh) -> None:
    """Whose money it is cannot be said."""
    stranger = new_id()
    await mesh.pool.execute(
        "INSERT INTO pm.psp_tx_map (psp, psp_transaction_id, intent_id, attempt, settles, amount_minor, currency) "
        "VALUES ('ipps', 'stray', $1, 1, false, 80, 'THB')",
        stranger,
    )
    assert details(await look(mesh), "payments") == [f"belongs to intent {stranger}, which has planned no such payment"]


async def test_a_child_that_was_allocated_and_never_written_is_found(mesh: Mesh, scene: PspScene) -> None:
    """Its id stands in the register, its money in the ledger, and there is no intent."""
    child = await late_credit(scene)
    await mesh.pool.execute("DELETE FROM pm.intent WHERE id = $1", child)
    report = await look(mesh)
    assert details(report, "payments") == ["its late_credit was given an id, and there is no such intent"]


async def test_a_child_of_another_parent_is_found(mesh: Mesh, scene: PspScene) -> None:
    """From the payment's side and from the child's."""
    child, other = await late_credit(scene), await paid(scene)
    await mesh.pool.execute("UPDATE pm.intent SET parent_id = $2 WHERE id = $1", child, other)
    report = await look(mesh)
    assert "belongs to" in details(report, "payments")[0]
    assert "registered as one of" in details(report, "settled")[0]


async def test_a_child_that_nobody_registered_is_found(mesh: Mesh, scene: PspScene) -> None:
    """It moved money for a payment, and the register of children does not know it."""
    child = await late_credit(scene)
    await mesh.pool.execute("DELETE FROM pm.psp_child WHERE child_id = $1", child)
    report = await look(mesh)
    assert "registered as one of None" in details(report, "settled")[0]
    assert details(report, "payments")[0].startswith("70 was paid, and 0 is accounted for")


async def test_a_child_of_a_payment_that_no_psp_named_is_found(mesh: Mesh, scene: PspScene) -> None:
    """Money moved on nobody's word."""
    await late_credit(scene)
    await mesh.pool.execute("DELETE FROM pm.psp_tx_map WHERE psp_transaction_id = 'second'")
    report = await look(mesh)
    assert details(report, "payments") == ["a late_credit of qp:second, which no PSP has named"]
    assert details(report, "psp_accounts") == ["the PSP named payments of -500, the ledger says -570"]


@pytest.mark.parametrize(
    ("column", "value"), [("operation_type", "'REVERSAL'"), ("currency", "'THB'")], ids=["type", "currency"]
)
async def test_a_child_that_is_something_else_than_its_purpose_is_found(
    mesh: Mesh, scene: PspScene, column: str, value: str
) -> None:
    """A late credit is a LATE_CREDIT, in, in the payment's currency."""
    child = await late_credit(scene)
    await mesh.pool.execute(f"UPDATE pm.intent SET {column} = {value} WHERE id = $1", child)
    assert "instead of LATE_CREDIT in RUB" in details(await look(mesh), "payments")[0]


async def test_more_given_back_than_was_paid_is_found(mesh: Mesh, scene: PspScene) -> None:
    """A payment cannot be taken back twice over."""
    intent = await paid(scene)
    await scene.told(intent, Outcome.REVERSED, psp_transaction_id=f"T-{intent}")
    await mesh.pool.execute("UPDATE pm.intent SET amount_minor = 301 WHERE parent_id = $1", intent)
    assert "300 was paid, and 301 given back" in details(await look(mesh), "payments")


async def test_a_reversal_that_nobody_bears_is_found(mesh: Mesh, scene: PspScene) -> None:
    """The wallet refused it, and suspense was not charged instead."""
    intent = await collected(scene)
    await scene.told(intent, Outcome.REVERSED, psp="qp", psp_transaction_id=f"T-{intent}")
    await mesh.pool.execute(
        "UPDATE pm.intent SET state = 'REJECTED', error_code = 'planted' WHERE parent_id = $1", intent
    )
    assert "taken back by the PSP, and neither the wallet nor suspense bears it" in details(
        await look(mesh), "payments"
    )


async def test_money_at_a_psp_that_no_psp_named_is_found(mesh: Mesh, scene: PspScene) -> None:
    """What the ledger says of our account there has another reason."""
    await paid(scene)
    await mesh.pool.execute(
        "UPDATE ledger.account SET credits_posted = credits_posted + 5 WHERE id = $1",
        UUID(int=account_id("psp:ipps:THB")),
    )
    report = await look(mesh)
    assert set(broken(report)) == {"sums", "psp_accounts"}
    assert details(report, "psp_accounts") == ["the PSP named payments of 300, the ledger says 305"]


async def test_what_is_under_way_at_a_psp_is_no_violation(mesh: Mesh, scene: PspScene) -> None:
    """A resolution that is stored and not carried out yet may be in the ledger or not."""
    intent = await paid(scene)
    await mesh.pool.execute("UPDATE pm.intent SET state = 'AUTHORIZED' WHERE id = $1", intent)
    report = await look(mesh)
    assert not {"payments", "psp_accounts", "under_way", "owners"} & set(broken(report))
    await mesh.pool.execute(
        "UPDATE ledger.account SET credits_posted = credits_posted + 1 WHERE id = $1",
        UUID(int=account_id("psp:ipps:THB")),
    )
    assert details(await look(mesh), "psp_accounts") == [
        "the PSP named payments of 0 (and 0 to 300 under way), the ledger says 301"
    ]


async def test_a_reference_of_an_intent_that_planned_another_is_found(mesh: Mesh, scene: PspScene) -> None:
    """From the register's side and from the intent's."""
    intent = await scene.paying()
    await mesh.pool.execute("UPDATE pm.psp_reference SET reference = 'STOLEN' WHERE intent_id = $1", intent)
    told = details(await look(mesh), "references")
    assert len(told) == 2
    assert "the register of references has ipps:STOLEN" in told[0]
    assert told[1] == f"attempt 1 of intent {intent} has planned no such reference"


async def test_a_reference_that_was_never_claimed_is_found(mesh: Mesh, scene: PspScene) -> None:
    """Another intent could be given the same one."""
    intent = await scene.paying()
    await mesh.pool.execute("DELETE FROM pm.psp_reference WHERE intent_id = $1", intent)
    assert details(await look(mesh), "references")[0].endswith("the register of references has nothing")


async def test_a_reference_of_nobody_is_found(mesh: Mesh) -> None:
    """It belongs to no intent."""
    await mesh.pool.execute(
        "INSERT INTO pm.psp_reference (psp, reference, intent_id, attempt) VALUES ('ipps', 'STRAY', $1, 1)", new_id()
    )
    assert "has planned no such reference" in details(await look(mesh), "references")[0]


async def test_a_payment_that_is_accounted_for_at_the_second_look_is_no_violation(
    mesh: Mesh, scene: PspScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word of a PSP is carried out in several steps, and the check may come in between."""
    monkeypatch.setattr(payments, "_PATIENCE_S", 5.0)
    intent = await paid(scene)
    await mesh.pool.execute("UPDATE pm.psp_tx_map SET amount_minor = 299")
    sleep = asyncio.sleep

    async def caught_up(_seconds: float) -> None:
        await mesh.pool.execute("UPDATE pm.psp_tx_map SET amount_minor = 300")
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", caught_up)
    assert (await look(mesh)).ok
    assert (await scene.state(intent))[0] == "SETTLED"


async def test_pages_do_not_lose_payments(mesh: Mesh, scene: PspScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pages of two, everything is still looked at exactly once."""
    monkeypatch.setattr(payments, "PAGE", 2)
    for _ in range(3):
        await paid(scene)
    await late_credit(scene)
    await mesh.pool.execute("DELETE FROM pm.psp_tx_map WHERE psp_transaction_id = 'second'")
    report = await look(mesh)
    examined = {check.name: check.examined for check in report.checks}
    assert (examined["payments"], examined["references"]) == (4, 4)
    assert len(details(report, "payments")) == 1


async def test_a_payment_that_was_kept_as_less_than_the_psp_said_is_found(mesh: Mesh, scene: PspScene) -> None:
    """Every book agrees on it, and the PSP has moved something else; a callback proves nothing."""
    child = await late_credit(scene)
    await mesh.pool.execute(
        "UPDATE pm.psp_result SET body = (body::jsonb || '{\"amount_minor\": 75}')::json "
        "WHERE body ->> 'psp_transaction_id' = 'second'"
    )
    report = await look(mesh)
    assert set(broken(report)) == {"payments"}
    assert details(report, "payments") == ["the PSP said that 75 was paid, and 70 was kept of it"]
    await mesh.pool.execute("UPDATE pm.psp_result SET source = 'callback'")
    assert (await look(mesh)).ok
    assert (await scene.state(child))[0] == "SETTLED"
