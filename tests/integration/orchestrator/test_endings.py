"""Every intent ends by the PSP's last word, whatever was closed, changed, pruned or misheard on the way."""

import json
from dataclasses import replace

import pytest
import tigerbeetle as tb

from shared.clock import wall_ms
from shared.contracts import Action, JobMessage, Outcome, Source, read_envelope, read_job
from shared.errors import OutcomeUnknown
from shared.ids import IntentId, Phase, transfer_id
from shared.operations import IppsWithdrawal
from shared.psp import OperationRules, ReferenceFormat
from shared.streams.verdicts import Done, Entry, HandBack
from tests.channels import PAYOUTS, TOPUPS
from tests.integration.orchestrator.paused import Deaf
from tests.integration.orchestrator.saga import Saga, close, deltas, reopen
from tests.integration.orchestrator.world import intent_entry, message, new_id, resume_entry

pytestmark = pytest.mark.asyncio


async def resolve_by_hand(saga: Saga, intent: IntentId, flag: tb.TransferFlags) -> None:
    """Post or void a hold behind everybody's back, under ids of nobody's."""
    for leg in range(2):
        held = transfer_id(intent, attempt=1, phase=Phase.MOVE, leg=leg)
        amount = tb.AMOUNT_MAX if flag is tb.TransferFlags.POST_PENDING_TRANSFER else 0
        (result,) = await saga.world.ledger.create_transfers(
            [tb.Transfer(id=tb.id(), pending_id=held, flags=flag, amount=amount)]
        )
        assert result.status is tb.CreateTransferStatus.CREATED


def asked(*verdicts: object) -> list[Action]:
    """What verdicts put into the job stream."""
    return [
        read_job(read_envelope(fields)).action
        for verdict in verdicts
        if isinstance(verdict, Done)
        for _, fields in verdict.append
    ]


async def test_a_transaction_that_went_to_suspense_for_one_intent_never_settles_another(saga: Saga, payer: str) -> None:
    """Whose it was first is kept for payments that settled nothing, too: it is booked already."""
    over, second = await saga.withdraw(payer), await saga.withdraw(payer)
    await saga.hear(saga.said(over, Outcome.DECLINED, code="over_limit", final=True))
    await saga.hear(saga.said(over, Outcome.PAID, psp_transaction_id=f"SAME-{over}"))
    before = await deltas(saga, "psp:ipps:THB")
    await saga.hear(saga.said(second, Outcome.PAID, psp_transaction_id=f"SAME-{over}"))
    assert await deltas(saga, "psp:ipps:THB") == before, "the PSP has paid once"
    assert await saga.state(second) == ("AUTHORIZED", "held", None)
    assert "payment_of_two_intents" in await saga.alerts()


async def test_a_payment_taken_back_while_its_post_is_refused_asks_no_endless_questions(saga: Saga, payer: str) -> None:
    """Paid, refused by the ledger, then reversed: once the ledger is mended the intent ends, question or not."""
    intent = await saga.withdraw(payer)
    closing = await close(saga, "psp:ipps:THB")
    try:
        await saga.hear(saga.said(intent, Outcome.PAID))
    finally:
        await reopen(saga, closing)
    word = saga.said(intent, Outcome.REVERSED, psp_transaction_id=f"T-{intent}", action=Action.INQUIRE, final=True)
    asks = [asked(*await saga.hear(word)) for _ in range(5)]
    assert (await saga.state(intent))[0] != "AUTHORIZED", "the PSP has said its last word"
    assert await saga.booked(payer) == (1000, 0)
    assert asks.count([Action.INQUIRE]) <= 1, "every answer asks again at once"


async def test_a_contradiction_of_a_refused_post_does_not_spend_its_fresh_ids(saga: Saga, payer: str) -> None:
    """The ledger refuses for as long as the account is closed, and there are only so many ids to go on under."""
    intent = await saga.withdraw(payer)
    closing = await close(saga, "psp:ipps:THB")
    try:
        await saga.hear(saga.said(intent, Outcome.PAID))
        for _ in range(10):
            await saga.hear(saga.said(intent, Outcome.DECLINED, code="over_limit", final=True))
    finally:
        await reopen(saga, closing)
    await saga.hear(saga.said(intent, Outcome.PAID, action=Action.INQUIRE))
    assert await saga.state(intent) == ("SETTLED", "moved", None)


async def test_a_post_that_is_refused_for_days_is_carried_out_once_mended(saga: Saga, payer: str) -> None:
    """Each answer of the PSP tries again; their number must not be what decides."""
    intent = await saga.withdraw(payer)
    closing = await close(saga, "psp:ipps:THB")
    try:
        for _ in range(70):
            await saga.hear(saga.said(intent, Outcome.PAID, action=Action.INQUIRE))
    finally:
        await reopen(saga, closing)
    await saga.hear(saga.said(intent, Outcome.PAID, action=Action.INQUIRE))
    assert await saga.state(intent) == ("SETTLED", "moved", None)


