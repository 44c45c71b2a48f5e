"""Accounts and intents as operators see them, from real stores."""

import json
from dataclasses import asdict
from io import StringIO

import pytest
from rich.console import Console

from ops.accounts import ask_to_open, list_accounts, wait_open
from ops.commands import intents
from ops.intents import IntentRecord, show_intent
from ops.qr import qr_lines
from shared.contracts import NextAction, OpenAccountMessage, Outcome, Source, read_body, read_envelope
from shared.errors import BadInput
from shared.ids import IntentId
from shared.streams import keys
from shared.streams.accept import AcceptEntry, AcceptStatus, Admission, accept
from shared.streams.verdicts import Entry
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.psp_scene import PAYER, PspScene, paid
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


async def test_what_is_held_of_a_wallet_is_listed_beside_its_balance(mesh: Mesh, scene: PspScene) -> None:
    """What is left can be spent; the house's own accounts show neither."""
    await scene.paying(300)
    rows = {row.name: row for row in await list_accounts(mesh.pool, prefix="", after="", limit=100)}
    payer, house = rows[PAYER], rows["psp:ipps:THB"]
    assert [str(amount) for amount in (payer.balance, payer.held, payer.available)] == [
        "10.00 THB",
        "3.00 THB",
        "7.00 THB",
    ]
    assert (house.balance, house.held, house.available) == (None, None, None)


async def shown(mesh: Mesh, intent: IntentId) -> IntentRecord:
    """What the mesh knows of an intent."""
    record = await show_intent(mesh.pool, mesh.redis, str(intent))
    assert record is not None
    return record


async def test_an_intent_tells_what_its_psp_was_asked_and_what_it_said(mesh: Mesh, scene: PspScene) -> None:
    """Reference, job, every word in order, the resolution and the child; nothing sealed, and no bytes of a callback."""
    intent = await scene.paying(300)
    asked = await shown(mesh, intent)
    assert [(one["psp"], one["attempt"]) for one in asked.references] == [("ipps", 1)]
    assert [(one["action"], one["sent_at"]) for one in asked.jobs] == [("submit", None)]
    assert (asked.results, asked.resolutions, asked.children) == ([], [], [])
    await scene.told(intent, Outcome.PENDING, reference=asked.references[0]["reference"], psp_ids={"txn_no": "X7"})
    await scene.hear(
        scene.said(
            None, Outcome.PAID, source=Source.CALLBACK, action=None, callback_id="c", raw="sealed-bytes",
            reference=asked.references[0]["reference"],
        )
    )  # fmt: skip
    await scene.told(intent, Outcome.PAID, amount_minor=320, summary={"payee": "S***"}, final=True)
    record = await shown(mesh, intent)
    assert record.references[0]["psp_ids"] == {"txn_no": "X7"}
    assert [(one["source"], one["outcome"], one["final"]) for one in record.results] == [
        ("job", "PENDING", False),
        ("callback", "PAID", False),
        ("job", "PAID", True),
    ]
    assert record.results[2]["summary"] == {"payee": "S***"}
    assert [(one["kind"], one["state"], one["amount_minor"]) for one in record.resolutions] == [
        ("post", "SETTLED", 300)
    ]
    assert [(one["purpose"], one["state"], one["amount_minor"]) for one in record.children] == [
        ("suspense", "SETTLED", 20)
    ]
    everything = json.dumps(asdict(record), default=str)
    assert "sealed-bytes" not in everything
    assert "k1:AAAA:BBBB" not in everything
    assert record.attempts[0]["plan"]["dispatch"]["destination"] == {"proxy_type": "MOBILE", "proxy": "(sealed)"}


def printed(record: IntentRecord, *, terminal: bool) -> str:
    """What a person reads of it."""
    console = Console(file=StringIO(), width=200, force_terminal=terminal, color_system=None)
    intents._print(console, record)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


async def test_an_intent_is_printed_with_all_that_its_psp_has_to_do_with(mesh: Mesh, scene: PspScene) -> None:
    """Every table of it, for people."""
    intent = await paid(scene)
    await scene.told(intent, Outcome.REVERSED, psp_transaction_id=f"T-{intent}")
    record = await shown(mesh, intent)
    text = printed(record, terminal=False)
    assert record.references[0]["reference"] in text
    for words in ("at the PSP", "what the PSP said", "REVERSED", "resolution", f"T-{intent}", "children", "reversal"):
        assert words in text
    assert str(record.children[0]["id"]) in text


async def test_a_code_that_waits_to_be_paid_is_drawn_where_a_terminal_can_show_it(mesh: Mesh, scene: PspScene) -> None:
    """The link always, the code on a terminal, and neither once it has been paid."""
    intent = await scene.collecting()
    assert "the payer has to" not in printed(await shown(mesh, intent), terminal=True)
    link = "https://qr.example/AS1A0035"
    action = NextAction(link=link, qr=link, expires_ms=1_800_000_000_000)
    await scene.told(intent, Outcome.NEXT_ACTION, psp="qp", next_action=action)
    record = await shown(mesh, intent)
    piped, seen = printed(record, terminal=False), printed(record, terminal=True)
    assert "the payer has to pay a qr code before 2027-01-15 08:00:00 UTC" in piped
    assert piped.count(link) == 1
    assert qr_lines(link)[3] not in piped
    assert all(line in seen for line in qr_lines(link))
    await scene.told(intent, Outcome.PAID, psp="qp", amount_minor=500)
    assert link not in printed(await shown(mesh, intent), terminal=True)
