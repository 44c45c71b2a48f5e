"""The invariants: a sound mesh passes, and each violation, planted by hand, is found and named."""

from dataclasses import replace
from uuid import UUID

import pytest
import tigerbeetle as tb

from ops.invariants import books, intents, records
from shared.accounts import parse_account
from shared.contracts import Kind
from shared.ids import IntentId, Phase, account_id, transfer_id
from shared.ledger.accounts import ledger_account
from shared.ledger.codes import LegCode
from shared.streams import keys
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.looking import broken, look
from tests.integration.orchestrator.world import intent_entry, message, new_id, p2p

ALICE, BOB = "user:alice-t:THB", "user:bob-t:THB"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted differences do not go away: nobody has to wait for them."""
    monkeypatch.setattr(records, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(records, "_PAUSE_S", 0.0)
    monkeypatch.setattr(books, "_PAUSE_S", 0.0)


async def settled(mesh: Mesh, amount_minor: int = 100) -> IntentId:
    """Fund two wallets, move an amount between them, and return that intent."""
    await mesh.world.fund({ALICE: 1000, BOB: 1000})
    intent = new_id()
    await mesh.world.handle(intent_entry(message(p2p(ALICE, BOB, amount_minor)), intent))
    assert (await mesh.world.row(intent))["state"] == "SETTLED"
    return intent


async def test_a_sound_mesh_passes_every_check(mesh: Mesh) -> None:
    """Settled, rejected and duplicate intents, and nothing to complain of; every check looked at something."""
    await settled(mesh)
    await mesh.world.handle(intent_entry(message(p2p(ALICE, BOB, 10**9), key="twice")))
    await mesh.world.handle(intent_entry(message(p2p(ALICE, BOB, 10**9), key="twice")))
    report = await look(mesh, nothing_open=True)
    assert broken(report) == {}
    assert report.ok
    assert report.states == {"DUPLICATE": 1, "REJECTED": 1, "SETTLED": 3}
    assert {check.name: check.examined for check in report.checks} == {
        "sums": 2,
        "transit": 1,
        "accounts": 4,
        "balances": 2,
        "held": 2,
        "settled": 3,
        "unmoved": 2,
        "released": 0,
        "under_way": 0,
        "owners": 6,
        "payments": 0,
        "psp_accounts": 0,
        "references": 0,
        "alerts": 0,
        "finished": 5,
    }


async def test_an_empty_mesh_passes(mesh: Mesh) -> None:
    """Nothing has happened yet, so nothing is wrong."""
    assert (await look(mesh, nothing_open=True)).ok


async def test_money_left_in_transit_is_found(mesh: Mesh) -> None:
    """A leg without its other half: transit does not stand at zero."""
    await settled(mesh)
    await mesh.pool.execute(
        "UPDATE ledger.account SET credits_posted = credits_posted + 5 WHERE id = $1",
        UUID(int=account_id("transit:THB")),
    )
    found = broken(await look(mesh))
    assert found["transit"].violations[0].subject == "transit:THB"
    assert "posted 5" in found["transit"].violations[0].detail


async def test_money_pending_in_transit_is_found(mesh: Mesh) -> None:
    """A hold of one leg only counts as much as a move of one."""
    await settled(mesh)
    await mesh.pool.execute(
        "UPDATE ledger.account SET debits_pending = 7 WHERE id = $1", UUID(int=account_id("transit:THB"))
    )
    assert "pending -7" in broken(await look(mesh))["transit"].violations[0].detail


@pytest.mark.parametrize("column", ["debits_posted", "credits_posted", "debits_pending", "credits_pending"])
async def test_money_out_of_nothing_is_found(mesh: Mesh, column: str) -> None:
    """Debits and credits of a ledger must add up, posted and pending alike."""
    await settled(mesh)
    await mesh.pool.execute(
        f"UPDATE ledger.account SET {column} = {column} + 1 WHERE id = $1", UUID(int=account_id("equity:THB"))
    )
    found = broken(await look(mesh))
    assert set(found) == {"sums"}
    assert found["sums"].violations[0].subject == "THB"


async def test_a_balance_that_differs_from_the_ledger_is_found(mesh: Mesh) -> None:
    """Both figures and the wallet are named."""
    await settled(mesh)
    await mesh.pool.execute(
        "UPDATE pm.account_balance SET posted = posted + 1 WHERE account_id = $1", UUID(int=account_id(BOB))
    )
    found = broken(await look(mesh))
    assert set(found) == {"balances"}
    assert found["balances"].violations[0].subject == BOB
    assert found["balances"].violations[0].detail == "the database says 1101, the ledger 1100"


async def test_a_balance_that_is_missing_is_found(mesh: Mesh) -> None:
    """No row at all means nothing held."""
    await settled(mesh)
    await mesh.pool.execute("DELETE FROM pm.account_balance WHERE account_id = $1", UUID(int=account_id(BOB)))
    assert broken(await look(mesh))["balances"].violations[0].subject == BOB


async def test_a_balance_that_catches_up_is_no_violation(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is a moment behind the ledger: what agrees at the second look is in order."""
    monkeypatch.setattr(records, "_PATIENCE_S", 5.0)
    await settled(mesh)
    account = UUID(int=account_id(BOB))
    await mesh.pool.execute("UPDATE pm.account_balance SET posted = posted - 100 WHERE account_id = $1", account)
    look_again = records._look_again

    async def caught_up(*args: object) -> object:
        await mesh.pool.execute("UPDATE pm.account_balance SET posted = 1100 WHERE account_id = $1", account)
        return await look_again(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(records, "_look_again", caught_up)
    assert (await look(mesh)).ok


async def test_a_settled_intent_whose_money_never_moved_is_found(mesh: Mesh) -> None:
    """SETTLED in the database, nothing in the ledger: the intent and both legs are named."""
    await settled(mesh)
    ghost = new_id()
    await mesh.world.handle(intent_entry(message(p2p(ALICE, BOB, 10**9)), ghost))
    await mesh.pool.execute(
        "UPDATE pm.intent SET state = 'SETTLED', error_code = NULL, funds = 'moved' WHERE id = $1", ghost
    )
    found = broken(await look(mesh))
    assert set(found) == {"settled"}
    assert {violation.subject for violation in found["settled"].violations} == {str(ghost)}
    assert [violation.detail for violation in found["settled"].violations] == [
        "attempt 1, leg 0: the ledger has no transfer of 1000000000",
        "attempt 1, leg 1: the ledger has no transfer of 1000000000",
    ]


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("amount", "99", "amount"),
        ("debit_account_id", f"'{UUID(int=account_id(BOB))}'", "debit_account_id"),
        ("credit_account_id", f"'{UUID(int=account_id(BOB))}'", "credit_account_id"),
        ("code", "999", "code"),
        ("ledger", "840", "ledger"),
    ],
)
async def test_a_leg_that_differs_from_its_plan_is_found(mesh: Mesh, column: str, value: str, named: str) -> None:
    """Amount, accounts, reason and currency of every leg are the plan's."""
    intent = await settled(mesh)
    leg = UUID(int=transfer_id(intent, attempt=1, phase=Phase.MOVE, leg=0))
    await mesh.pool.execute(f"UPDATE ledger.transfer SET {column} = {value} WHERE id = $1", leg)
    found = broken(await look(mesh))
    assert found["settled"].violations[0].subject == str(intent)
    assert found["settled"].violations[0].detail.startswith(f"attempt 1, leg 0: {named} is ")


