"""Alerts as people work through them: listed, looked at, closed with a reason, opened again by what is seen again."""

import json

import pytest
import pytest_asyncio

from ops.alerts import close_alert, find_alert, list_alerts
from orchestrator.resolutions import Raised, raise_alerts
from orchestrator.resolve import Alert
from shared.errors import BadInput
from tests.integration.ops.commanding import Invoke, commands_on
from tests.integration.ops.conftest import Mesh


async def notice(mesh: Mesh, kind: str = "paid_twice", *, critical: bool = True) -> int:
    """Notice something, once more perhaps, and return the number of its alert."""
    await raise_alerts(mesh.pool, [Raised(Alert(kind, "ipps:T1", critical), None, {"amount_minor": 300})])
    return int(await mesh.pool.fetchval("SELECT id FROM pm.reconciliation_alert WHERE kind = $1", kind))


@pytest_asyncio.fixture
async def number(mesh: Mesh) -> int:
    """A critical alert, and a warning after it."""
    made = await notice(mesh)
    await notice(mesh, "in_doubt", critical=False)
    return made


@pytest.fixture
def paymesh(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Commands on the mesh of the test."""
    return commands_on(mesh, monkeypatch)


@pytest.mark.usefixtures("number")
async def test_alerts_are_listed_the_critical_first(mesh: Mesh) -> None:
    """Of one kind where one is asked for."""
    assert [alert.kind for alert in await list_alerts(mesh.pool)] == ["paid_twice", "in_doubt"]
    assert [alert.severity for alert in await list_alerts(mesh.pool, kind="in_doubt")] == ["warning"]


async def test_closing_is_on_record_once(mesh: Mesh, number: int) -> None:
    """Whoever closes it, and why; a second person who does so too changes nothing."""
    assert await close_alert(mesh.pool, number, actor="ann@ops1", reason="refunded")
    assert not await close_alert(mesh.pool, number, actor="bo@ops2", reason="refunded")
    lines = await mesh.pool.fetch("SELECT actor, target, reason, detail FROM pm.audit_log WHERE action = 'alert.close'")
    assert [(line["actor"], line["target"], line["reason"]) for line in lines] == [
        ("ann@ops1", f"alert:{number}", "refunded")
    ]
    assert json.loads(lines[0]["detail"])["subject"] == "ipps:T1"


async def test_what_is_seen_again_is_open_again(mesh: Mesh, number: int) -> None:
    """The same subject is not lost in what was closed."""
    await close_alert(mesh.pool, number, actor="ann@ops1", reason="refunded")
    assert [alert.kind for alert in await list_alerts(mesh.pool)] == ["in_doubt"]
    assert await notice(mesh) == number
    again = await find_alert(mesh.pool, number)
    assert (again.seen, again.closed_at) == (2, None)


async def test_an_alert_that_is_not_there_is_not_closed(mesh: Mesh) -> None:
    """And whoever asked is told where they are listed."""
    with pytest.raises(BadInput, match="paymesh alerts list"):
        await close_alert(mesh.pool, 999, actor="ann@ops1", reason="typo")


def test_the_command_closes_only_what_is_confirmed(number: int, paymesh: Invoke) -> None:
    """It shows what was seen, says that nothing was done, and does it with a reason."""
    assert "paid_twice" in paymesh("alerts", "list").stdout
    assert "amount_minor" in paymesh("alerts", "show", str(number)).stdout
    dry = paymesh("alerts", "close", str(number))
    assert (dry.exit_code, "nothing was done" in dry.output) == (0, True)
    assert len(json.loads(paymesh("alerts", "list", "--json").stdout)) == 2
    for word in ("is closed\n", "closed already"):
        assert word in paymesh("alerts", "close", str(number), "--confirm", "--reason", "refunded").stdout
    assert len(json.loads(paymesh("alerts", "list", "--json").stdout)) == 1
    assert len(json.loads(paymesh("alerts", "list", "--all", "--json").stdout)) == 2
    assert paymesh("alerts", "show", "999").exit_code == 1
