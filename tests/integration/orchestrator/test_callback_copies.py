"""Callbacks come in any number: what they make others do is bounded by what there is to ask about."""

import pytest

from shared.contracts import Outcome, ResultMessage, Source
from shared.ids import IntentId
from shared.streams.verdicts import Done
from tests.integration.orchestrator.saga import Saga

pytestmark = pytest.mark.asyncio


async def callback(saga: Saga, intent: IntentId, number: int) -> ResultMessage:
    """A hint that the top-up was paid."""
    reference = await saga.world.pool.fetchval("SELECT reference FROM pm.psp_reference WHERE intent_id = $1", intent)
    return saga.said(
        None, Outcome.PAID, psp="qp", source=Source.CALLBACK, action=None, reference=reference, callback_id=f"c{number}"
    )


async def test_copies_of_a_callback_ask_no_question_each(saga: Saga, payee: str) -> None:
    """Fifty in a batch, and fifty more while nobody has answered, are one thing to ask about: it falls due."""
    intent = await saga.top_up(payee)
    await saga.hear(saga.said(intent, Outcome.PENDING, psp="qp"))
    for _ in range(2):
        verdicts = await saga.hear(*[await callback(saga, intent, 1) for _ in range(50)])
        assert all(verdict == Done() for verdict in verdicts)
    due = "SELECT next_poll_at <= now() FROM pm.intent WHERE id = $1"
    assert await saga.world.pool.fetchval(due, intent)