async def test_a_plan_that_cannot_be_read_is_found(mesh: Mesh) -> None:
    """An intent that cannot explain itself is a violation, not a crash of the check."""
    intent = await settled(mesh)
    await mesh.pool.execute("UPDATE pm.intent_attempt SET plan = '{\"v\": 9}' WHERE intent_id = $1", intent)
    found = broken(await look(mesh))
    assert found["settled"].violations[0].subject == str(intent)
    assert "cannot be read" in found["settled"].violations[0].detail


async def test_a_settled_intent_without_a_plan_is_found(mesh: Mesh) -> None:
    """Every settled intent has written down what it did."""
    intent = await settled(mesh)
    await mesh.pool.execute("DELETE FROM pm.intent_attempt WHERE intent_id = $1", intent)
    found = broken(await look(mesh))
    assert found["settled"].violations[0].detail == "settled by attempt 1, of which there is no plan"
    assert found["owners"].violations_total == 2


@pytest.mark.parametrize("state", ["REJECTED", "DUPLICATE"])
async def test_money_moved_by_a_refused_intent_is_found(mesh: Mesh, state: str) -> None:
    """Once from the database's side and once from the ledger's."""
    intent = await settled(mesh)
    await mesh.pool.execute(
        "UPDATE pm.intent SET state = $2, error_code = 'planted', alias_of = CASE $2 WHEN 'DUPLICATE' THEN id END "
        "WHERE id = $1",
        intent,
        state,
    )
    found = broken(await look(mesh))
    assert set(found) == {"unmoved", "owners"}
    assert {violation.subject for violation in found["unmoved"].violations} == {str(intent)}
    assert f"although the intent is {state}" in found["owners"].violations[0].detail


async def test_a_transfer_of_an_attempt_that_did_not_settle_is_found(mesh: Mesh) -> None:
    """An intent settled by its second attempt must not have moved money in its first."""
    intent = await settled(mesh)
    await mesh.pool.execute(
        "INSERT INTO pm.intent_attempt (intent_id, attempt, plan) "
        "SELECT intent_id, 2, plan FROM pm.intent_attempt WHERE intent_id = $1",
        intent,
    )
    await mesh.pool.execute("UPDATE pm.intent SET attempt = 2 WHERE id = $1", intent)
    details = [violation.detail for violation in broken(await look(mesh))["settled"].violations]
    assert "attempt 1, leg 0: moved 100 although it is not what settled it" in details
    assert "attempt 2, leg 0: the ledger has no transfer of 100" in details


