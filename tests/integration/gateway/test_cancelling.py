"""Cancelling: a payment request that waits for its payer is given up by its provider, and by nobody else."""

import asyncio
import json

from shared.contracts import Action, JobMessage
from tests.integration.gateway.psps import OPERATIONS, TOPUP, ask_the_payer
from tests.integration.gateway.stand import FREE, Accepted, Answer, Client, Stand


async def waiting_topup(stand: Stand, client: Client) -> Accepted:
    """Post a top-up and have its code made."""
    await client.post(TOPUP)
    entry = await stand.only_entry()
    await ask_the_payer(stand, entry)
    return entry


async def cancel(client: Client, entry: Accepted, *, user_id: str = "") -> Answer:
    """Ask for it."""
    return await client.send("POST", f"/v1/intents/{entry.envelope.id}/cancel", user_id=user_id)


async def cancellations(stand: Stand) -> list[JobMessage]:
    """Return what providers are asked to give up and have not been told yet."""
    rows = await stand.pool.fetch("SELECT body FROM pm.outbox_event WHERE action = 'cancel' AND sent_at IS NULL")
    return [JobMessage.model_validate_json(row["body"]) for row in rows]


async def test_the_provider_is_asked_with_all_that_it_has_called_the_payment(stand: Stand, client: Client) -> None:
    """202 with the state unchanged; the job is the submission's but for its action and the ids learnt since."""
    entry = await waiting_topup(stand, client)
    answer = await cancel(client, entry, user_id="alice")
    assert (answer.status, answer.document["state"]) == (202, "AUTHORIZED")
    assert answer.document["next_action"]
    (job,) = await cancellations(stand)
    submitted = JobMessage.model_validate_json(
        await stand.pool.fetchval("SELECT body FROM pm.outbox_event WHERE action = 'submit'")
    )
    ids = {"order": "o-1", "qrc_id": "AD10004MV5CJ3D638358RO81129CE63P"}
    assert job == submitted.model_copy(update={"action": Action.CANCEL, "psp_ids": ids})
    assert await stand.pool.fetchval("SELECT state FROM pm.intent") == "AUTHORIZED"


async def test_asking_often_asks_once(stand: Stand, client: Client) -> None:
    """At the same time, and again after the relay has sent it."""
    entry = await waiting_topup(stand, client)
    answers = await asyncio.gather(*(cancel(client, entry) for _ in range(10)))
    assert {answer.status for answer in answers} == {202}
    assert len(await cancellations(stand)) == 1
    await stand.pool.execute("UPDATE pm.outbox_event SET sent_at = now()")
    assert (await cancel(client, entry)).status == 202
    assert await cancellations(stand) == []


async def test_only_its_owner_may_ask(stand: Stand, client: Client) -> None:
    """Another key and another user hear what they hear of an unknown id."""
    entry = await waiting_topup(stand, client)
    await stand.add_key("other", "x" * 32, FREE)
    other = Client(client.url, client.port, client.session, key="other", secret="x" * 32)
    for answer in (await cancel(other, entry), await cancel(client, entry, user_id="bob")):
        assert (answer.status, answer.code) == (404, "intent_not_found")
    assert await cancellations(stand) == []


async def test_everything_else_is_not_cancellable(stand: Stand, client: Client) -> None:
    """Without a code yet, once decided, and whatever is not a request for money in."""
    await client.post(TOPUP)
    entry = await stand.only_entry()
    codes = [(await cancel(client, entry)).code]
    for state, funds in (("AUTHORIZED", "none"), ("IN_DOUBT", "unknown"), ("EXPIRED", "none"), ("SETTLED", "moved")):
        await stand.record(entry, state, funds=funds)
        answer = await cancel(client, entry)
        assert state in answer.document["detail"]
        codes.append(answer.code)
    await stand.finish(entry)
    for operation in OPERATIONS:
        if operation is not TOPUP:
            await client.post(operation)
            out = await stand.only_entry()
            await ask_the_payer(stand, out)
            await stand.pool.execute("DELETE FROM pm.psp_reference")
            codes.append((await cancel(client, out)).code)
            await stand.finish(out)
    assert codes == ["not_cancellable"] * 7
    assert await cancellations(stand) == []


async def test_a_decision_in_the_same_moment_wins(stand: Stand, client: Client) -> None:
    """Asked for and settled meanwhile: the answer stands, and so does the decision."""
    entry = await waiting_topup(stand, client)
    await cancel(client, entry)
    await stand.record(entry, "SETTLED")
    answer = await cancel(client, entry)
    assert (answer.status, answer.code) == (409, "not_cancellable")
    assert json.dumps(answer.document).count("SETTLED") == 1
