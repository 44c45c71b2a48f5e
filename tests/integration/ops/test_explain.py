"""An intent explained out of real stores: what each of them knows, in one story."""

import asyncio
import json
import os
import sys
from io import StringIO

from rich.console import Console

from ops.console import plain
from ops.dlq.reach import Reach, reach_stores
from ops.explain.run import explain
from ops.explain.screen import print_timeline
from shared.contracts import NextAction, Outcome, Source, read_envelope
from shared.ids import IntentId
from shared.streams import keys
from shared.streams.accept import AcceptEntry, AcceptStatus, Admission, accept
from shared.timeline.story import Timeline
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.psp_scene import PAYEE, PAYER, PspScene, collected, declined
from tests.integration.orchestrator.world import grant, intent_entry, message, new_id, p2p


async def told(mesh: Mesh, intent: IntentId) -> Timeline:
    """The story of an intent, of which nothing is missing."""
    async with reach_stores(mesh.settings) as reach:
        story = await explain(reach, str(intent))
    assert story is not None
    assert story.missing == ()
    return story


def sources(story: Timeline) -> list[str]:
    """Where its events come from, in order."""
    return [event.source for event in story.events]


def printed(story: Timeline) -> str:
    """What a person reads of it."""
    console = Console(file=StringIO(), width=160, force_terminal=False, color_system=None)
    print_timeline(console, story)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def texts(story: Timeline, source: str) -> list[str]:
    """What one place says."""
    return [event.text for event in story.events if event.source == source]


async def test_a_transfer_in_the_house_is_told_from_its_acceptance_to_the_ledger(mesh: Mesh) -> None:
    """Acceptance, plan, states and transfers; sealed words nowhere."""
    await mesh.world.fund({"user:a:THB": 1000, "user:b:THB": 0})
    intent = new_id()
    operation = p2p("user:a:THB", "user:b:THB", 10).model_copy(update={"comment": "k1:nonce:secret words"})
    await mesh.world.handle(intent_entry(message(operation), intent))
    story = await told(mesh, intent)
    assert (story.state, story.funds, story.effects_by) == ("SETTLED", "moved", "ledger")
    assert story.headline == "P2P_TRANSFER of 0.10 THB, posted with key shop"
    assert sorted(set(sources(story))) == ["accepted", "ledger", "plan", "state"]
    assert sources(story)[0] == "accepted"
    assert [text.partition(":")[0].partition(" because")[0] for text in texts(story, "state")] == [
        "CREATED → VALIDATED", "VALIDATED → AUTHORIZED", "AUTHORIZED → SETTLED",
    ]  # fmt: skip
    assert texts(story, "ledger") == [
        "moves 0.10 THB user:a:THB → transit:THB",
        "moves 0.10 THB transit:THB → user:b:THB",
    ]
    assert "moves 0.10 THB user:a:THB → transit:THB → user:b:THB" in texts(story, "plan")[0]
    assert {effect.account: effect.posted_minor for effect in story.effects} == {"user:a:THB": -10, "user:b:THB": 10}
    assert [step.text for step in story.next] == ["nothing: it is settled"]
    everything = printed(story) + json.dumps(story, default=plain)
    assert "secret words" not in everything


async def test_a_declined_withdrawal_tells_the_hold_the_word_and_the_release(mesh: Mesh, scene: PspScene) -> None:
    """Nothing is left of it on any account."""
    intent = await declined(scene)
    story = await told(mesh, intent)
    assert story.state == "FAILED"
    assert texts(story, "psp") == ["ipps answers submit: DECLINED over_limit final"]
    assert texts(story, "resolution") == [
        "resolved: what is held is given back, which leads to FAILED because of over_limit"
    ]
    assert [text.partition(" ")[0] for text in texts(story, "ledger")] == ["holds", "holds", "gives", "gives"]
    assert all(text.endswith("given back since") for text in texts(story, "ledger")[:2])
    assert "asks ipps for IPPS_WITHDRAWAL as " in texts(story, "plan")[0]
    assert story.effects == ()
    assert story.next[0].text.startswith("nothing: it has failed")
    assert "nothing: no money has moved, and none is held" in printed(story)


