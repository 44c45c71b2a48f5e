"""Discards: kept before they go, and never while something hangs on them."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio

from ops.dlq.discarding import Discarded, NotDiscarded, discard_record, foresee_discard
from ops.dlq.reach import Reach
from orchestrator.drafts import Draft, record_drafts
from orchestrator.legs import internal_legs
from shared.contracts import Action, Envelope, IntentMessage, Kind, Outcome, Source, result_envelope
from shared.ids import IntentId
from shared.plans import Plan
from shared.rules.fees import Quote
from shared.sealing import unseal
from shared.states import IntentState
from shared.streams import keys
from shared.streams.dead_letters import read_page, read_record, redrive
from shared.streams.verdicts import Fields
from tests.integration.adapters.runtime.scene import a_job, asking
from tests.integration.ops.conftest import Mesh
from tests.integration.ops.dlq_scene import bury, bury_job, insert_intent, reaching
from tests.integration.ops.psp_scene import PspScene, collected
from tests.integration.orchestrator.world import intent_entry, message, new_id, p2p
from tests.integration.streams.scene import envelope_fields

STREAM = keys.intents(0)
WHY = "a test tool wrote it"
ANN, BEN = "user:ann-t:THB", "user:ben-t:THB"


@pytest_asyncio.fixture
async def reach(mesh: Mesh) -> AsyncIterator[Reach]:
    """The stores as a command reaches them."""
    async with reaching(mesh) as reach:
        yield reach


async def taken_away(reach: Reach, stream: str = STREAM) -> Discarded:
    """Discard the oldest dead letter of a stream."""
    record = (await read_page(reach.redis, stream))[0]
    return await discard_record(reach, stream, record, ring=reach.settings.keyring(), actor="me@here", reason=WHY)


async def accepted(mesh: Mesh, body: IntentMessage) -> IntentId:
    """An accepted intent that died before anybody planned it."""
    intent = new_id()
    fields = Envelope(Kind.INTENT, str(intent), body.model_dump_json().encode()).fields()
    await mesh.redis.set(keys.acc(0, str(intent)), "1 shop")
    await bury(mesh.redis, STREAM, [fields])
    return intent


async def test_an_intent_that_nobody_planned_is_rejected_first(mesh: Mesh, reach: Reach) -> None:
    """Whoever posted it is told; its marker goes, since the log can answer; a replay of the entry moves nothing."""
    await mesh.world.fund({ANN: 1000, BEN: 0})
    body = message(p2p(ANN, BEN, 300))
    intent = await accepted(mesh, body)
    done = await taken_away(reach)
    assert (done.intent, done.ended, done.gone) == (str(intent), True, False)
    row = await mesh.world.row(intent)
    assert (row["state"], row["error_code"]) == (IntentState.REJECTED, "operator_discarded")
    assert not await mesh.redis.exists(keys.acc(0, str(intent)))
    await mesh.world.handle(intent_entry(body, intent))
    assert await mesh.world.ledger_balance(ANN) == 1000


async def test_a_planned_intent_is_burned_first(mesh: Mesh, reach: Reach) -> None:
    """A sleeper that has its plan in its hands finds the attempt dead in the ledger."""
    await mesh.world.fund({ANN: 1000, BEN: 0})
    body = message(p2p(ANN, BEN, 300))
    intent = await accepted(mesh, body)
    await planned_only(mesh, body, intent)
    assert (await taken_away(reach)).ended
    row = await mesh.world.row(intent)
    assert (row["state"], row["error_code"]) == (IntentState.REJECTED, "operator_discarded")
    assert await mesh.pool.fetchval("SELECT burned_at FROM pm.intent_attempt WHERE intent_id = $1", intent)
    await mesh.pool.execute("UPDATE pm.intent SET state = 'VALIDATED', error_code = NULL WHERE id = $1", intent)
    await mesh.world.handle(intent_entry(body, intent))
    assert (await mesh.world.row(intent))["error_code"] == "attempt_burned"
    assert await mesh.world.ledger_balance(ANN) == 1000


async def test_an_intent_whose_money_moved_is_not_ended(mesh: Mesh, reach: Reach) -> None:
    """Carried out in the ledger, and the process gone before it could say so: it is replayed, not discarded."""
    await mesh.world.fund({ANN: 1000, BEN: 0})
    body = message(p2p(ANN, BEN, 300))
    intent = await accepted(mesh, body)
    await mesh.world.handle(intent_entry(body, intent))
    await mesh.pool.execute("UPDATE pm.intent SET state = 'VALIDATED', version = 1 WHERE id = $1", intent)
    with pytest.raises(NotDiscarded, match="replay it"):
        await taken_away(reach)
    assert (await mesh.world.row(intent))["state"] == IntentState.VALIDATED
    assert await mesh.redis.xlen(keys.dlq(STREAM)) == 1


async def test_every_byte_is_kept_sealed_and_on_record(mesh: Mesh, reach: Reach) -> None:
    """What somebody put on a stream may be anybody's data."""
    fields: Fields = {b"body": b"Ann's number is 0801234567", b"\xff": b"\x00"}
    await bury(mesh.redis, STREAM, [fields], reason="decode")
    record = (await read_page(mesh.redis, STREAM))[0]
    standing = await read_record(mesh.redis, STREAM, record.entry_id)
    assert standing is not None
    await taken_away(reach)
    row = await mesh.pool.fetchrow("SELECT * FROM pm.discarded_dead_letter")
    assert row is not None
    assert row["removed_at"] is not None
    target = f"dlq:{STREAM}:{record.entry_id.decode()}"
    text = unseal(reach.settings.keyring(), context=target, field="record", sealed=row["record"])
    assert {b64decode(name): b64decode(value) for name, value in json.loads(text)} == standing[1]
    rows = await mesh.pool.fetch("SELECT action, target, reason FROM pm.audit_log WHERE actor = 'me@here' ORDER BY id")
    assert [tuple(row) for row in rows] == [("dlq.discard_begun", target, WHY), ("dlq.discard", target, WHY)]


