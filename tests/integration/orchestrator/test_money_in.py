"""Top-ups: credited for what was paid, each payment once, and never lost, on both ledgers."""

import asyncio
import json

import pytest

from shared.contracts import (
    Action,
    NextAction,
    Outcome,
)
from shared.streams.verdicts import Done
from tests.integration.orchestrator.saga import Saga, close, deltas, p2p_rub
from tests.integration.orchestrator.world import intent_entry, message

pytestmark = pytest.mark.asyncio


async def test_a_top_up_holds_nothing_shows_what_to_do_and_credits_what_was_paid(saga: Saga, payee: str) -> None:
    """No funds are ours before the PSP confirms them; then the confirmed amount is credited."""
    before = await deltas(saga, "psp:qp:RUB")
    intent = await saga.top_up(payee)
    assert await saga.state(intent) == ("AUTHORIZED", "none", None)
    action = NextAction(link="https://qr.nspk.ru/X", qr="https://qr.nspk.ru/X", expires_ms=7)
    (verdict,) = await saga.hear(saga.said(intent, Outcome.NEXT_ACTION, psp="qp", next_action=action))
    assert isinstance(verdict, Done)
    assert verdict.publish == ((f"intent.{intent}", b"AUTHORIZED"),)
    row = await saga.world.row(intent)
    assert json.loads(str(row["next_action"])) == action.model_dump(mode="json")
    assert await saga.booked(payee) == (0, 0)
    await saga.hear(saga.said(intent, Outcome.PAID, psp="qp", amount_minor=480))
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert await saga.booked(payee) == (480, 0)
    assert await saga.world.database_balance(payee) == 480
    assert (await deltas(saga, "psp:qp:RUB"))["psp:qp:RUB"] - before["psp:qp:RUB"] == -480


async def test_payments_after_the_first_or_after_expiry_are_late_credits_each_once(saga: Saga, payee: str) -> None:
    """Paid twice, paid late, and all of it heard again by several consumers."""
    twice, late = await saga.top_up(payee), await saga.top_up(payee)
    await saga.hear(saga.said(late, Outcome.EXPIRED, psp="qp", action=Action.INQUIRE))
    assert await saga.state(late) == ("EXPIRED", "none", "expired")
    words = [
        saga.said(twice, Outcome.PAID, psp="qp", psp_transaction_id=f"A-{twice}", amount_minor=500),
        saga.said(twice, Outcome.PAID, psp="qp", psp_transaction_id=f"B-{twice}", amount_minor=500),
        saga.said(late, Outcome.PAID, psp="qp", psp_transaction_id=f"C-{late}", amount_minor=500),
    ]
    await asyncio.gather(*(saga.hear(*words[turn % 3 :], *words[: turn % 3]) for turn in range(5)))
    assert (await saga.state(twice))[0] == "SETTLED"
    assert await saga.state(late) == ("EXPIRED", "none", "expired")
    assert await saga.children(twice) == [("LATE_CREDIT", "SETTLED", 500)]
    assert await saga.children(late) == [("LATE_CREDIT", "SETTLED", 500)]
    assert await saga.booked(payee) == (1500, 0)
    assert await saga.world.database_balance(payee) == 1500


async def test_expired_and_paid_at_once_never_both_happen(saga: Saga, payee: str) -> None:
    """One resolution an attempt: whichever is stored, the payment is credited exactly once."""
    for turn in range(1, 7):
        intent = await saga.top_up(payee)
        await asyncio.gather(
            saga.hear(saga.said(intent, Outcome.PAID, psp="qp", amount_minor=500)),
            saga.hear(saga.said(intent, Outcome.EXPIRED, psp="qp", action=Action.INQUIRE)),
        )
        state, _, _ = await saga.state(intent)
        assert await saga.children(intent) == ([] if state == "SETTLED" else [("LATE_CREDIT", "SETTLED", 500)])
        assert await saga.booked(payee) == (500 * turn, 0)
    assert await saga.world.database_balance(payee) == 3000


async def test_money_that_a_closed_wallet_cannot_be_credited_for_is_kept_in_suspense(saga: Saga, payee: str) -> None:
    """The PSP has the money: the intent fails, suspense holds it, people are told; once."""
    before = await deltas(saga, "suspense:qp:RUB")
    first, late = await saga.top_up(payee), await saga.top_up(payee)
    await saga.hear(saga.said(late, Outcome.EXPIRED, psp="qp", action=Action.INQUIRE))
    await close(saga, payee)
    for _ in range(2):
        await saga.hear(
            saga.said(first, Outcome.PAID, psp="qp", amount_minor=500),
            saga.said(late, Outcome.PAID, psp="qp", amount_minor=70),
        )
    assert await saga.state(first) == ("FAILED", "unknown", "credit_refused")
    assert await saga.children(first) == [("SUSPENSE", "SETTLED", 500)]
    assert await saga.children(late) == [("LATE_CREDIT", "REJECTED", 70), ("SUSPENSE", "SETTLED", 70)]
    assert (await deltas(saga, "suspense:qp:RUB"))["suspense:qp:RUB"] - before["suspense:qp:RUB"] == 570
    assert {"credit_refused", "late_credit_refused"} <= await saga.alerts()


async def test_a_reversal_that_the_wallet_cannot_bear_is_charged_to_suspense(saga: Saga, payee: str) -> None:
    """The customer has spent it meanwhile; the house is short of it and people are told."""
    intent = await saga.top_up(payee)
    await saga.hear(saga.said(intent, Outcome.PAID, psp="qp", amount_minor=500))
    before = await deltas(saga, "suspense:qp:RUB")
    other = f"user:other-{saga.world.tag}:RUB"
    await saga.world.fund({other: 0})
    spent = message(p2p_rub(payee, other, 450))
    await saga.world.handle(intent_entry(spent))
    word = saga.said(intent, Outcome.REVERSED, psp="qp", psp_transaction_id=f"T-{intent}")
    await saga.hear(word)
    await saga.hear(word)
    assert await saga.children(intent) == [("REVERSAL", "REJECTED", 500), ("SUSPENSE", "SETTLED", 500)]
    assert await saga.booked(payee) == (50, 0)
    assert (await deltas(saga, "suspense:qp:RUB"))["suspense:qp:RUB"] - before["suspense:qp:RUB"] == -500
    assert "reversal_refused" in await saga.alerts()
