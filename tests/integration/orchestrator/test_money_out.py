"""Withdrawals, from the hold to what the PSP says became of them, on both ledgers."""

import asyncio
import json

import pytest

from shared.contracts import (
    Action,
    JobMessage,
    Outcome,
    Source,
)
from shared.streams.verdicts import Done
from tests.integration.orchestrator.saga import Saga, close, deltas, reopen

pytestmark = pytest.mark.asyncio


async def test_a_withdrawal_is_held_dispatched_and_posted_when_the_psp_has_paid(saga: Saga, payer: str) -> None:
    """Held first, moved only then; read model and ledger agree at every stage."""
    before = await deltas(saga, "psp:ipps:THB")
    intent = await saga.withdraw(payer)
    assert await saga.state(intent) == ("AUTHORIZED", "held", None)
    assert await saga.booked(payer) == (1000, -300)
    assert (await saga.world.database_balance(payer), await saga.held(payer)) == (1000, 300)
    row = await saga.world.pool.fetchrow("SELECT * FROM pm.outbox_event WHERE intent_id = $1", intent)
    assert row is not None
    job = JobMessage.model_validate_json(row["body"])
    assert (job.action, job.amount_minor, job.destination) == (
        Action.SUBMIT, 300, {"proxy_type": "MOBILE", "proxy": "k1:AAAA:BBBB"},
    )  # fmt: skip
    assert saga.world.poked == ["ipps"]
    (verdict,) = await saga.hear(saga.said(intent, Outcome.PAID))
    assert isinstance(verdict, Done)
    assert verdict.publish == ((f"intent.{intent}", b"SETTLED"),)
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert await saga.booked(payer) == (700, 0)
    assert (await saga.world.database_balance(payer), await saga.held(payer)) == (700, 0)
    assert (await saga.booked("psp:ipps:THB"))[0] - before["psp:ipps:THB"] == 300
    assert (await saga.world.row(intent))["next_poll_at"] is None


async def test_a_decline_gives_the_hold_back(saga: Saga, payer: str) -> None:
    """FAILED, with the PSP's reason as our code, and nothing moved."""
    intent = await saga.withdraw(payer)
    await saga.hear(saga.said(intent, Outcome.DECLINED, code="over_limit", final=True))
    assert await saga.state(intent) == ("FAILED", "none", "over_limit")
    assert await saga.booked(payer) == (1000, 0)
    assert (await saga.world.database_balance(payer), await saga.held(payer)) == (1000, 0)


async def test_a_withdrawal_beyond_the_balance_never_reaches_the_psp(saga: Saga, payer: str) -> None:
    """The hold is refused: REJECTED, and no job."""
    intent = await saga.withdraw(payer, 1001)
    assert await saga.state(intent) == ("REJECTED", "none", "insufficient_funds")
    assert not await saga.world.pool.fetchval("SELECT count(*) FROM pm.outbox_event WHERE intent_id = $1", intent)


async def test_a_doubt_keeps_the_funds_held_until_a_fact_ends_it(saga: Saga, payer: str) -> None:
    """UNKNOWN and NOT_FOUND leave it IN_DOUBT; what ends it is the PSP's word about our reference."""
    paid, unpaid = await saga.withdraw(payer), await saga.withdraw(payer)
    for intent in (paid, unpaid):
        await saga.hear(saga.said(intent, Outcome.UNKNOWN))
        await saga.hear(saga.said(intent, Outcome.NOT_FOUND, action=Action.INQUIRE))
        assert await saga.state(intent) == ("IN_DOUBT", "held", None)
    assert await saga.booked(payer) == (1000, -600)
    assert (await saga.world.row(paid))["next_poll_at"] is not None
    await saga.hear(
        saga.said(paid, Outcome.PAID, action=Action.INQUIRE),
        saga.said(unpaid, Outcome.NOT_FOUND, action=Action.INQUIRE, fenced=True),
    )
    assert await saga.state(paid) == ("SETTLED", "moved", None)
    assert await saga.state(unpaid) == ("FAILED", "none", "not_found")
    assert await saga.booked(payer) == (700, 0)


