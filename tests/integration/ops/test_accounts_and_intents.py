"""Accounts and intents as operators see them, from real stores."""

import json

import pytest

from ops.accounts import ask_to_open, list_accounts, wait_open
from ops.intents import show_intent
from shared.contracts import OpenAccountMessage, read_body, read_envelope
from shared.errors import BadInput
from shared.streams import keys
from shared.streams.accept import AcceptEntry, AcceptStatus, Admission, accept
from shared.streams.verdicts import Entry
from tests.integration.ops.conftest import Mesh
from tests.integration.orchestrator.world import grant, intent_entry, message, new_id, p2p


async def stream_entries(mesh: Mesh) -> list[Entry]:
    """Return what stands in the intent streams."""
    found = []
    for partition in range(mesh.installed.mesh.partitions):
        stream = keys.intents(partition)
        raw: list[tuple[bytes, dict[bytes, bytes]]] = await mesh.redis.xrange(stream)  # type: ignore[assignment]
        found += [Entry(stream, entry_id, fields, 1) for entry_id, fields in raw]
    return found


async def test_accounts_are_asked_for_through_the_stream(mesh: Mesh) -> None:
    """What is written is what an orchestrator reads; once it has, they are open."""
    names = ["user:alice:THB", "merchant:shop:THB", "user:alice:USD"]
    await ask_to_open(mesh.pool, mesh.redis, names=names, actor="me@here")
    assert await wait_open(mesh.pool, names, timeout_s=0) == sorted(names)
    entries = await stream_entries(mesh)
    bodies = [read_body(read_envelope(entry.fields)) for entry in entries]
    assert sorted(body.name for body in bodies if isinstance(body, OpenAccountMessage)) == sorted(names)
    await mesh.world.handle(*entries)
    assert await wait_open(mesh.pool, names, timeout_s=0) == []
    audited = await mesh.pool.fetch("SELECT actor, action, target FROM pm.audit_log ORDER BY id")
    assert [tuple(row) for row in audited] == [("me@here", "account.open", name) for name in names]


async def test_one_malformed_name_asks_for_nothing(mesh: Mesh) -> None:
    """All or none."""
    with pytest.raises(BadInput):
        await ask_to_open(mesh.pool, mesh.redis, names=["user:alice:THB", "user:a b:THB"], actor="me@here")
    assert await stream_entries(mesh) == []


async def test_accounts_are_listed_by_name_in_pages(mesh: Mesh) -> None:
    """Wallets with what they hold, the house's own accounts without."""
    await mesh.world.fund({"user:b:THB": 1234, "user:a:THB": 0})
    rows = await list_accounts(mesh.pool, prefix="", after="", limit=100)
    assert [(row.name, str(row.balance) if row.balance else None) for row in rows] == [
        ("equity:THB", None),
        ("transit:THB", None),
        ("user:a:THB", "0.00 THB"),
        ("user:b:THB", "12.34 THB"),
    ]
    assert [row.name for row in await list_accounts(mesh.pool, prefix="user:", after="user:a:THB", limit=1)] == [
        "user:b:THB"
    ]
    assert await list_accounts(mesh.pool, prefix="user_", after="", limit=9) == []


async def test_a_settled_intent_explains_itself(mesh: Mesh) -> None:
    """States in order, the plan, the movements of both wallets; sealed words stay sealed."""
    await mesh.world.fund({"user:a:THB": 1000, "user:b:THB": 0})
    intent = new_id()
    operation = p2p("user:a:THB", "user:b:THB", 10).model_copy(update={"comment": "k1:nonce:secret words"})
    await mesh.world.handle(intent_entry(message(operation), intent))
    record = await show_intent(mesh.pool, mesh.redis, str(intent))
    assert record is not None
    assert record.state == "SETTLED"
    assert [step["to_state"] for step in record.events] == ["VALIDATED", "AUTHORIZED", "SETTLED"]
    assert [leg[:3] for leg in record.attempts[0]["plan"]["legs"]] == [
        ["user:a:THB", "transit:THB", 10],
        ["transit:THB", "user:b:THB", 10],
    ]
    assert [(move["account"], move["amount_minor"]) for move in record.movements] == [
        ("user:a:THB", -10),
        ("user:b:THB", 10),
    ]
    assert "secret words" not in json.dumps(record.row, default=str)
    assert record.row is not None
    assert record.row["operation"]["comment"] == "(sealed)"
    assert not record.in_stream


async def test_an_accepted_intent_is_shown_before_anybody_has_looked_at_it(mesh: Mesh) -> None:
    """It stands in the stream only: CREATED, and never "no such intent"."""
    intent = new_id()
    entry = intent_entry(message(grant("user:a:THB", 1)), intent)
    accepted = await accept(
        mesh.redis,
        partition=0,
        entries=[AcceptEntry(read_envelope(entry.fields), keys.idem(0, "shop", "k"), ("k:f",), "shop")],
        admission=Admission(mesh.installed.mesh.token, 100, memory_full=False, dedupe_ttl_ms=60_000),
    )
    assert accepted[0].status is AcceptStatus.ACCEPTED
    record = await show_intent(mesh.pool, mesh.redis, str(intent))
    assert record is not None
    assert (record.state, record.row, record.in_stream) == ("CREATED", None, True)


async def test_an_intent_that_was_never_accepted_is_not_shown(mesh: Mesh) -> None:
    """Unknown and malformed ids are told apart."""
    assert await show_intent(mesh.pool, mesh.redis, str(new_id())) is None
    with pytest.raises(BadInput):
        await show_intent(mesh.pool, mesh.redis, "nonsense")
