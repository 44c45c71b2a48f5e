"""What the invariants say of things left open: alerts, jobs, entries, dead letters."""

from io import StringIO

import pytest
from rich.console import Console

from ops.commands.invariants import print_report
from shared.contracts import Outcome
from shared.streams import keys
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.looking import broken, look
from tests.integration.ops.psp_scene import PspScene, declined, paid

pytestmark = pytest.mark.usefixtures("impatient")


async def test_open_alerts_are_listed_and_critical_ones_are_violations_unless_allowed(
    mesh: Mesh, scene: PspScene
) -> None:
    """What somebody has closed is over; a warning is only listed."""
    late = await declined(scene)
    await scene.told(late, Outcome.PAID)
    doubtful = await scene.paying()
    await mesh.pool.execute(
        "INSERT INTO pm.reconciliation_alert (severity, kind, subject, detail) VALUES ('warning', 'odd', 'x', '{}')"
    )
    report = await look(mesh)
    assert set(broken(report)) == {"alerts"}
    assert [violation.subject for violation in broken(report)["alerts"].violations] == [f"ipps:T-{late}"]
    assert [(alert.severity, alert.kind) for alert in report.alerts] == [
        ("critical", "paid_after_failure"),
        ("warning", "odd"),
    ]
    assert report.alerts_total == 2
    allowed = await look(mesh, allow_alerts=True)
    assert allowed.ok
    assert allowed.alerts == report.alerts
    await mesh.pool.execute("UPDATE pm.reconciliation_alert SET closed_at = now()")
    closed = await look(mesh)
    assert closed.ok
    assert closed.alerts == ()
    assert (await scene.state(doubtful))[0] == "AUTHORIZED"


async def test_many_alerts_are_counted_and_only_some_are_kept(mesh: Mesh) -> None:
    """The critical first."""
    await mesh.pool.execute(
        "INSERT INTO pm.reconciliation_alert (severity, kind, subject, detail) "
        "SELECT CASE WHEN n <= 30 THEN 'critical' ELSE 'warning' END, 'odd', n::text, '{}' "
        "FROM generate_series(1, 50) AS n"
    )
    report = await look(mesh)
    assert (report.alerts_total, len(report.alerts)) == (50, 20)
    assert {alert.severity for alert in report.alerts} == {"critical"}
    assert broken(report)["alerts"].violations_total == 30


async def test_what_psps_leave_open_is_counted_and_wrong_only_on_demand(
    mesh: Mesh, scene: PspScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open payments, unsent jobs, entries in streams and delay sets, and dead letters."""
    monkeypatch.setattr("ops.invariants.run._PATIENCE_S", 0.0)
    await paid(scene)
    await scene.sent()
    assert (await look(mesh, nothing_open=True)).ok
    await scene.paying()
    redis = mesh.redis
    await redis.xadd(keys.jobs("ipps"), {"kind": "job"})
    await redis.xadd(keys.results("qp"), {"kind": "result"})
    await redis.zadd(keys.delay(keys.jobs("qp")), {"later": 1})
    await redis.xadd(keys.dlq(keys.jobs("ipps")), {"reason": "decode"})
    await redis.xadd(keys.dlq(keys.results("qp")), {"reason": "decode"})
    report = await look(mesh)
    assert report.ok
    assert (report.open_intents, report.unsent_jobs, report.stream_entries, report.dead_letters) == (1, 1, 3, 2)
    found = broken(await look(mesh, nothing_open=True))
    assert {violation.subject for violation in found["finished"].violations} == {
        "open intents",
        "unsent jobs",
        "stream entries",
        "dead letters",
    }


async def test_jobs_that_wait_though_their_intent_is_decided_are_only_counted(mesh: Mesh, scene: PspScene) -> None:
    """The permit keeps them from doing harm; somebody may want to know why they wait."""
    await declined(scene)
    assert (await look(mesh)).stale_jobs == 0
    await mesh.pool.execute("UPDATE pm.outbox_event SET created_at = now() - interval '2 hours'")
    report = await look(mesh)
    assert (report.ok, report.unsent_jobs, report.stale_jobs) == (True, 1, 1)


async def test_a_report_names_the_open_alerts_and_what_waits(mesh: Mesh, scene: PspScene) -> None:
    """People read which check does not hold, on which payment, and since when."""
    late = await declined(scene)
    await scene.told(late, Outcome.PAID)
    await mesh.pool.execute("UPDATE pm.outbox_event SET created_at = now() - interval '2 hours'")
    console = Console(file=StringIO(), width=200)
    print_report(console, await look(mesh))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    for words in ("1 violated", "no critical alert is open", "open alerts", "paid_after_failure", f"ipps:T-{late}"):
        assert words in text
    assert "open: 0 intents, 1 unsent jobs, 0 stream entries, 0 dead letters" in text
    assert "1 jobs of decided intents have been waiting in the outbox for over an hour" in text
