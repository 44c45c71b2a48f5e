"""A cancellation that its provider never confirmed: whoever asks again is heard again."""

import pytest

from shared.contracts import Action
from tests.integration.gateway.stand import Client, Stand
from tests.integration.gateway.test_cancelling import cancel, cancellations, waiting_topup


@pytest.mark.xfail(strict=True, reason="an attempt is cancelled once, whatever became of that")
async def test_a_cancellation_that_came_to_nothing_is_asked_for_anew(stand: Stand, client: Client) -> None:
    """The provider was out of reach when it was told: the code can still be paid, and a static one for ever."""
    entry = await waiting_topup(stand, client)
    await cancel(client, entry)
    await stand.pool.execute("UPDATE pm.outbox_event SET sent_at = now() - interval '1 hour'")
    await stand.pool.execute(
        "INSERT INTO pm.psp_result (psp, entry_id, intent_id, attempt, source, outcome, body, received_at)"
        " VALUES ('qp', '1-1', $1, 1, 'job', 'PENDING', '{\"action\": \"cancel\", \"code\": \"unreachable\"}',"
        " now() - interval '59 minutes')",
        entry.envelope.id,
    )
    assert (await cancel(client, entry)).status == 202
    assert [job.action for job in await cancellations(stand)] == [Action.CANCEL]