async def test_the_same_word_over_and_over_moves_money_once(saga: Saga, payer: str) -> None:
    """In one batch, in the next, and by two consumers at once."""
    intent = await saga.withdraw(payer)
    word = saga.said(intent, Outcome.PAID)
    entry = saga.entry(word)
    await saga.hear(entry, word, word)
    await asyncio.gather(*(saga.hear(entry, word) for _ in range(4)))
    assert await saga.booked(payer) == (700, 0)
    assert await saga.world.database_balance(payer) == 700
    events = await saga.world.pool.fetchval("SELECT count(*) FROM pm.intent_event WHERE intent_id = $1", intent)
    assert events == 3


async def test_paid_and_declined_at_once_end_in_one_resolution_and_never_paid_and_voided(
    saga: Saga, payer: str
) -> None:
    """Whichever is stored first is carried out by both; a payment that lost is booked against suspense."""
    for _ in range(6):
        intent = await saga.withdraw(payer, 100)
        before = await deltas(saga, payer, "suspense:ipps:THB", "psp:ipps:THB")
        await asyncio.gather(
            saga.hear(saga.said(intent, Outcome.PAID, amount_minor=100)),
            saga.hear(saga.said(intent, Outcome.DECLINED, code="over_limit", final=True)),
        )
        after = await deltas(saga, payer, "suspense:ipps:THB", "psp:ipps:THB")
        state, _, _ = await saga.state(intent)
        moved = {name.partition(":")[0]: after[name] - before[name] for name in after}
        assert moved["psp"] == 100, "the PSP has paid, whatever became of the intent"
        assert (moved["user"], moved["suspense"]) == ((-100, 0) if state == "SETTLED" else (0, -100))
        assert await saga.held(payer) == 0
    assert (await saga.alerts()) & {"paid_after_failure", "declined_though_settled"}


async def test_a_success_after_a_decline_is_booked_against_suspense_once(saga: Saga, payer: str) -> None:
    """The payer keeps the money, the house is short, and the state stays what it was."""
    before = await deltas(saga, "suspense:ipps:THB", "psp:ipps:THB")
    intent = await saga.withdraw(payer)
    await saga.hear(saga.said(intent, Outcome.DECLINED, code="over_limit", final=True))
    await saga.hear(saga.said(intent, Outcome.PAID))
    await saga.hear(saga.said(intent, Outcome.PAID), saga.said(intent, Outcome.PAID))
    assert await saga.state(intent) == ("FAILED", "none", "over_limit")
    assert await saga.children(intent) == [("SUSPENSE", "SETTLED", 300)]
    after = await deltas(saga, "suspense:ipps:THB", "psp:ipps:THB")
    assert {name: after[name] - before[name] for name in after} == {"suspense:ipps:THB": -300, "psp:ipps:THB": 300}
    assert await saga.booked(payer) == (1000, 0)
    assert "paid_after_failure" in await saga.alerts()


async def test_a_reversal_after_settlement_gives_the_payer_the_money_back_once(saga: Saga, payer: str) -> None:
    """As a REVERSAL child; the settled intent stays settled."""
    intent = await saga.withdraw(payer)
    await saga.hear(saga.said(intent, Outcome.PAID))
    word = saga.said(intent, Outcome.REVERSED, psp_transaction_id=f"T-{intent}")
    await saga.hear(word, word)
    await saga.hear(word)
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert await saga.children(intent) == [("REVERSAL", "SETTLED", 300)]
    assert await saga.booked(payer) == (1000, 0)
    assert await saga.world.database_balance(payer) == 1000


async def test_a_payment_of_another_amount_moves_what_the_psp_moved(saga: Saga, payer: str) -> None:
    """Less: the rest is released. More: the payer is charged what was agreed, the house bears the rest."""
    less, more = await saga.withdraw(payer), await saga.withdraw(payer)
    before = await deltas(saga, "suspense:ipps:THB", "psp:ipps:THB")
    await saga.hear(saga.said(less, Outcome.PAID, amount_minor=120), saga.said(more, Outcome.PAID, amount_minor=330))
    assert await saga.booked(payer) == (1000 - 120 - 300, 0)
    assert await saga.world.database_balance(payer) == 580
    assert await saga.held(payer) == 0
    after = await deltas(saga, "suspense:ipps:THB", "psp:ipps:THB")
    assert {name: after[name] - before[name] for name in after} == {"suspense:ipps:THB": -30, "psp:ipps:THB": 450}