async def test_a_transfer_that_nobody_planned_is_found(mesh: Mesh) -> None:
    """Somebody moved money past the saga: the transfer names no intent of ours."""
    await settled(mesh)
    stranger = new_id()
    transfer = tb.Transfer(
        id=transfer_id(stranger, attempt=1, phase=Phase.MOVE, leg=0),
        debit_account_id=account_id(ALICE),
        credit_account_id=account_id(BOB),
        amount=1,
        user_data_128=stranger.int,
        ledger=764,
        code=LegCode.P2P_PAY,
    )
    (result,) = await mesh.ledger.create_transfers([transfer])
    assert result.status is tb.CreateTransferStatus.CREATED
    found = broken(await look(mesh))
    assert set(found) == {"owners", "balances"}
    assert found["owners"].violations[0].subject == str(stranger)
    assert "no such intent" in found["owners"].violations[0].detail


async def test_a_transfer_beside_the_plan_is_found(mesh: Mesh) -> None:
    """A settled intent with one leg more than it planned."""
    intent = await settled(mesh)
    transfer = tb.Transfer(
        id=transfer_id(intent, attempt=1, phase=Phase.MOVE, leg=9),
        debit_account_id=account_id(ALICE),
        credit_account_id=account_id(BOB),
        amount=1,
        user_data_128=intent.int,
        ledger=764,
        code=LegCode.P2P_PAY,
    )
    await mesh.ledger.create_transfers([transfer])
    assert "no plan of the intent has it" in broken(await look(mesh))["owners"].violations[0].detail


async def test_an_account_that_the_ledger_does_not_know_is_found(mesh: Mesh) -> None:
    """The map says open; the ledger has never heard of it."""
    account = parse_account("user:ghost:THB")
    await mesh.pool.execute(
        "INSERT INTO pm.tb_account_map (name, id, ledger, opened_by) VALUES ($1, $2, 764, 'me')",
        account.name,
        UUID(int=account.id),
    )
    found = broken(await look(mesh))
    assert found["accounts"].violations[0].subject == "user:ghost:THB"


async def test_an_account_with_the_wrong_flags_is_found(mesh: Mesh) -> None:
    """A wallet that may overdraw stands in the ledger otherwise than its name promises."""
    account = parse_account("user:loose:THB")
    opened = ledger_account(account)
    opened.flags = tb.AccountFlags.NONE
    await mesh.ledger.create_accounts([opened])
    await mesh.pool.execute(
        "INSERT INTO pm.tb_account_map (name, id, ledger, opened_by) VALUES ($1, $2, 764, 'me')",
        account.name,
        UUID(int=account.id),
    )
    assert "flags" in broken(await look(mesh))["accounts"].violations[0].detail


async def test_what_is_left_open_is_counted_and_wrong_only_on_demand(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An undecided intent, an unread entry and a dead letter are normal at work and wrong after closing time."""
    monkeypatch.setattr("ops.invariants.run._PATIENCE_S", 0.0)
    intent = await settled(mesh)
    await mesh.pool.execute("UPDATE pm.intent SET state = 'VALIDATED' WHERE id = $1", intent)
    await mesh.redis.xadd(keys.intents(0), {"kind": str(Kind.INTENT)})
    await mesh.redis.xadd(keys.dlq(keys.intents(1)), {"reason": "decode"})
    report = await look(mesh)
    assert report.ok
    assert (report.open_intents, report.stream_entries, report.dead_letters) == (1, 1, 1)
    found = broken(await look(mesh, nothing_open=True))
    assert {violation.subject for violation in found["finished"].violations} == {
        "open intents",
        "stream entries",
        "dead letters",
    }


async def test_many_violations_are_counted_and_only_some_are_kept(mesh: Mesh) -> None:
    """A report stays readable, and its memory small, whatever happened."""
    await mesh.pool.execute(
        "INSERT INTO pm.tb_account_map (name, id, ledger, opened_by) "
        "SELECT 'user:g' || n || ':THB', gen_random_uuid(), 764, 'me' FROM generate_series(1, 1203) AS n"
    )
    check = broken(await look(mesh))["accounts"]
    assert (check.examined, check.violations_total, len(check.violations)) == (1203, 1203, 20)


async def test_pages_do_not_lose_intents(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pages of two, everything is still looked at exactly once."""
    monkeypatch.setattr(records, "PAGE", 2)
    monkeypatch.setattr(intents, "PAGE", 2)
    monkeypatch.setattr(books, "_ALL", replace(books._ALL, limit=2))
    await settled(mesh)
    for _ in range(5):
        await mesh.world.handle(intent_entry(message(p2p(ALICE, BOB, 1))))
    report = await look(mesh)
    examined = {check.name: check.examined for check in report.checks}
    assert report.ok
    assert (examined["settled"], examined["owners"], examined["accounts"]) == (8, 16, 4)