@pytest.mark.parametrize("news", [Outcome.PAID, Outcome.REVERSED])
async def test_news_of_a_payment_whose_job_was_pruned_are_not_swallowed(saga: Saga, payee: str, news: Outcome) -> None:
    """A static code is paid, or a payment charged back, long after the reconciliation window: somebody hears of it."""
    intent = await saga.top_up(payee)
    await saga.hear(saga.said(intent, Outcome.PAID, psp="qp", amount_minor=500))
    reference = await saga.world.pool.fetchval("SELECT reference FROM pm.psp_reference WHERE intent_id = $1", intent)
    await saga.world.pool.execute("DELETE FROM pm.outbox_event WHERE intent_id = $1", intent)
    transaction = f"T-{intent}" if news is Outcome.REVERSED else f"LATE-{intent}"
    word = saga.said(
        None, news, psp="qp", source=Source.CALLBACK, action=None, reference=reference, callback_id="c",
        psp_transaction_id=transaction, amount_minor=500, currency="RUB",
    )  # fmt: skip
    await saga.hear(word)
    assert (await saga.world.row(intent))["next_poll_at"] is not None, "nobody asks, and nobody is told"


async def test_a_callback_never_replaces_what_the_psp_itself_called_the_payment(saga: Saga, payee: str) -> None:
    """It is a hint: an id out of it must not lead every later question astray."""
    intent = await saga.top_up(payee)
    reference = await saga.world.pool.fetchval("SELECT reference FROM pm.psp_reference WHERE intent_id = $1", intent)
    pending = saga.said(intent, Outcome.PENDING, psp="qp", reference=reference, psp_ids={"qrc_id": "RIGHT"})
    await saga.hear(pending)
    hint = saga.said(
        None, Outcome.PAID, psp="qp", source=Source.CALLBACK, action=None, reference=reference, callback_id="c",
        psp_ids={"qrc_id": "WRONG"},
    )  # fmt: skip
    await saga.hear(hint)
    ids = await saga.world.pool.fetchval("SELECT psp_ids::text FROM pm.psp_reference WHERE intent_id = $1", intent)
    assert json.loads(ids) == {"qrc_id": "RIGHT"}


async def test_every_id_that_was_told_in_one_batch_is_kept(saga: Saga, payee: str) -> None:
    """Two words about one reference, each with another id."""
    intent = await saga.top_up(payee)
    reference = await saga.world.pool.fetchval("SELECT reference FROM pm.psp_reference WHERE intent_id = $1", intent)
    await saga.hear(
        saga.said(intent, Outcome.PENDING, psp="qp", reference=reference, psp_ids={"qrc_id": "Q"}),
        saga.said(intent, Outcome.PENDING, psp="qp", reference=reference, psp_ids={"order": "O"}),
    )
    ids = await saga.world.pool.fetchval("SELECT psp_ids::text FROM pm.psp_reference WHERE intent_id = $1", intent)
    assert "qrc_id" in ids
    assert "order" in ids


async def test_the_age_of_a_job_is_not_measured_by_the_clock_of_whoever_wrote_it(saga: Saga, payer: str) -> None:
    """An orchestrator whose clock is ahead would make jobs that nobody can win a permit for: the server dates them."""
    intent = await saga.withdraw(payer)
    body = await saga.world.pool.fetchval("SELECT body FROM pm.outbox_event WHERE intent_id = $1", intent)
    assert abs(JobMessage.model_validate_json(body).created_ms - wall_ms()) < 60_000


async def withdrawal_cut_short(saga: Saga, payer: str) -> tuple[IntentId, Entry]:
    """A withdrawal that is planned and held, and whose orchestrator died before it wrote that down."""
    intent = new_id()
    operation = IppsWithdrawal(
        from_account=payer, amount_minor=300, currency="THB", proxy_type="MOBILE", proxy="k1:AAAA:BBBB"
    )
    delivered = intent_entry(message(operation), intent)
    with pytest.raises(OutcomeUnknown):
        await (await saga.world.intake(Deaf(saga.world.ledger)))([delivered])
    return intent, delivered


@pytest.mark.parametrize("by", ["redelivery", "resume"])
async def test_what_was_held_is_dispatched_although_its_psp_has_ceased_to_offer_the_operation(
    saga: Saga, payer: str, by: str
) -> None:
    """The stored plan is carried out whatever the manifest says by then: a hold never stays without its intent."""
    intent, delivered = await withdrawal_cut_short(saga, payer)
    rules = OperationRules("out", "THB", 100, 70_000_000)
    saga.world.channels.manifests = (replace(PAYOUTS, operations={"THAI_QR_PAY": rules}), TOPUPS)
    (verdict,) = await saga.world.handle(delivered if by == "redelivery" else resume_entry(intent))
    assert isinstance(verdict, Done)
    assert await saga.state(intent) == ("AUTHORIZED", "held", None)


