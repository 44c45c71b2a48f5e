"""Results that need no happy path: malformed, unmatched, contradictory; and references."""

import pytest

from orchestrator.references import reference_for
from shared.contracts import Outcome, Source
from shared.operations import IppsWithdrawal
from shared.streams.verdicts import DeadLetter, Done, Entry
from tests.integration.orchestrator.saga import Saga, deltas
from tests.integration.orchestrator.world import intent_entry, message, new_id

pytestmark = pytest.mark.asyncio


async def test_words_about_nothing_known_are_kept_and_told(saga: Saga) -> None:
    """A payment for a reference or an intent that nobody here has heard of is somebody's money."""
    stranger = new_id()
    verdicts = await saga.hear(
        saga.said(stranger, Outcome.PAID),
        saga.said(None, Outcome.PAID, source=Source.CALLBACK, action=None, reference="NOBODY", callback_id="c"),
    )
    assert all(isinstance(verdict, Done) for verdict in verdicts)
    assert "unmatched_result" in await saga.alerts()
    assert await saga.world.pool.fetchval("SELECT count(*) FROM pm.psp_result WHERE intent_id = $1", stranger) == 1


async def test_malformed_results_are_dead_lettered_and_the_rest_goes_on(saga: Saga, payer: str) -> None:
    """Another PSP's word in this stream is malformed too."""
    intent = await saga.withdraw(payer)
    broken = saga.entry(saga.said(intent, Outcome.PAID))
    broken.fields[b"body"] = b"{"
    foreign = Entry("results.{ipps}", b"1-1", saga.entry(saga.said(intent, Outcome.PAID, psp="qp")).fields, 1)
    verdicts = await saga.hear(broken, foreign, saga.said(intent, Outcome.PAID))
    assert [type(verdict) for verdict in verdicts] == [DeadLetter, DeadLetter, Done]
    assert (await saga.state(intent))[0] == "SETTLED"


async def test_one_transaction_of_a_psp_never_settles_two_intents(saga: Saga, payer: str) -> None:
    """An idempotent PSP that answers another's payment must not be believed."""
    first, second, over = [await saga.withdraw(payer) for _ in range(3)]
    await saga.hear(saga.said(over, Outcome.DECLINED, code="over_limit", final=True))
    await saga.hear(saga.said(first, Outcome.PAID, psp_transaction_id=f"SAME-{first}"))
    before = await deltas(saga, "suspense:ipps:THB", "psp:ipps:THB")
    await saga.hear(
        saga.said(second, Outcome.PAID, psp_transaction_id=f"SAME-{first}"),
        saga.said(over, Outcome.PAID, psp_transaction_id=f"SAME-{first}"),
    )
    assert (await saga.state(first))[0] == "SETTLED"
    assert await saga.state(second) == ("AUTHORIZED", "held", None)
    assert await saga.children(over) == []
    assert await deltas(saga, "suspense:ipps:THB", "psp:ipps:THB") == before, "the transaction is booked already"
    assert "payment_of_two_intents" in await saga.alerts()


async def test_a_reference_of_another_intent_is_never_shared(saga: Saga, payer: str) -> None:
    """References are short; two intents that hash to one must not meet at the PSP."""
    intent = new_id()
    taken = reference_for(intent, 1, saga.world.channels.manifests[0].reference)
    await saga.world.pool.execute(
        "INSERT INTO pm.psp_reference (psp, reference, intent_id, attempt) VALUES ('ipps', $1, $2, 1)", taken, new_id()
    )
    operation = IppsWithdrawal(
        from_account=payer, amount_minor=5_00, currency="THB", proxy_type="MOBILE", proxy="k1:AAAA:BBBB"
    )
    await saga.world.handle(intent_entry(message(operation), intent))
    assert await saga.state(intent) == ("REJECTED", "none", "reference_collision")
    assert await saga.booked(payer) == (1000, 0)


@pytest.mark.parametrize("why", ["paused", "breaker_open", "outbox_full"])
async def test_nothing_is_held_for_a_psp_that_takes_nothing_on(saga: Saga, payer: str, why: str) -> None:
    """Already accepted: REJECTED before funds are held, unless the route has another channel."""
    saga.world.channels.refusals["ipps"] = why
    intent = await saga.withdraw(payer)
    assert await saga.state(intent) == ("REJECTED", "none", "psp_unavailable")
    assert await saga.booked(payer) == (1000, 0)


async def test_more_than_planned_is_paid_though_a_void_stands_and_all_of_it_goes_to_suspense(
    saga: Saga, payer: str
) -> None:
    """The decline was stored and not yet carried out: the payment is heard again by what the void leaves."""
    intent = await saga.withdraw(payer)
    before = await deltas(saga, "suspense:ipps:THB", "psp:ipps:THB")
    await saga.world.pool.execute(
        "INSERT INTO pm.resolution (intent_id, attempt, kind, state, code, psp, evidence, ledger_attempt)"
        " VALUES ($1, 1, 'void', 'FAILED', 'over_limit', 'ipps', '{}', 1)",
        intent,
    )
    await saga.hear(saga.said(intent, Outcome.PAID, amount_minor=330))
    assert await saga.state(intent) == ("FAILED", "none", "over_limit")
    assert await saga.children(intent) == [("SUSPENSE", "SETTLED", 330)]
    after = await deltas(saga, "suspense:ipps:THB", "psp:ipps:THB")
    assert {name: after[name] - before[name] for name in after} == {"suspense:ipps:THB": -330, "psp:ipps:THB": 330}
    assert await saga.booked(payer) == (1000, 0)