async def test_a_doubt_says_when_the_psp_is_asked_and_who_else_can_close_it(mesh: Mesh, scene: PspScene) -> None:
    """A time-out, then an inquiry; the permit says that the call may have happened."""
    intent = await scene.paying(300)
    plan = (await mesh.pool.fetchval("SELECT plan FROM pm.intent_attempt WHERE intent_id = $1", intent)) or "{}"
    asked = json.loads(plan)["dispatch"]
    permit = keys.permit("ipps", str(intent), 1, asked["operation"])
    await mesh.redis.set(permit, f"TAKEN t0ken {(intent.int >> 80) + 1}")
    before = await told(mesh, intent)
    assert any("waits in the outbox" in step.text for step in before.next)
    await scene.sent()
    await scene.told(intent, Outcome.UNKNOWN, code="timeout", detail="no answer in time")
    story = await told(mesh, intent)
    assert (story.state, story.funds) == ("IN_DOUBT", "held")
    assert len(texts(story, "permit")) == 1
    assert texts(story, "psp") == ["ipps answers submit: UNKNOWN timeout (no answer in time)"]
    assert {(one.account, one.held_minor) for one in story.effects} >= {(PAYER, 300)}
    codes = [step.code for step in story.next]
    assert codes[:2] == ["poll", "evidence"]
    due = await mesh.pool.fetchval("SELECT next_poll_at FROM pm.intent WHERE id = $1", intent)
    assert story.next[0].at == due
    assert f"{due:%H:%M:%S}" in story.next[0].text
    await mesh.pool.execute(
        "INSERT INTO pm.psp_control (psp, operation, reason, paused_by) VALUES ('ipps', '*', 'it pays twice', 'me')"
    )
    assert any("paused by me: it pays twice" in step.text for step in (await told(mesh, intent)).next)
    await scene.told(intent, Outcome.PAID, psp_transaction_id="T9", amount_minor=300)
    story = await told(mesh, intent)
    assert story.state == "SETTLED"
    assert all(text.endswith("of it posted since") for text in texts(story, "ledger") if text.startswith("holds"))
    assert "posted for payment T9, which leads to SETTLED" in texts(story, "resolution")[0]
    assert {one.account: one.posted_minor for one in story.effects} == {PAYER: -300, "psp:ipps:THB": 300}


async def test_a_top_up_with_a_late_credit_tells_its_child(mesh: Mesh, scene: PspScene) -> None:
    """The second payment opens an intent, with a short story of its own."""
    intent = await scene.collecting(500)
    action = NextAction(link="https://qr.example/AS1A0035", expires_ms=4_000_000_000_000)
    await scene.told(intent, Outcome.NEXT_ACTION, psp="qp", next_action=action)
    waiting = await told(mesh, intent)
    assert "the payer has to pay the code, which expires at 2096-10-02 07:06:40 UTC" in [
        step.text for step in waiting.next
    ]
    assert "qr.example" not in json.dumps(waiting, default=plain)
    await scene.told(intent, Outcome.PAID, psp="qp", amount_minor=500)
    await scene.told(
        intent, Outcome.PAID, psp="qp", psp_transaction_id="second", amount_minor=70, source=Source.JOB
    )  # fmt: skip
    story = await told(mesh, intent)
    (child,) = story.children
    assert (child.operation_type, child.state) == ("LATE_CREDIT", "SETTLED")
    assert [event.source for event in child.events] == ["accepted", "state", "state", "state"]
    assert child.events[0].text == (
        f"LATE_CREDIT of 0.70 RUB, opened for intent {intent} by what its PSP said"
    )  # fmt: skip
    assert texts(story, "child") == [f"payment second opens late_credit, intent {child.id}"]
    assert {one.account: one.posted_minor for one in story.effects}[PAYEE] == 500
    assert f"its child {child.id}: LATE_CREDIT, SETTLED" in printed(story)


