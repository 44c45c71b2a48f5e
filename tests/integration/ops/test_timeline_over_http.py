"""The timeline over HTTP: what `paymesh intent explain` tells, without the ledger, for keys that may read it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest_asyncio

from gateway.views import TimelineView
from ops.dlq.reach import reach_stores
from ops.explain.run import explain
from shared.contracts import NextAction, Outcome, Source
from shared.ids import IntentId
from shared.streams import keys
from tests.integration.gateway.stand import FREE, KEY, SECRET, Answer, Client, Stand
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.psp_scene import PAYEE, PAYER, PspScene, declined
from tests.integration.orchestrator.world import intent_entry, message, new_id, p2p
from tests.waiting import until


@pytest_asyncio.fixture
async def stand(mesh: Mesh, scene: PspScene, redis_url: str) -> AsyncIterator[Stand]:
    """Gateways on the mesh that the orchestrator's handler works in, and a key that may read timelines."""
    mark: Any = await mesh.redis.hgetall(keys.mesh(keys.slot(0)))
    for manifest in scene.world.channels.manifests:
        await mesh.redis.hset(keys.mesh(manifest.psp), mapping=mark)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        made = Stand(
            pool=mesh.pool, redis=mesh.redis, database_url=mesh.settings.database_url, redis_url=redis_url,
            session=session,
        )  # fmt: skip
        await made.add_key(KEY, SECRET, FREE | {"timeline": True})
        await made.add_key("till", SECRET, FREE)
        await made.add_key("stranger", SECRET, FREE | {"timeline": True})
        yield made


@pytest_asyncio.fixture
async def client(stand: Stand) -> AsyncIterator[Client]:
    """A client of one running gateway."""
    async with stand.gateway() as running:
        yield running


async def asked(client: Client, intent: IntentId, query: str = "") -> Answer:
    """What the gateway answers."""
    return await client.send("GET", f"/v1/intents/{intent}/timeline{query}")


async def read(client: Client, intent: IntentId) -> dict[str, Any]:
    """An intent's timeline, as promised."""
    answer = await asked(client, intent)
    assert answer.status == 200
    TimelineView.model_validate(answer.document)
    assert answer.document["missing"] == []
    return answer.document


async def explained(mesh: Mesh, intent: IntentId) -> list[tuple[str, str]]:
    """The same by the command, but for the ledger's part."""
    async with reach_stores(mesh.settings) as reach:
        story = await explain(reach, str(intent))
    assert story is not None
    return [(event.source, event.text) for event in story.events if event.source != "ledger"]