@pytest.mark.parametrize("change", ["another channel", "another reference"])
async def test_redelivery_under_another_psp_or_form_of_reference_carries_the_stored_plan_out(
    saga: Saga, payer: str, change: str
) -> None:
    """Its reference at the first PSP stays the only one it has; what would be planned today matters to nobody."""
    intent, delivered = await withdrawal_cut_short(saga, payer)
    if change == "another channel":
        other = replace(PAYOUTS, psp="other", channel="OTHER")
        saga.world.channels.manifests = (PAYOUTS, other, TOPUPS)
        saga.world.channels.refusals["ipps"] = "breaker_open"
        await saga.world.pool.execute(
            "INSERT INTO pm.payment_route (operation_type, currency, channel) VALUES"
            " ('IPPS_WITHDRAWAL', 'THB', 'OTHER')"
        )
        await saga.world.pool.execute(
            "INSERT INTO pm.tb_account_map (name, id, ledger, opened_by)"
            " VALUES ('psp:other:THB', gen_random_uuid(), 764, 'test')"
        )
    else:
        longer = replace(PAYOUTS, reference=ReferenceFormat(PAYOUTS.reference.alphabet, 18))
        saga.world.channels.manifests = (longer, TOPUPS)
    (verdict,) = await saga.world.handle(delivered)
    assert isinstance(verdict, Done)
    assert await saga.state(intent) == ("AUTHORIZED", "held", None)
    plan = await saga.world.pool.fetchval("SELECT channel FROM pm.intent WHERE id = $1", intent)
    assert plan == "IPPS"


async def test_a_reversal_in_two_parts_is_taken_back_whole_or_told(saga: Saga, payer: str) -> None:
    """The second part must not vanish behind the first."""
    intent = await saga.withdraw(payer)
    await saga.hear(saga.said(intent, Outcome.PAID))
    part = {"psp_transaction_id": f"T-{intent}", "currency": "THB"}
    await saga.hear(saga.said(intent, Outcome.REVERSED, amount_minor=100, **part))
    await saga.hear(saga.said(intent, Outcome.REVERSED, amount_minor=300, **part))
    kinds = await saga.alerts() - {"reversed_after_settlement"}
    assert await saga.booked(payer) == (1000, 0) or kinds, "200 are back at the PSP, and nobody knows"


async def test_a_hold_that_was_voided_although_the_psp_paid_is_booked_against_suspense(saga: Saga, payer: str) -> None:
    """Voided behind everybody's back: our account at the PSP says what the PSP says."""
    intent = await saga.withdraw(payer)
    before = await deltas(saga, "psp:ipps:THB")
    await resolve_by_hand(saga, intent, tb.TransferFlags.VOID_PENDING_TRANSFER)
    for _ in range(2):
        await saga.hear(saga.said(intent, Outcome.PAID))
    assert (await saga.state(intent))[0] == "FAILED"
    assert "voided_though_paid" in await saga.alerts()
    assert (await deltas(saga, "psp:ipps:THB"))["psp:ipps:THB"] - before["psp:ipps:THB"] == 300


async def test_nothing_is_handed_back_for_ever(saga: Saga, payer: str) -> None:
    """A word that contradicts a post the ledger refuses is dealt with, not handed round."""
    intent = await saga.withdraw(payer)
    closing = await close(saga, "psp:ipps:THB")
    try:
        await saga.hear(saga.said(intent, Outcome.PAID))
        (verdict,) = await saga.hear(saga.said(intent, Outcome.DECLINED, code="over_limit", final=True))
    finally:
        await reopen(saga, closing)
    assert not isinstance(verdict, HandBack)


async def test_a_hold_that_was_voided_by_hand_is_told_of_when_the_psp_has_paid(saga: Saga, payer: str) -> None:
    """The state follows the ledger, and somebody looks."""
    intent = await saga.withdraw(payer)
    await resolve_by_hand(saga, intent, tb.TransferFlags.VOID_PENDING_TRANSFER)
    await saga.hear(saga.said(intent, Outcome.PAID))
    assert await saga.state(intent) == ("FAILED", "none", "hold_already_voided")
    assert "voided_though_paid" in await saga.alerts()
    assert await saga.booked(payer) == (1000, 0)
    assert await saga.held(payer) == 0


async def test_a_hold_that_was_posted_by_hand_is_settled_whatever_the_psp_says(saga: Saga, payer: str) -> None:
    """Declined and posted: the money is gone, the read model says so, and somebody looks."""
    intent = await saga.withdraw(payer)
    await resolve_by_hand(saga, intent, tb.TransferFlags.POST_PENDING_TRANSFER)
    await saga.hear(saga.said(intent, Outcome.DECLINED, code="over_limit", final=True))
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert "posted_though_to_be_voided" in await saga.alerts()
    assert await saga.booked(payer) == (700, 0)
    assert (await saga.world.database_balance(payer), await saga.held(payer)) == (700, 0)


async def test_a_top_up_that_its_psp_never_hears_of_is_told_of_or_ends(saga: Saga, payee: str) -> None:
    """Its job can be submitted no more, and the PSP does not know it: somebody must learn that it stands there."""
    intent = await saga.top_up(payee)
    for action in (Action.SUBMIT, Action.INQUIRE, Action.INQUIRE):
        await saga.hear(saga.said(intent, Outcome.NOT_FOUND, psp="qp", action=action, code="not_found"))
    assert (await saga.state(intent))[0] != "AUTHORIZED" or await saga.alerts()
