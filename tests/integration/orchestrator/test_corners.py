"""What is held, asked and told about a PSP's payments, at the corners: references, wallets, alerts, new PSPs."""

import json
from dataclasses import replace

import pytest

from shared.contracts import Action, NextAction, Outcome, Source
from shared.operations import IppsWithdrawal
from shared.psp import ReferenceFormat
from tests.channels import PAYOUTS, TOPUPS
from tests.integration.orchestrator.paused import Wrapped
from tests.integration.orchestrator.saga import Saga, close, deltas, reopen
from tests.integration.orchestrator.world import intent_entry, message, new_id

pytestmark = pytest.mark.asyncio


def withdrawal(payer: str) -> IppsWithdrawal:
    """A withdrawal of a hundred satang."""
    return IppsWithdrawal(
        from_account=payer, amount_minor=100, currency="THB", proxy_type="MOBILE", proxy="k1:AAAA:BBBB"
    )


async def test_intents_of_one_batch_that_hash_to_one_reference_do_not_share_it(saga: Saga, payer: str) -> None:
    """Two references for four intents: two are dispatched, the others are refused, and nobody's reference is lent."""
    saga.world.channels.manifests = (replace(PAYOUTS, reference=ReferenceFormat("AB", 1)), TOPUPS)
    ids = [new_id() for _ in range(4)]
    await saga.world.handle(*(intent_entry(message(withdrawal(payer)), intent) for intent in ids))
    states = {intent: await saga.state(intent) for intent in ids}
    jobs = await saga.world.pool.fetch(
        "SELECT intent_id, body ->> 'reference' AS reference FROM pm.outbox_event WHERE intent_id = ANY ($1)", ids
    )
    references = [row["reference"] for row in jobs]
    assert len(references) == len(set(references)) >= 1
    for intent, state in states.items():
        sent = intent in {row["intent_id"] for row in jobs}
        assert state == (("AUTHORIZED", "held", None) if sent else ("REJECTED", "none", "reference_collision"))
    assert await saga.booked(payer) == (1000, -100 * len(references))


async def test_a_wallet_closed_under_its_hold_loses_neither_the_hold_nor_the_payment(saga: Saga, payer: str) -> None:
    """Paid at the PSP: the hold stays until the wallet is mended, then it is posted under fresh ids; once."""
    intent = await saga.withdraw(payer)
    closing = await close(saga, payer)
    try:
        for _ in range(3):
            await saga.hear(saga.said(intent, Outcome.PAID, action=Action.INQUIRE))
        assert (await saga.state(intent))[:2] == ("AUTHORIZED", "held")
        assert "post_refused" in await saga.alerts()
        assert await saga.held(payer) == 300
    finally:
        await reopen(saga, closing)
    await saga.hear(saga.said(intent, Outcome.PAID, action=Action.INQUIRE))
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert await saga.booked(payer) == (700, 0)
    assert await saga.held(payer) == 0


async def test_a_wallet_closed_under_its_hold_gets_it_back_when_the_psp_declines(saga: Saga, payer: str) -> None:
    """A closed wallet takes nothing but its own holds back."""
    intent = await saga.withdraw(payer)
    closing = await close(saga, payer)
    try:
        await saga.hear(saga.said(intent, Outcome.DECLINED, code="over_limit", final=True))
        assert await saga.state(intent) == ("FAILED", "none", "over_limit")
    finally:
        await reopen(saga, closing)
    assert await saga.booked(payer) == (1000, 0)


async def test_no_leg_of_a_hold_ends_by_itself(saga: Saga, payer: str) -> None:
    """A leg that expired alone would make the whole void fail."""
    ledger = Wrapped(saga.world.ledger)
    intent = new_id()
    await (await saga.world.intake(ledger))([intent_entry(message(withdrawal(payer)), intent)])
    (chain,) = ledger.submitted
    assert [transfer.timeout for transfer in chain] == [0, 0]