async def test_what_operators_did_and_what_somebody_has_to_look_at_is_told(mesh: Mesh, scene: PspScene) -> None:
    """The audit log, alerts, dead letters by their index."""
    intent = await collected(scene)
    await mesh.pool.execute(
        "INSERT INTO pm.audit_log (actor, action, target, reason, detail) VALUES ($1, $2, $3, $4, $5)",
        "ann@desk", "dlq.replay", f"intent:{intent}", "the fix is out", json.dumps({"replays": 1}),
    )  # fmt: skip
    await mesh.pool.execute(
        """INSERT INTO pm.reconciliation_alert (severity, kind, subject, intent_id, detail)
           VALUES ('critical', 'paid_twice', 'qp:T1', $1, '{}')""",
        intent,
    )
    stream = keys.results("qp")
    record = {
        b"id": str(intent).encode(), b"kind": b"result", b"src": stream.encode(), b"src_id": b"1-1",
        b"group": b"orchestrator", b"attempts": b"0", b"deliveries": b"3", b"reason": b"max_deliveries",
        b"error_class": b"Boom", b"error": b"it \x1b[31mbroke", b"dead_ms": b"4000000000000", b"replay_count": b"2",
    }  # fmt: skip
    added = await mesh.redis.xadd(keys.dlq(stream), record)  # type: ignore[arg-type]
    entry = added.decode() if isinstance(added, bytes) else added
    await mesh.redis.zadd(keys.dlq_index(stream), {f"{intent} {entry}": 0})
    story = await told(mesh, intent)
    assert texts(story, "operator") == ["ann@desk: dlq.replay (replays 1), because: the fix is out"]
    assert texts(story, "alert") == ["critical alert paid_twice (open)"]
    assert "max_deliveries after 3 deliveries, Boom" in texts(story, "dead_letter")[0]
    assert "replayed 2 times before" in texts(story, "dead_letter")[0]
    assert {step.code for step in story.next} >= {"nothing", "dead_letter", "alert"}
    assert "\x1b" not in printed(story)


async def test_an_intent_that_nobody_has_looked_at_is_told_by_its_id(mesh: Mesh) -> None:
    """And one that was never accepted is none."""
    intent = new_id()
    entry = intent_entry(message(grant("user:a:THB", 1)), intent)
    accepted = await accept(
        mesh.redis,
        partition=0,
        entries=[AcceptEntry(read_envelope(entry.fields), keys.idem(0, "shop", "k"), ("k:f",), "shop")],
        admission=Admission(mesh.installed.mesh.token, 100, memory_full=False, dedupe_ttl_ms=60_000),
    )
    assert accepted[0].status is AcceptStatus.ACCEPTED
    story = await told(mesh, intent)
    assert (story.state, sources(story)) == ("CREATED", ["accepted"])
    assert story.next[0].code == "queued"
    async with reach_stores(mesh.settings) as reach:
        assert await explain(reach, str(new_id())) is None


async def ran(mesh: Mesh, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command, as somebody types it."""
    environ = {
        "PATH": os.environ["PATH"], "REDIS_URL": mesh.settings.redis_url, "DATABASE_URL": mesh.settings.database_url,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.cli", "intent", "explain", *arguments, env=environ,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_the_command_tells_people_and_programs_the_same(mesh: Mesh, scene: PspScene) -> None:
    """0 with a story, 1 without one, 2 for what is no id."""
    intent = await declined(scene)
    code, said = await ran(mesh, str(intent))
    assert (code, "nothing: it has failed" in said, "DECLINED over_limit" in said) == (0, True, True)
    code, said = await ran(mesh, str(intent), "--json")
    document = json.loads(said)
    assert (code, document["state"], document["next"][0]["code"]) == (0, "FAILED", "nothing")
    assert {event["source"] for event in document["events"]} >= {"accepted", "plan", "psp", "ledger", "state"}
    assert (await ran(mesh, str(new_id())))[0] == 1
    assert (await ran(mesh, "nonsense"))[0] == 2


async def test_without_redis_the_rest_is_told_and_what_is_missing_said(mesh: Mesh, scene: PspScene) -> None:
    """Nobody has to wait for a store that is away."""
    intent = await declined(scene)
    away = mesh.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with reach_stores(away) as reach:
        story = await explain(reach, str(intent))
    assert story is not None
    assert story.state == "FAILED"
    assert any("Redis is out of reach" in sentence for sentence in story.missing)
    assert "not everything is here" in printed(story)


async def test_without_the_database_what_the_streams_know_is_told(mesh: Mesh, scene: PspScene) -> None:
    """And that most of it is missing."""
    intent = await scene.paying(300)
    async with reach_stores(mesh.settings) as reach:
        lost = Reach(reach.settings, reach.redis, reach.closing, notes=["PostgreSQL is out of reach"])
        story = await explain(lost, str(intent))
    assert story is not None
    assert "PostgreSQL is out of reach" in story.missing
    assert "not everything is here: PostgreSQL is out of reach" in printed(story)
