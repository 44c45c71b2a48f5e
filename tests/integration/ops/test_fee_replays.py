"""Replays of stored intents by other fees, on a real database: whom they would cost what, without changing anything."""

import json
import time
from pathlib import Path

import pytest

from ops.rules import replay as replaying
from ops.rules.documents import read_document
from ops.rules.proposal import carry_out, propose
from ops.rules.replay import OTHERS, Tally, replay
from tests.integration.ops.commanding import commands_on
from tests.integration.ops.conftest import Mesh
from tests.integration.orchestrator.world import intent_entry, message, p2p

PRESENT = """\
fees:
  - {name: flat, operations: [P2P_TRANSFER], currency: THB, timing: PRE, condition: amount >= 10,
     amount: {fixed_minor: 10}, beneficiary: 'fee:h:THB'}
"""
PROPOSED = """\
fees:
  - {name: flat, operations: [P2P_TRANSFER], currency: THB, timing: PRE, condition: amount >= 10,
     amount: {fixed_minor: 4}, beneficiary: 'fee:h:THB'}
  - {name: share, operations: [P2P_TRANSFER], currency: THB, timing: POST, condition: amount >= 1000,
     amount: {bps: 100}, beneficiary: 'fee:h:THB'}
"""


async def paid(mesh: Mesh) -> list[str]:
    """Three payments under the present fee, and one that was refused; returns the payer's and the payee's holder."""
    payer, payee = mesh.world.wallet("ann"), mesh.world.wallet("bob")
    await carry_out(mesh.pool, await propose(mesh.pool, read_document(PRESENT.encode())), actor="me@here", reason="x")
    await mesh.world.fund({payer: 5000, payee: 0})
    for amount in (100, 1000, 2000, 1_000_000):
        await mesh.world.handle(intent_entry(message(p2p(payer, payee, amount))))
    assert await mesh.world.ledger_balance(payer) == 5000 - 3100 - 30
    return [payer.rpartition(":")[0], payee.rpartition(":")[0]]


async def replayed(mesh: Mesh, text: str = PROPOSED) -> Tally:
    """Replay the last hour."""
    now_ms = time.time_ns() // 1_000_000 + 1000
    return await replay(mesh.pool, read_document(text.encode()), since_ms=now_ms - 3_600_000, until_ms=now_ms)


async def test_a_replay_says_who_would_bear_what(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page: what was refused or rejected counts for nothing, what is on top is the payer's."""
    monkeypatch.setattr(replaying, "PAGE", 2)
    ann, bob = await paid(mesh)
    before = await mesh.pool.fetchval("SELECT count(*) FROM pm.rule_change")
    tally = await replayed(mesh)
    assert (tally.intents, tally.changed) == (3, 3)
    (cell,) = tally.cells.values()
    assert (cell.before_minor, cell.after_minor) == (30, 12 + 10 + 20)
    assert tally.top(9) == [(bob, "THB", 30), (ann, "THB", -18)]
    assert await mesh.pool.fetchval("SELECT count(*) FROM pm.rule_change") == before
    assert await mesh.pool.fetchval("SELECT fixed_minor FROM pm.fee_rule") == 10


async def test_the_same_fees_under_another_name_are_no_difference(mesh: Mesh) -> None:
    """Nor is a section that the file does not speak of."""
    await paid(mesh)
    assert (await replayed(mesh, PRESENT.replace("flat", "plain"))).changed == 0
    assert (await replayed(mesh, "limits: []\n")).changed == 0
    assert (await replayed(mesh, "fees: []\n")).changed == 3


async def test_what_the_new_rules_would_refuse_is_counted_by_rule(mesh: Mesh) -> None:
    """And what lies before the span is not looked at."""
    await paid(mesh)
    document = read_document(PROPOSED.replace("{bps: 100}", "{fixed_minor: 1500}").encode())
    now_ms = time.time_ns() // 1_000_000 + 1000
    tally = await replay(mesh.pool, document, since_ms=now_ms - 3_600_000, until_ms=now_ms)
    assert dict(tally.refused_after) == {"share": 1}
    assert not tally.refused_before
    assert (await replay(mesh.pool, document, since_ms=now_ms, until_ms=now_ms + 1)).intents == 0


async def test_those_who_bear_something_are_bounded(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum stays right."""
    monkeypatch.setattr(replaying, "BEARERS_MAX", 1)
    ann, _ = await paid(mesh)
    tally = await replayed(mesh)
    assert tally.top(9) == [(OTHERS, "THB", 30), (ann, "THB", -18)]


def test_the_command_shows_totals_and_who(mesh: Mesh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a table, and for programs; a bad file exits 1."""
    command = commands_on(mesh, monkeypatch)
    file = tmp_path / "rules.yaml"
    file.write_text(PROPOSED)
    assert "0 of 0 intents" in command("fees", "diff", str(file)).output
    document = json.loads(command("fees", "diff", str(file), "--since", "1h", "--json").stdout)
    assert (document["intents"], document["totals"]) == (0, [])
    file.write_text(PROPOSED.replace("amount >= 1000", "amout >= 1000"))
    assert command("fees", "diff", str(file)).exit_code == 1
    assert command("fees", "diff", str(file), "--since", "soon").exit_code == 2
