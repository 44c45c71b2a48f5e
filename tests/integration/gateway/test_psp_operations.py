"""Money out and in through PSPs: accepted like any intent, sealed, masked, and shown with all that follows."""

import asyncio
import json
import time
from typing import Any

import pytest

from gateway.reads import CHILDREN_MAX
from gateway.views import IntentView
from shared.streams import keys
from tests.integration.gateway.psps import (
    IPPS,
    LINK,
    OPERATIONS,
    QR_PAY,
    TOPUP,
    WITHDRAWAL,
    add_child,
    ask_the_payer,
    pause,
    register,
)
from tests.integration.gateway.stand import FREE, PARTITIONS, SECRET, TRANSFER, Client, Stand
from tests.waiting import until

PERSONAL = ("proxy", "recipient_name", "qr", "comment")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: str(operation["operation_type"]))
async def test_an_operation_is_accepted_sealed_and_shown_masked(
    stand: Stand, client: Client, operation: dict[str, Any]
) -> None:
    """The same view when it is posted, replayed and read; the entry's message has every other field as it was."""
    posted = await client.post(operation, key="k")
    entry = await stand.only_entry()
    assert (posted.status, posted.document["state"], posted.document["funds"]) == (202, "CREATED", "none")
    stored = entry.message.operation.model_dump(exclude_none=True)
    shown = posted.document["operation"]
    for name, value in operation.items():
        if name in PERSONAL:
            assert shown[name] == value[:1] + "***"
            assert stored[name] != value
        else:
            assert shown[name] == stored[name] == value
    await stand.record(entry, "IN_DOUBT", funds="held")
    for answer in (await client.get(posted.document["id"]), await client.post(operation, key="k")):
        assert (answer.status, answer.document["state"], answer.document["funds"]) == (202, "IN_DOUBT", "held")
        assert answer.document["operation"] == shown
        IntentView.model_validate(answer.document)


async def test_nothing_personal_is_stored_logged_or_answered(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    """Accepted, refused as malformed, refused as a conflict, refused for want of a provider, read, and cancelled."""
    said: list[str] = []
    texts = {str(operation[name]) for operation in OPERATIONS for name in PERSONAL if name in operation}
    await register(stand, IPPS)
    async with stand.gateway() as client:
        for number, operation in enumerate(OPERATIONS):
            accepted = await client.post(operation, key=f"k-{number}")
            answers = [
                accepted,
                await client.post({**operation, "amount_minor": 1}, key=f"k-{number}"),
                await client.post({**operation, "currency": "XYZ"}),
                await client.post({**operation, "comment": operation["comment"] + "\x00"}),
                await client.post({**operation, "unknown": 1}),
                await client.get(accepted.document["id"]),
                await client.send("POST", f"/v1/intents/{accepted.document['id']}/cancel"),
            ]
            said += [json.dumps(answer.document, ensure_ascii=False) for answer in answers]
        malformed = {**WITHDRAWAL, "proxy": WITHDRAWAL["proxy"] + "x"}
        said.append(json.dumps((await client.post(malformed)).document))
        await pause(stand, "ipps")
        refused = await until(lambda: _refused(client), "the pause is known")
        said.append(json.dumps(refused))
        for entry in await stand.entries():
            await stand.record(entry, "AUTHORIZED", funds="held")
            said.append(json.dumps((await client.get(entry.envelope.id)).document))
    said += [repr(await stand.redis.xrange(keys.intents(partition))) for partition in range(PARTITIONS)]
    said += [str(row) for row in await stand.pool.fetch("SELECT operation FROM pm.intent")]
    said.append("".join(capsys.readouterr()))
    for text in texts:
        assert not any(text in words for words in said), text
    assert len(texts) == 6
    assert len(await stand.entries()) >= 3


async def _refused(client: Client) -> dict[str, Any] | None:
    answer = await client.post(WITHDRAWAL)
    return answer.document if answer.status == 503 else None


async def test_who_may_not_gets_403(stand: Stand) -> None:
    """By operation, by account, and for another user; money out of a user's wallet needs that very user."""
    keys_of: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
        "transfers": ({**FREE, "operations": ["P2P_TRANSFER"]}, WITHDRAWAL, "alice", "operation_not_permitted"),
        "withdraws": ({**FREE, "operations": ["IPPS_WITHDRAWAL"]}, QR_PAY, "alice", "operation_not_permitted"),
        "merchant": ({**FREE, "accounts": ["merchant:*"]}, WITHDRAWAL, "alice", "account_not_permitted"),
        "bobs": ({**FREE, "accounts": ["user:bob:*"]}, TOPUP, "alice", "account_not_permitted"),
        "free": (FREE, WITHDRAWAL, "bob", "foreign_user"),
        "free2": (FREE, QR_PAY, "", "foreign_user"),
        "free3": (FREE, TOPUP, "bob", "foreign_user"),
    }
    for key, (permissions, *_) in keys_of.items():
        await stand.add_key(key, SECRET, permissions)
    async with stand.gateway() as running:
        for key, (_, operation, user_id, code) in keys_of.items():
            caller = Client(running.url, running.port, running.session, key=key)
            answer = await caller.post(operation, user_id=user_id)
            assert (answer.status, answer.code) == (403, code), key
        assert await stand.entries() == []
        assert (await running.post(TOPUP, user_id="")).status == 202
        assert (await running.post({**WITHDRAWAL, "from_account": "merchant:m:THB"}, user_id="")).status == 202


