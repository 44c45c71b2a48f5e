"""What somebody may still move, on a real mesh: as the decisions recorded it."""

import json
import time

import pytest

from ops.limits import limits_of
from ops.rules.documents import read_document
from ops.rules.proposal import carry_out, propose
from shared.errors import BadInput
from tests.integration.ops.commanding import commands_on
from tests.integration.ops.conftest import Mesh
from tests.integration.orchestrator.world import intent_entry, message, p2p

RULES = """\
limits:
  - {name: daily, operations: [P2P_TRANSFER], currency: THB, transaction_max_minor: 900, daily_max_minor: 1000}
  - {name: roubles, operations: [QP_TOPUP], currency: RUB, monthly_max_count: 3}
"""


async def test_what_is_left_is_the_cap_less_what_was_moved(mesh: Mesh) -> None:
    """In each currency that has a limit; of nobody but the holder."""
    await carry_out(mesh.pool, await propose(mesh.pool, read_document(RULES.encode())), actor="me@here", reason="x")
    payer, payee = mesh.world.wallet("ann"), mesh.world.wallet("bob")
    await mesh.world.fund({payer: 5000, payee: 0})
    await mesh.world.handle(intent_entry(message(p2p(payer, payee, 700))))
    holder, other = (name.rpartition(":")[0] for name in (payer, payee))
    left = {
        (document["currency"], each["period"]): (each["cap"], each["used"], each["reserved"], each["left"])
        for document in await limits_of(mesh.pool, holder, at_ms=time.time_ns() // 1_000_000)
        for limit in document["limits"]
        for each in limit["allowances"]
    }
    assert sorted(left.values()) == [(3, 0, 0, 3), (1000, 700, 0, 300)]
    assert {code for code, _ in left} == {"THB", "RUB"}
    untouched = await limits_of(mesh.pool, other, at_ms=time.time_ns() // 1_000_000)
    assert [each["left"] for document in untouched for limit in document["limits"] for each in limit["allowances"]] == [
        3,
        1000,
    ]
    with pytest.raises(BadInput, match="user or a merchant"):
        await limits_of(mesh.pool, "fee:house", at_ms=0)


def test_the_command_shows_a_table_and_json(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says so where nothing limits them."""
    command = commands_on(mesh, monkeypatch)
    assert "nothing limits user:ann" in command("limits", "show", "user:ann").output
    assert json.loads(command("limits", "show", "user:ann", "--json").stdout) == []