async def test_what_was_accepted_and_cannot_be_read_stays(mesh: Mesh, reach: Reach) -> None:
    """Somebody was promised an answer: only a release that reads it may end it."""
    intent = str(new_id())
    await mesh.redis.set(keys.acc(0, intent), "1 shop")
    await bury(mesh.redis, STREAM, [envelope_fields(intent, body=b"{")])
    with pytest.raises(NotDiscarded, match="cannot be read"):
        await taken_away(reach)
    assert await mesh.redis.exists(keys.acc(0, intent))


@pytest.mark.parametrize("action", [Action.SUBMIT, Action.CANCEL])
async def test_a_job_goes_only_once_its_intent_is_decided(mesh: Mesh, reach: Reach, action: Action) -> None:
    """Void it, or wait; afterwards it may go. Nobody else remembers that somebody wanted it given up."""
    job = asking(a_job(), action)
    stream = keys.jobs(job.psp)
    await insert_intent(mesh.pool, job, state="IN_DOUBT")
    await bury_job(mesh.redis, job)
    with pytest.raises(NotDiscarded, match="IN_DOUBT"):
        await taken_away(reach, stream)
    await mesh.pool.execute("UPDATE pm.intent SET state = 'SETTLED' WHERE id = $1", UUID(job.intent_id))
    done = await taken_away(reach, stream)
    assert (done.ended, done.gone) == (False, False)
    assert await mesh.redis.xlen(keys.dlq(stream)) == 0


@pytest.mark.parametrize("outcome", [Outcome.PAID, Outcome.REVERSED])
@pytest.mark.parametrize("callback", [False, True])
async def test_a_word_of_money_goes_only_once_the_books_have_heard_it(
    mesh: Mesh, reach: Reach, outcome: Outcome, *, callback: bool
) -> None:
    """The intent has ended, and somebody pays once more, or the PSP takes it back: only that record tells of it."""
    scene = PspScene(mesh.world)
    await scene.set_up()
    intent = await collected(scene)
    name = "second" if outcome is Outcome.PAID else f"T-{intent}"
    word = scene.said(intent, outcome, psp="qp", psp_transaction_id=name, amount_minor=500, currency="RUB")
    nameless = {"intent_id": None, "attempt": 0, "action": None, "source": Source.CALLBACK}
    stream = keys.results("qp")
    died = word.model_copy(update=nameless) if callback else word
    await bury(mesh.redis, stream, [result_envelope(died).fields()])
    with pytest.raises(NotDiscarded, match="have not heard"):
        await taken_away(reach, stream)
    await scene.hear(word)
    assert not (await taken_away(reach, stream)).gone
    assert await mesh.redis.xlen(keys.dlq(stream)) == 0


async def test_a_record_that_went_back_meanwhile_is_gone(mesh: Mesh, reach: Reach) -> None:
    """Nothing is said to be taken away that stands in a stream."""
    await bury(mesh.redis, STREAM, [{b"x": b"y"}], reason="decode")
    record = (await read_page(mesh.redis, STREAM))[0]
    assert (await foresee_discard(reach, STREAM, record)).safe
    await redrive(mesh.redis, STREAM, record.entry_id)
    done = await discard_record(reach, STREAM, record, ring=reach.settings.keyring(), actor="me", reason=WHY)
    assert done.gone
    assert await mesh.pool.fetchval("SELECT count(*) FROM pm.discarded_dead_letter WHERE removed_at IS NOT NULL") == 0


async def planned_only(mesh: Mesh, body: IntentMessage, intent: IntentId) -> None:
    """Let an orchestrator write the plan down and end there."""
    assert body.operation.operation_type == "P2P_TRANSFER"
    plan = Plan("INTERNAL_P2P", 1, 1, internal_legs(body.operation, Quote(body.operation.amount_minor)))
    recorded = await record_drafts(mesh.pool, [Draft(intent, body, plan)])
    assert recorded.stored[intent].state is IntentState.VALIDATED