async def test_a_callback_asks_the_psp_and_moves_nothing_by_itself(saga: Saga, payer: str) -> None:
    """Found by our reference; it falls due, and the poller asks."""
    intent = await saga.withdraw(payer)
    await saga.hear(saga.said(intent, Outcome.PENDING))
    reference = await saga.world.pool.fetchval("SELECT reference FROM pm.psp_reference WHERE intent_id = $1", intent)
    word = saga.said(
        None, Outcome.PAID, source=Source.CALLBACK, reference=reference, action=None, callback_id="c1",
        psp_ids={"txn_no": "N7"},
    )  # fmt: skip
    (verdict,) = await saga.hear(word)
    assert isinstance(verdict, Done)
    due = "SELECT next_poll_at <= now() FROM pm.intent WHERE id = $1"
    assert await saga.world.pool.fetchval(due, intent), "the poller asks at once"
    assert await saga.state(intent) == ("AUTHORIZED", "held", None)
    assert await saga.booked(payer) == (1000, -300)
    ids = await saga.world.pool.fetchval("SELECT psp_ids FROM pm.psp_reference WHERE intent_id = $1", intent)
    assert json.loads(ids) == {"txn_no": "N7"}
    kept = await saga.world.pool.fetch("SELECT source, outcome FROM pm.psp_result WHERE intent_id = $1", intent)
    assert sorted(tuple(row) for row in kept) == [("callback", "PAID"), ("job", "PENDING")]


async def test_a_callback_that_overtakes_its_own_job_costs_no_inquiry_unless_the_answer_is_lost(
    saga: Saga, payer: str
) -> None:
    """The answer is about to say the same; should it not come, the PSP is asked in a moment."""
    intent = await saga.withdraw(payer)
    reference = await saga.world.pool.fetchval("SELECT reference FROM pm.psp_reference WHERE intent_id = $1", intent)
    word = saga.said(
        None, Outcome.PAID, source=Source.CALLBACK, reference=reference, action=None, callback_id="c1",
        psp_transaction_id=f"T-{intent}",
    )  # fmt: skip
    (verdict,) = await saga.hear(word)
    assert isinstance(verdict, Done)
    assert verdict.append == ()
    left = await saga.world.pool.fetchval("SELECT next_poll_at - now() FROM pm.intent WHERE id = $1", intent)
    assert 1 < left.total_seconds() <= 2
    await saga.hear(saga.said(intent, Outcome.PAID))
    assert (await saga.world.row(intent))["next_poll_at"] is None


async def test_a_post_that_the_ledger_refuses_goes_on_under_fresh_ids_once_mended(saga: Saga, payer: str) -> None:
    """Closed under a hold: no state changes, people are told, and the next word of the PSP settles it."""
    intent = await saga.withdraw(payer)
    closing = await close(saga, "psp:ipps:THB")
    try:
        await saga.hear(saga.said(intent, Outcome.PAID))
        assert await saga.state(intent) == ("AUTHORIZED", "held", None)
        assert "post_refused" in await saga.alerts()
    finally:
        await reopen(saga, closing)
    await saga.hear(saga.said(intent, Outcome.PAID, action=Action.INQUIRE))
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert await saga.booked(payer) == (700, 0)


async def test_a_callback_is_not_forgotten_when_an_older_answer_ends_the_intent_before_anybody_asked(
    saga: Saga, payer: str
) -> None:
    """Declined, then paid after all: the callback of the payment may be read before the answer of the decline."""
    intent, settled = await saga.withdraw(payer), await saga.withdraw(payer)
    references = {
        row["intent_id"]: row["reference"]
        for row in await saga.world.pool.fetch("SELECT intent_id, reference FROM pm.psp_reference")
    }
    for one in (intent, settled):
        await saga.hear(
            saga.said(
                None, Outcome.PAID, source=Source.CALLBACK, reference=references[one], action=None, callback_id="c1",
                psp_transaction_id=f"T-{one}",
            )
        )  # fmt: skip
    await saga.hear(
        saga.said(intent, Outcome.DECLINED, code="over_limit", final=True), saga.said(settled, Outcome.PAID)
    )
    assert (await saga.state(intent))[0] == "FAILED"
    assert (await saga.world.row(intent))["next_poll_at"] is not None, "the payment is never asked about"
    assert (await saga.world.row(settled))["next_poll_at"] is None, "its payment is the one that it spoke of"