def without_movements(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Its events but for the projection of the ledger."""
    return [(one["source"], one["text"]) for one in document["events"] if one["source"] != "movement"]


async def test_a_transfer_in_the_house_is_told_by_its_projections(mesh: Mesh, client: Client) -> None:
    """Both wallets' movements; what is sealed is nowhere."""
    await mesh.world.fund({"user:a:THB": 1000, "user:b:THB": 0})
    intent = new_id()
    operation = p2p("user:a:THB", "user:b:THB", 10).model_copy(update={"comment": "k1:nonce:secret words"})
    await mesh.world.handle(intent_entry(message(operation), intent))
    document = await read(client, intent)
    assert [one["text"] for one in document["events"] if one["source"] == "movement"] == [
        "user:a:THB -0.10 THB (P2P_PAY)",
        "user:b:THB 0.10 THB (P2P_RECEIVE)",
    ]
    assert {one["account"]: one["posted_minor"] for one in document["effects"]} == {"user:a:THB": -10, "user:b:THB": 10}
    assert document["next"][0]["code"] == "nothing"
    assert without_movements(document) == await explained(mesh, intent)
    assert "nonce" not in json.dumps(document)


async def test_a_declined_withdrawal_is_told_as_the_command_tells_it(
    mesh: Mesh, scene: PspScene, client: Client
) -> None:
    """Plan, hold, outbox, the PSP's word, the release."""
    intent = await declined(scene)
    document = await read(client, intent)
    assert (document["state"], document["funds"], document["effects"]) == ("FAILED", "none", [])
    assert without_movements(document) == await explained(mesh, intent)
    assert ("psp", "ipps answers submit: DECLINED over_limit final") in without_movements(document)


async def test_a_time_out_and_its_inquiry_are_told(mesh: Mesh, scene: PspScene, client: Client) -> None:
    """In doubt it says when the PSP is asked, and what is held; with the permit, which only Redis knows."""
    intent = await scene.paying(300)
    await scene.sent()
    plan = json.loads(await mesh.pool.fetchval("SELECT plan FROM pm.intent_attempt WHERE intent_id = $1", intent))
    permit = keys.permit("ipps", str(intent), 1, plan["dispatch"]["operation"])
    await mesh.redis.set(permit, f"TAKEN t0ken {int(time.time() * 1000)}")
    await scene.told(intent, Outcome.UNKNOWN, code="timeout")
    doubt = await read(client, intent)
    assert [step["code"] for step in doubt["next"]] == ["poll", "evidence"]
    assert doubt["effects"] == [{"account": PAYER, "currency": "THB", "posted_minor": 0, "held_minor": 300}]
    assert "permit" in [one["source"] for one in doubt["events"]]
    assert without_movements(doubt) == await explained(mesh, intent)
    await scene.told(intent, Outcome.PAID, psp_transaction_id="T9", amount_minor=300, summary={"payee": "S***"})
    settled = await read(client, intent)
    assert (settled["state"], settled["next"][0]["text"]) == ("SETTLED", "nothing: it is settled")
    assert settled["effects"] == [{"account": PAYER, "currency": "THB", "posted_minor": -300, "held_minor": 0}]
    assert without_movements(settled) == await explained(mesh, intent)


async def test_a_top_up_with_a_late_credit_is_told_with_its_child(scene: PspScene, client: Client) -> None:
    """What the payer was asked is told by its time, never by its code."""
    intent = await scene.collecting(500)
    action = NextAction(link="https://qr.example/AS1A0035", expires_ms=4_000_000_000_000)
    await scene.told(intent, Outcome.NEXT_ACTION, psp="qp", next_action=action)
    assert "payer" in [step["code"] for step in (await read(client, intent))["next"]]
    await scene.told(intent, Outcome.PAID, psp="qp", amount_minor=500)
    await scene.told(intent, Outcome.PAID, psp="qp", psp_transaction_id="second", amount_minor=70, source=Source.JOB)
    document = await read(client, intent)
    (child,) = document["children"]
    assert (child["operation_type"], child["state"]) == ("LATE_CREDIT", "SETTLED")
    assert [event["source"] for event in child["events"]] == ["accepted", "state", "state", "state"]
    assert {one["account"]: one["posted_minor"] for one in document["effects"]} == {PAYEE: 500}
    assert "qr.example" not in json.dumps(document)


async def test_pages_join_to_the_whole(scene: PspScene, client: Client) -> None:
    """Each event once, in order."""
    intent = await declined(scene)
    whole = (await read(client, intent))["events"]
    pages: list[dict[str, Any]] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = (await asked(client, intent, f"?limit=3&cursor={cursor}")).document
        assert len(page["events"]) <= 3
        pages += page["events"]
        cursor = page["next_cursor"]
    assert pages == whole
    for query in ("?limit=0", "?limit=501", "?limit=x", "?cursor=-1", "?cursor=1.5", "?page=2"):
        assert (await asked(client, intent, query)).code == "bad_parameter"


async def test_only_a_key_that_may_reads_and_only_what_is_its_own(
    scene: PspScene, stand: Stand, client: Client
) -> None:
    """403 without the permission, 404 for another's intent."""
    intent = await declined(scene)
    till = Client(client.url, client.port, client.session, key="till")
    stranger = Client(client.url, client.port, client.session, key="stranger")
    assert (await asked(till, intent)).code == "operation_not_permitted"
    assert (await asked(stranger, intent)).code == "intent_not_found"
    assert (await asked(client, new_id())).code == "intent_not_found"
    assert (await client.raw("GET", f"/v1/intents/{intent}/timeline", b"", {})).code == "signature_missing"
    await stand.pool.execute("UPDATE pm.service_key SET permissions = permissions - 'timeline' WHERE id = $1", KEY)
    await until(lambda: _refused(client, intent), "the permission is withdrawn")


async def _refused(client: Client, intent: IntentId) -> bool:
    return (await asked(client, intent)).status == 403


async def test_what_an_orchestrator_decides_can_be_followed_from_the_start(scene: PspScene, client: Client) -> None:
    """The steps of a real payment, by their numbers."""
    intent = await declined(scene)
    target = f"/v1/intents/{intent}/events"
    async with client.session.get(client.url + target, headers=client.signed("GET", target)) as response:
        text = (await asyncio.wait_for(response.read(), 10)).decode()
    steps = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert [(step["seq"], step["state"]) for step in steps] == [(1, "VALIDATED"), (2, "AUTHORIZED"), (3, "FAILED")]
    assert steps[-1]["error"]["code"] == "over_limit"