async def test_alerts_say_nothing_of_what_came_sealed_or_what_the_payer_has_to_do(saga: Saga, payer: str) -> None:
    """People read them; a callback's bytes and a payment link are not theirs."""
    over = await saga.withdraw(payer)
    await saga.hear(saga.said(over, Outcome.DECLINED, code="over_limit", final=True))
    link = "https://qr.nspk.ru/SECRET"
    await saga.hear(
        saga.said(
            over, Outcome.PAID, raw="k1:RAW:BYTES", callback_id="c", next_action=NextAction(link=link, expires_ms=1)
        ),
        saga.said(
            None, Outcome.PAID, source=Source.CALLBACK, action=None, reference="NOBODY", callback_id="c2",
            raw="k1:RAW:BYTES",
        ),
    )  # fmt: skip
    alerts = await saga.world.pool.fetch("SELECT kind, subject, detail FROM pm.reconciliation_alert")
    text = json.dumps([dict(row) for row in alerts])
    assert {"paid_after_failure", "unmatched_result"} <= {row["kind"] for row in alerts}
    assert "RAW" not in text
    assert "SECRET" not in text
    evidence = await saga.world.pool.fetchval("SELECT evidence::text FROM pm.resolution WHERE intent_id = $1", over)
    assert "k1:" not in evidence


async def test_the_largest_amount_there_is_goes_through_every_book(saga: Saga, payee: str) -> None:
    """2^62 credited, paid once more, and taken back: no column is too narrow for it."""
    limit = 1 << 62
    intent = await saga.top_up(payee)
    for name in (f"A-{intent}", f"B-{intent}"):
        await saga.hear(saga.said(intent, Outcome.PAID, psp="qp", psp_transaction_id=name, amount_minor=limit))
    assert await saga.booked(payee) == (2 * limit, 0)
    assert await saga.world.database_balance(payee) == 2 * limit
    await saga.hear(saga.said(intent, Outcome.REVERSED, psp="qp", psp_transaction_id=f"B-{intent}"))
    assert await saga.booked(payee) == (limit, 0)
    assert await saga.world.database_balance(payee) == limit


async def stands(saga: Saga, intent: object, kind: str, psp: str, name: str, amount_minor: int) -> None:
    """Let another orchestrator store a resolution and die."""
    await saga.world.pool.execute(
        "INSERT INTO pm.resolution (intent_id, attempt, kind, state, amount_minor, psp, psp_transaction_id, evidence,"
        " ledger_attempt) VALUES ($1, 1, $2, 'SETTLED', $3, $4, $5, '{}', 1)",
        intent, kind, amount_minor, psp, name,
    )  # fmt: skip
    await saga.world.pool.execute(
        "INSERT INTO pm.psp_tx_map (psp, psp_transaction_id, intent_id, attempt, settles, amount_minor, currency)"
        " VALUES ($1, $2, $3, 1, true, $4, $5)",
        psp, name, intent, amount_minor, "THB" if psp == "ipps" else "RUB",
    )  # fmt: skip


async def test_a_second_payment_heard_while_the_first_is_being_posted_is_not_taken_for_it(
    saga: Saga, payer: str
) -> None:
    """Two transactions of one withdrawal, told to two orchestrators at once: one is posted, one is in suspense."""
    intent = await saga.withdraw(payer)
    before = await deltas(saga, "psp:ipps:THB", "suspense:ipps:THB")
    await stands(saga, intent, "post", "ipps", f"A-{intent}", 300)
    await saga.hear(saga.said(intent, Outcome.PAID, psp_transaction_id=f"B-{intent}"))
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert await saga.children(intent) == [("SUSPENSE", "SETTLED", 300)]
    assert "paid_twice" in await saga.alerts()
    after = await deltas(saga, "psp:ipps:THB", "suspense:ipps:THB")
    assert {name: after[name] - before[name] for name in after} == {"psp:ipps:THB": 600, "suspense:ipps:THB": -300}


async def test_a_second_payment_heard_while_the_first_is_being_credited_is_credited_too(saga: Saga, payee: str) -> None:
    """Two payers of one code at once."""
    intent = await saga.top_up(payee)
    await stands(saga, intent, "credit", "qp", f"A-{intent}", 500)
    await saga.hear(saga.said(intent, Outcome.PAID, psp="qp", psp_transaction_id=f"B-{intent}", amount_minor=40))
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert await saga.children(intent) == [("LATE_CREDIT", "SETTLED", 40)]
    assert await saga.booked(payee) == (540, 0)


@pytest.mark.parametrize("end", [Outcome.PAID, Outcome.EXPIRED])
async def test_a_code_is_asked_about_after_its_end(saga: Saga, payee: str, end: Outcome) -> None:
    """It may be paid late, or again, and the callback that says so may be lost."""
    intent = await saga.top_up(payee)
    await saga.hear(saga.said(intent, end, psp="qp", action=Action.INQUIRE))
    left_s = await saga.world.pool.fetchval(
        "SELECT extract(epoch FROM next_poll_at - now())::float8 FROM pm.intent WHERE id = $1", intent
    )
    assert left_s == pytest.approx(TOPUPS.poll.max_s, abs=5)
