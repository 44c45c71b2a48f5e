"""`paymesh recon` on a mesh that has paid: runs, breaks, their closing by one and by two, the read model made anew."""

import asyncio
import getpass
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from ops.commands import running
from ops.doctor.records import look_at_records
from reconciler import wallets
from shared.contracts import Action, Outcome
from shared.ids import account_id
from tests.integration.ops.commanding import Invoke, commands_on
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.psp_scene import PAYER, PspScene, collected, declined, late_credit, paid

RUN = ("recon", "run", "--settle-s", "0", "--grace-s", "0")


@pytest.fixture
def paymesh(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Commands on the mesh of the test, by somebody who does not wait."""
    monkeypatch.setattr(wallets, "PAUSE_S", 0.0)
    # Commands run in a thread here, beside the test's own loop, and signals are for the main one.
    monkeypatch.setattr(running, "_until_signalled", lambda work: work)
    return commands_on(mesh, monkeypatch)


@pytest_asyncio.fixture
async def off(mesh: Mesh, scene: PspScene) -> Mesh:
    """A mesh whose payer is shown five satang too much."""
    await paid(scene)
    await mesh.pool.execute(
        "UPDATE pm.account_balance SET posted = posted + 5 WHERE account_id = $1", UUID(int=account_id(PAYER))
    )
    return mesh


async def told(paymesh: Invoke, *arguments: str, code: int = 0) -> Any:
    """What a command says to a program; commands run beside the test's own event loop."""
    result = await asyncio.to_thread(paymesh, *arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


async def broken(paymesh: Invoke) -> int:
    """Run, find the one break, and return its number."""
    ran = await told(paymesh, *RUN, code=1)
    (only,) = ran["open_breaks"]
    assert (only["kind"], only["subject"]) == ("balance_differs", PAYER)
    return int(only["id"])


async def audited(mesh: Mesh) -> Sequence[tuple[str, str, str]]:
    """The deeds on record."""
    rows = await mesh.pool.fetch(
        "SELECT action, actor, reason FROM pm.audit_log WHERE action LIKE 'recon.%' ORDER BY id"
    )
    return [(row["action"], row["actor"].partition("@")[0], row["reason"]) for row in rows]


async def test_whatever_a_mesh_has_done_reconciles(mesh: Mesh, scene: PspScene, paymesh: Invoke) -> None:
    """Paid, in part, declined, in doubt, twice, taken back, expired, open: nothing differs, new or in full."""
    await paid(scene)
    await declined(scene)
    await late_credit(scene)
    less, more, doubtful, after = [await scene.paying(100) for _ in range(4)]
    await scene.told(less, Outcome.PAID, amount_minor=60)
    await scene.told(more, Outcome.PAID, amount_minor=130)
    await scene.told(doubtful, Outcome.UNKNOWN)
    await scene.told(after, Outcome.PAID, amount_minor=100)
    await scene.told(after, Outcome.REVERSED, psp_transaction_id=f"T-{after}")
    expired = await scene.collecting()
    await scene.told(expired, Outcome.EXPIRED, psp="qp", action=Action.INQUIRE)
    await collected(scene)
    await scene.collecting()
    await scene.paying(50)
    ran = await told(paymesh, *RUN)
    assert (ran["open_total"], ran["still_suspect"], ran["opened"]) == (0, 0, 0)
    assert ran["walked"]["ledger"] > 30
    full = await told(paymesh, *RUN, "--full")
    assert full["open_total"] == 0
    assert full["walked"]["intents"] == await mesh.pool.fetchval("SELECT count(*) FROM pm.intent")
    assert (await told(paymesh, "recon", "rebuild"))["found"]["rows_missing"] == 0


async def test_a_run_says_by_its_exit_status_that_something_is_open(off: Mesh, paymesh: Invoke) -> None:
    """The break is listed and shown with what each side says; the status counts it."""
    number = await broken(paymesh)
    shown = await told(paymesh, "recon", "show", str(number))
    assert shown["break"]["delta_minor"] == 5
    assert shown["break"]["sides"]["read model"] == shown["break"]["sides"]["ledger"] + 5
    assert [step["to_state"] for step in shown["history"]] == ["OPEN"]
    assert "read model" in shown["meaning"]
    status = await told(paymesh, "recon", "status")
    assert [(one["kind"], one["count"]) for one in status["open_breaks"]] == [("balance_differs", 1)]
    assert [one["id"] for one in await told(paymesh, "recon", "breaks", "--kind", "balance_differs")] == [number]
    assert await told(paymesh, "recon", "breaks", "--psp", "qp") == []
    del off


async def test_nothing_is_closed_without_confirmation(off: Mesh, paymesh: Invoke) -> None:
    """A dry run says what would be done, and does nothing."""
    number = str(await broken(paymesh))
    asked = ("recon", "resolve", number, "--as", "explained", "--evidence", "ticket 7")
    await told(paymesh, *asked)
    assert await off.pool.fetchval("SELECT state FROM pm.reconciliation_break") == "OPEN"
    await told(paymesh, *asked, "--confirm", "--reason", "known since noon")
    assert await off.pool.fetchval("SELECT state FROM pm.reconciliation_break") == "EXPLAINED"
    assert await audited(off) == [("recon.resolve", getpass.getuser(), "known since noon")]
    # What is explained stays so while both sides say the same.
    assert (await told(paymesh, *RUN, "--full"))["open_total"] == 0


async def test_an_intent_that_made_up_for_it_has_settled(off: Mesh, scene: PspScene, paymesh: Invoke) -> None:
    """One that is still open has made up for nothing."""
    number = str(await broken(paymesh))
    open_one, settled = await scene.paying(10), await paid(scene)
    asked = ("recon", "resolve", number, "--as", "resolved", "--evidence", "see there", "--confirm", "--reason", "paid")
    refused = await asyncio.to_thread(paymesh, *asked, "--by-intent", str(open_one))
    assert refused.exit_code == 1
    closed = await told(paymesh, *asked, "--by-intent", str(settled))
    assert closed["break"]["state"] == "RESOLVED"
    shown = await told(paymesh, "recon", "show", number)
    assert shown["history"][-1]["evidence"]["intent"] == str(settled)
    del off


async def test_two_people_write_a_break_off(off: Mesh, paymesh: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the name given nor by the account may one person do both."""
    await off.pool.execute("UPDATE pm.mesh SET environment = 'test'")
    number = str(await broken(paymesh))
    asked = ("recon", "resolve", number, "--as", "written-off", "--evidence", "memo", "--requested-by", "Ann Lee")
    request = str((await told(paymesh, *asked, "--confirm", "--reason", "small"))["request"])
    assert await off.pool.fetchval("SELECT state FROM pm.reconciliation_break") == "OPEN"
    approval = ("recon", "approve", request, "--confirm", "--reason", "read it", "--approved-by")
    assert (await asyncio.to_thread(paymesh, *approval, "Bo Chan")).exit_code == 1
    monkeypatch.setenv("LOGNAME", "bo")
    assert (await asyncio.to_thread(paymesh, *approval, "ann lee")).exit_code == 1
    assert len(await told(paymesh, "recon", "requests")) == 1
    written = await told(paymesh, *approval, "Bo Chan")
    assert written["state"] == "WRITTEN_OFF"
    assert await told(paymesh, "recon", "requests") == []
    assert [action for action, _, _ in await audited(off)] == ["recon.write_off_requested", "recon.resolve"]
    assert (await asyncio.to_thread(paymesh, *approval, "Bo Chan")).exit_code == 1


async def test_a_declined_request_leaves_the_break_open(off: Mesh, paymesh: Invoke) -> None:
    """Whoever asked may take it back."""
    number = str(await broken(paymesh))
    asked = ("recon", "resolve", number, "--as", "written-off", "--evidence", "memo", "--requested-by", "Ann Lee")
    request = str((await told(paymesh, *asked, "--confirm", "--reason", "small"))["request"])
    declined_ = ("recon", "approve", request, "--approved-by", "Ann Lee", "--decline", "--confirm", "--reason", "no")
    assert (await told(paymesh, *declined_))["state"] == "OPEN"
    assert await off.pool.fetchval("SELECT decision FROM pm.reconciliation_request") == "declined"


async def test_a_lost_read_model_is_made_anew(off: Mesh, paymesh: Invoke) -> None:
    """The dry run exits 1 and changes nothing; the real one mends, proves, and is on record; the break closes."""
    await broken(paymesh)
    await off.pool.execute("TRUNCATE pm.tx_history, pm.account_balance")
    dry = await told(paymesh, "recon", "rebuild", code=1)
    assert (dry["mended"], dry["left"]) == (False, dry["found"]["rows_missing"])
    assert await off.pool.fetchval("SELECT count(*) FROM pm.tx_history") == 0
    done = await told(paymesh, "recon", "rebuild", "--confirm", "--reason", "lost")
    assert (done["mended"], done["left"]) == (True, 0)
    assert [action for action, _, _ in await audited(off)] == ["recon.rebuild"]
    ran = await told(paymesh, *RUN)
    assert (ran["open_total"], ran["closed"]) == (0, 1)


async def test_the_doctor_finds_what_is_open(off: Mesh, paymesh: Invoke) -> None:
    """One finding a kind, with the command that shows them; none, once they are closed."""
    number = str(await broken(paymesh))
    (finding,) = [each for each in await look_at_records(off.pool) if each.check == "recon.breaks"]
    assert (finding.subject, finding.severity) == ("balance_differs", "critical")
    assert finding.mend == "paymesh recon breaks --kind balance_differs"
    asked = ("recon", "resolve", number, "--as", "explained", "--evidence", "ticket 7")
    await told(paymesh, *asked, "--confirm", "--reason", "known")
    assert not [each for each in await look_at_records(off.pool) if each.check == "recon.breaks"]


async def test_people_are_shown_tables(off: Mesh, paymesh: Invoke) -> None:
    """Every command without --json, with what an operator looks for in it."""
    ran = await asyncio.to_thread(paymesh, *RUN)
    assert (ran.exit_code, "1 breaks are open" in ran.output) == (1, True)
    number = await off.pool.fetchval("SELECT id FROM pm.reconciliation_break")
    for arguments, words in (
        (("status",), "ledger"),
        (("breaks",), "balance_differs"),
        (("show", str(number)), "read model"),
        (("requests",), "request"),
        (("rebuild",), "balances that differ"),
    ):
        shown = await asyncio.to_thread(paymesh, "recon", *arguments)
        assert words in shown.output, shown.output
    unknown = await asyncio.to_thread(paymesh, "recon", "show", "999")
    assert unknown.exit_code == 1