async def test_a_test_scenario_is_taken_anywhere_but_in_production(stand: Stand) -> None:
    """Plainly, for the sandbox; production says no and accepts nothing."""
    async with stand.gateway(environment="production") as client:
        for operation in OPERATIONS:
            answer = await client.post({**operation, "test_scenario": "decline"})
            assert (answer.status, answer.code) == (403, "test_scenario_not_allowed")
        assert (await client.post({**TRANSFER, "test_scenario": "decline"})).code == "unknown_field"
    assert await stand.entries() == []
    async with stand.gateway() as client:
        answer = await client.post({**TOPUP, "test_scenario": "decline"})
    assert answer.document["operation"]["test_scenario"] == "decline"
    message = (await stand.only_entry()).message
    assert message.operation.model_dump()["test_scenario"] == "decline"


async def test_what_the_payer_has_to_do_is_shown_until_it_is_over(stand: Stand, client: Client) -> None:
    """With the time it expires in words; a decided intent asks nobody for anything."""
    posted = (await client.post(TOPUP)).document["id"]
    entry = await stand.only_entry()
    await ask_the_payer(stand, entry)
    answer = await client.get(posted)
    assert (answer.status, answer.document["state"]) == (202, "AUTHORIZED")
    assert answer.document["next_action"] == {
        "kind": "qr",
        "link": LINK,
        "qr": LINK,
        "expires_ms": 1_767_226_500_000,
        "expires_at": "2026-01-01T00:15:00.000Z",
    }
    IntentView.model_validate(answer.document)
    for state in ("IN_DOUBT", "SETTLED"):
        await stand.record(entry, state)
        assert "next_action" not in (await client.get(posted)).document


async def test_a_wait_ends_when_somebody_has_to_act(stand: Stand) -> None:
    """Posting, replaying and reading alike: waiting on would keep the payer from paying."""
    async with stand.gateway() as client:
        pending = asyncio.create_task(client.post(TOPUP, key="k", wait_s=20))
        await until(stand.entries, "the entry")
        started = time.monotonic()
        entry = await stand.only_entry()
        await ask_the_payer(stand, entry)
        assert entry.message.waiter is not None
        await stand.hint(entry.message.waiter, entry.envelope.id, "AUTHORIZED")
        answers = [
            await pending,
            await client.post(TOPUP, key="k", wait_s=20),
            await client.get(entry.envelope.id, wait_s=20),
        ]
    assert [(answer.status, answer.document["next_action"]["link"]) for answer in answers] == [(202, LINK)] * 3
    assert time.monotonic() - started < 4


async def test_held_funds_alone_do_not_end_a_wait(stand: Stand) -> None:
    """A withdrawal on its way asks nobody for anything."""
    async with stand.gateway() as client:
        started = time.monotonic()
        pending = asyncio.create_task(client.post(WITHDRAWAL, wait_s=1))
        await until(stand.entries, "the entry")
        await stand.record(await stand.only_entry(), "AUTHORIZED", funds="held")
        answer = await pending
    assert (answer.status, answer.document["state"], answer.document["funds"]) == (202, "AUTHORIZED", "held")
    assert time.monotonic() - started > 0.9


async def test_an_intent_and_what_it_has_led_to_name_each_other(stand: Stand, client: Client) -> None:
    """The parent lists its children, newest first; a child shows its own operation plainly and names the parent."""
    posted = (await client.post(TOPUP)).document["id"]
    entry = await stand.only_entry()
    await stand.record(entry, "EXPIRED", funds="none")
    assert "children" not in (await client.get(posted)).document
    late = await add_child(stand, entry, 1)
    taken_back = await add_child(stand, entry, 2, kind="REVERSAL")
    parent = (await client.get(posted)).document
    assert parent["children"] == [
        {"id": str(taken_back), "operation_type": "REVERSAL", "state": "SETTLED"},
        {"id": str(late), "operation_type": "LATE_CREDIT", "state": "SETTLED"},
    ]
    assert "parent_id" not in parent
    child = (await client.get(str(late))).document
    assert (child["state"], child["parent_id"]) == ("SETTLED", posted)
    assert child["operation"]["psp_transaction_id"] == "A6001-1"
    assert (child["operation"]["account"], child["operation"]["psp"]) == ("user:alice:RUB", "qp")
    for document in (parent, child):
        IntentView.model_validate(document)
    assert (await client.get(str(late), user_id="bob")).status == 404


async def test_a_code_paid_very_often_lists_the_newest_payments(stand: Stand, client: Client) -> None:
    """An answer has a bound."""
    posted = (await client.post({**TOPUP, "static": True})).document["id"]
    entry = await stand.only_entry()
    await stand.record(entry)
    made = [await add_child(stand, entry, number) for number in range(1, CHILDREN_MAX + 3)]
    children = (await client.get(posted)).document["children"]
    assert [child["id"] for child in children] == [str(child) for child in reversed(made[2:])]


async def test_a_transfer_costs_one_look_whatever_others_have_led_to(
    stand: Stand, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children are only asked for where there may be any."""
    posted = (await client.post()).document["id"]
    await stand.record(await stand.only_entry())
    monkeypatch.setattr("gateway.reads.Reads._read_children", None)
    assert (await client.get(posted)).status == 200
