"""A cancellation that its provider never confirmed: whoever asks again is heard again."""

import asyncio

import pytest

from shared.contracts import Action
from tests.integration.gateway.stand import Accepted, Client, Stand
from tests.integration.gateway.test_cancelling import cancel, cancellations, waiting_topup


async def sent(stand: Stand, *, minutes_ago: int) -> None:
    """Have the relay send the cancellation."""
    await stand.pool.execute(
        "UPDATE pm.outbox_event SET sent_at = now() - make_interval(mins => $1) WHERE action = 'cancel'", minutes_ago
    )


async def answered(
    stand: Stand, entry: Accepted, *, minutes_ago: int, action: str = "cancel", outcome: str = "PENDING"
) -> None:
    """Have a job answered, by default as an adapter does that did not reach its provider."""
    await stand.pool.execute(
        "INSERT INTO pm.psp_result (psp, entry_id, intent_id, attempt, source, outcome, body, received_at)"
        " VALUES ('qp', $4 || '-1', $1, 1, 'job', $2, json_build_object('action', $3::text, 'code', 'unreachable'),"
        " now() - make_interval(mins => $5))",
        entry.envelope.id,
        outcome,
        action,
        str(minutes_ago),
        minutes_ago,
    )


async def test_a_cancellation_that_came_to_nothing_is_asked_for_anew(stand: Stand, client: Client) -> None:
    """The provider was out of reach when it was told: the code can still be paid, and a static one for ever."""
    entry = await waiting_topup(stand, client)
    await cancel(client, entry)
    await sent(stand, minutes_ago=60)
    await answered(stand, entry, minutes_ago=59)
    assert (await cancel(client, entry)).status == 202
    assert [job.action for job in await cancellations(stand)] == [Action.CANCEL]


async def test_it_is_asked_anew_once_an_answer_and_with_what_was_learnt_since(stand: Stand, client: Client) -> None:
    """Several ask at once, and again after the relay has sent it; only an answer to that makes it come to nothing."""
    entry = await waiting_topup(stand, client)
    await cancel(client, entry)
    await sent(stand, minutes_ago=60)
    await answered(stand, entry, minutes_ago=59)
    await stand.pool.execute('UPDATE pm.psp_reference SET psp_ids = psp_ids || \'{"payment": "p-1"}\'')
    answers = await asyncio.gather(*(cancel(client, entry) for _ in range(10)))
    assert {answer.status for answer in answers} == {202}
    (job,) = await cancellations(stand)
    assert job.psp_ids["payment"] == "p-1"
    await sent(stand, minutes_ago=30)
    await cancel(client, entry)
    assert await cancellations(stand) == []
    await answered(stand, entry, minutes_ago=29)
    await cancel(client, entry)
    assert len(await cancellations(stand)) == 1


@pytest.mark.parametrize(
    ("action", "outcome"), [("submit", "NEXT_ACTION"), ("inquire", "PENDING"), ("cancel", "EXPIRED")]
)
async def test_what_is_no_failure_of_the_cancellation_has_nothing_sent_again(
    stand: Stand, client: Client, action: str, outcome: str
) -> None:
    """Answers to other jobs, and a confirmation that is being carried out."""
    entry = await waiting_topup(stand, client)
    await cancel(client, entry)
    await sent(stand, minutes_ago=60)
    await answered(stand, entry, minutes_ago=59, action=action, outcome=outcome)
    assert (await cancel(client, entry)).status == 202
    assert await cancellations(stand) == []


async def test_a_cancellation_that_nobody_answers_is_asked_for_anew_the_next_day(stand: Stand, client: Client) -> None:
    """It may lie among the dead letters."""
    entry = await waiting_topup(stand, client)
    await cancel(client, entry)
    await sent(stand, minutes_ago=23 * 60)
    await cancel(client, entry)
    assert await cancellations(stand) == []
    await sent(stand, minutes_ago=25 * 60)
    await cancel(client, entry)
    assert len(await cancellations(stand)) == 1
