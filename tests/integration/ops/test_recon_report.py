"""`paymesh recon report` as it is typed: in every form, to a file or not, with an exit code that tells the truth."""

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio

from ops.commands.recon_report import make
from reconciler.reports.digest import Digest
from shared.contracts import Outcome
from tests.integration.ops.commanding import Invoke, commands_on
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.psp_scene import PspScene, collected, declined, late_credit, paid
from tests.integration.orchestrator.world import intent_entry, message, p2p


@pytest.fixture
def report(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """The command on the mesh of the test."""
    paymesh = commands_on(mesh, monkeypatch)
    return lambda *arguments: paymesh("recon", "report", *arguments)


@pytest_asyncio.fixture
async def payments(mesh: Mesh) -> None:
    """Ann is given 100 baht and pays Bo 25."""
    ann, bo = mesh.world.wallet("ann"), mesh.world.wallet("bo")
    await mesh.world.fund({ann: 10_000, bo: 0})
    await mesh.world.handle(intent_entry(message(p2p(ann, bo, 2_500))))


@pytest.mark.usefixtures("payments")
def test_todays_report_says_what_has_happened_so_far(report: Invoke) -> None:
    """It is not final, and what it says is what was paid."""
    made = report("today", "--json")
    assert made.exit_code == 0, made.output
    said = json.loads(made.stdout)
    assert not said["period"]["complete"]
    assert {line["operation_type"]: line["amount_minor"] for line in said["operations"]} == {
        "ADJUSTMENT": 10_000,
        "P2P_TRANSFER": 2_500,
    }
    assert report().stdout == report("today").stdout
    assert "P2P transfer" in report().stdout


@pytest.mark.usefixtures("payments")
def test_every_form_goes_to_a_file(report: Invoke, tmp_path: Path) -> None:
    """The file holds what would have been printed."""
    for form in ("json", "csv", "html", "text"):
        made = report("today", "--format", form, "--out", str(tmp_path / form))
        assert (made.exit_code, made.stdout) == (0, ""), made.output
    assert json.loads((tmp_path / "json").read_text())["checks"]
    assert {line["section"] for line in csv.DictReader(io.StringIO((tmp_path / "csv").read_text()))} > {"balances"}
    assert ET.fromstring((tmp_path / "html").read_text()).tag == "html"  # noqa: S314 - written three lines above
    assert "all balances of a currency add up to nothing" in (tmp_path / "text").read_text()


@pytest_asyncio.fixture
async def tampered(mesh: Mesh, payments: None) -> None:  # noqa: ARG001 - they come first
    """Somebody adds seven satang to what was added up."""
    await Digest(pool=mesh.pool, ledger=mesh.ledger).to_the_end()
    await mesh.pool.execute("UPDATE pm.ledger_day SET credits = credits + 7 WHERE account = 'user:*:THB'")


@pytest.mark.usefixtures("tampered")
def test_a_report_that_does_not_add_up_exits_1(report: Invoke) -> None:
    """And says by how much."""
    made = report("today")
    assert made.exit_code == 1
    assert "off by 7" in made.stdout


async def test_what_psps_did_is_in_it_to_the_last_unit(mesh: Mesh, scene: PspScene) -> None:
    """Paid out, paid less than asked, declined, still on its way, paid in, and paid in twice."""
    await paid(scene)
    less = await scene.paying(100)
    await scene.told(less, Outcome.PAID, amount_minor=60)
    await declined(scene)
    await scene.paying(200)
    await collected(scene, 500)
    await late_credit(scene)
    made = await make(mesh.settings, "today")
    said = made.report
    assert said.holds
    rows = await mesh.pool.fetch("SELECT psp, sum(amount_minor) AS paid FROM pm.psp_tx_map GROUP BY psp")
    moved = {psp.psp: psp.paid_in_minor + psp.paid_out_minor for psp in said.psps}
    assert moved == {row["psp"]: row["paid"] for row in rows}
    (withdrawals,) = (line for line in said.operations if line.operation_type == "IPPS_WITHDRAWAL")
    assert (withdrawals.payments, withdrawals.amount_minor) == (2, 360)
    assert (withdrawals.held, withdrawals.voided) == (4, 1)
    assert {line.operation_type for line in said.operations if line.psp == "qp"} == {"QP_TOPUP", "LATE_CREDIT"}
    assert said.open_intents is not None
    assert [(line.state, line.amount_minor) for line in said.open_intents] == [("AUTHORIZED", 200)]


@pytest.mark.usefixtures("payments")
def test_what_is_no_period_is_not_understood(report: Invoke) -> None:
    """Exit 2, with an example; so is a day that the ledger has not."""
    for name, said in (("last-week", "2026-W48"), ("2001-01-01", "no days in 2001-01-01")):
        made = report(name)
        assert made.exit_code == 2
        assert said in made.output
