"""What PSPs say, carried through the database and both ledgers: posted, voided, credited, kept in suspense."""

import asyncio
import itertools
import json
import time
from typing import Any
from uuid import UUID

import pytest
import tigerbeetle as tb
from prometheus_client import CollectorRegistry

from orchestrator.metrics import ResultMetrics
from orchestrator.references import reference_for
from orchestrator.results import Results
from shared.accounts import parse_account
from shared.clock import new_intent_id
from shared.contracts import (
    Action,
    IppsWithdrawal,
    JobMessage,
    Kind,
    NextAction,
    Outcome,
    P2PTransfer,
    QpTopup,
    ResultMessage,
    Source,
    read_envelope,
    read_job,
    result_envelope,
)
from shared.ids import IntentId, account_id
from shared.ledger.accounts import ledger_account
from shared.ledger.port import Ledger
from shared.streams.verdicts import DeadLetter, Done, Entry, Verdict
from tests.integration.orchestrator.world import World, intent_entry, message, new_id

pytestmark = pytest.mark.asyncio

_serial = itertools.count(1)


class Saga:
    """A world with PSPs: intents that were dispatched, and results of them."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def prepare(self) -> None:
        """Open the PSPs' accounts and route to them."""
        names = [f"{kind}:{psp}:{ccy}" for kind in ("psp", "suspense") for psp, ccy in (("ipps", "THB"), ("qp", "RUB"))]
        names += ["transit:RUB", "equity:RUB", "transit:THB", "equity:THB"]
        await self.world.ledger.create_accounts([ledger_account(parse_account(name)) for name in names])
        await self.world.pool.executemany(
            "INSERT INTO pm.tb_account_map (name, id, ledger, opened_by) VALUES ($1, $2, $3, 'test')"
            " ON CONFLICT DO NOTHING",
            [(name, UUID(int=account_id(name)), parse_account(name).currency.number) for name in names],
        )
        await self.world.pool.execute(
            "INSERT INTO pm.payment_route (operation_type, currency, channel) VALUES"
            " ('IPPS_WITHDRAWAL', 'THB', 'IPPS'), ('QP_TOPUP', 'RUB', 'QP')"
        )

    async def withdraw(self, payer: str, amount_minor: int = 300) -> IntentId:
        """An accepted withdrawal, carried as far as it goes without a PSP."""
        intent = new_id()
        operation = IppsWithdrawal(
            from_account=payer, amount_minor=amount_minor, currency="THB", proxy_type="MOBILE", proxy="k1:AAAA:BBBB"
        )
        await self.world.handle(intent_entry(message(operation), intent))
        return intent

    async def top_up(self, payee: str, amount_minor: int = 500) -> IntentId:
        """An accepted top-up."""
        intent = new_id()
        operation = QpTopup(to_account=payee, amount_minor=amount_minor, currency="RUB")
        await self.world.handle(intent_entry(message(operation), intent))
        return intent

    async def hear(self, *said: ResultMessage | Entry, ledger: Ledger | None = None) -> list[Verdict]:
        """Carry words of one PSP through a handler that remembers nothing."""
        entries = [one if isinstance(one, Entry) else self.entry(one) for one in said]
        psp = entries[0].stream.partition("{")[2].rstrip("}")
        results = Results(
            psp=psp,
            pool=self.world.pool,
            ledger=ledger or self.world.ledger,
            carry_out=self.world.carry_out(ledger),
            manifest=self.world.channels.manifest,
            new_id=new_intent_id,
            metrics=ResultMetrics(CollectorRegistry()),
        )
        return await results(entries)

    def entry(self, said: ResultMessage) -> Entry:
        """The stream entry of a word."""
        heard = said.source is Source.CALLBACK
        fields = result_envelope(said, kind=Kind.OBSERVATION if heard else Kind.RESULT).fields()
        return Entry(f"results.{{{said.psp}}}", b"%d-%d" % (time.time_ns() // 1000, next(_serial)), fields, 1)

    def said(self, intent: IntentId | None, outcome: Outcome, *, psp: str = "ipps", **more: Any) -> ResultMessage:
        """A word of the PSP."""
        ccy = {"ipps": "THB", "qp": "RUB"}[psp]
        paid = {"psp_transaction_id": f"T-{intent}", "amount_minor": 300, "currency": ccy}
        fields: dict[str, Any] = {
            "psp": psp,
            "intent_id": None if intent is None else str(intent),
            "attempt": 0 if intent is None else 1,
            "action": Action.SUBMIT,
            "source": Source.JOB,
            "outcome": outcome,
            "at_ms": 1,
        }
        return ResultMessage.model_validate(fields | (paid if outcome is Outcome.PAID else {}) | more)

    async def state(self, intent: UUID) -> tuple[object, object, object]:
        """State, funds and error of an intent."""
        row = await self.world.row(intent)
        return row["state"], row["funds"], row["error_code"]

    async def children(self, intent: UUID) -> list[tuple[str, str, int]]:
        """Type, state and amount of its children."""
        rows = await self.world.pool.fetch(
            "SELECT operation_type, state, amount_minor FROM pm.intent WHERE parent_id = $1 ORDER BY id", intent
        )
        return [(row["operation_type"], row["state"], row["amount_minor"]) for row in rows]

    async def alerts(self) -> set[str]:
        """The kinds of alerts that were raised."""
        rows = await self.world.pool.fetch("SELECT kind FROM pm.reconciliation_alert")
        return {row["kind"] for row in rows}

    async def booked(self, name: str) -> tuple[int, int]:
        """What the ledger says of an account: posted balance, and what is pending on it."""
        (account,) = await self.world.ledger.lookup_accounts([account_id(name)])
        return (
            account.credits_posted - account.debits_posted,
            account.credits_pending - account.debits_pending,
        )

    async def held(self, name: str) -> int:
        """What the read model says is held of a wallet."""
        held = await self.world.pool.fetchval(
            "SELECT held FROM pm.account_balance WHERE account_id = $1", UUID(int=account_id(name))
        )
        return int(held or 0)


@pytest.fixture
async def saga(world: World) -> Saga:
    """PSPs over real stores, on each ledger."""
    made = Saga(world)
    await made.prepare()
    return made


@pytest.fixture
async def payer(saga: Saga) -> str:
    """A wallet with 1,000 satang."""
    name = saga.world.wallet("payer")
    await saga.world.fund({name: 1000})
    return name


@pytest.fixture
async def payee(saga: Saga) -> str:
    """An empty rouble wallet."""
    name = f"user:payee-{saga.world.tag}:RUB"
    await saga.world.fund({name: 0})
    return name


async def deltas(saga: Saga, *names: str) -> dict[str, int]:
    """Posted balances, to compare later: the accounts of PSPs are shared by all tests."""
    return {name: (await saga.booked(name))[0] for name in names}


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
    """Found by our reference; the inquiry repeats the job as it was submitted."""
    intent = await saga.withdraw(payer)
    reference = await saga.world.pool.fetchval("SELECT reference FROM pm.psp_reference WHERE intent_id = $1", intent)
    word = saga.said(
        None, Outcome.PAID, source=Source.CALLBACK, reference=reference, action=None, callback_id="c1",
        psp_ids={"txn_no": "N7"},
    )  # fmt: skip
    (verdict,) = await saga.hear(word)
    assert isinstance(verdict, Done)
    ((stream, fields),) = verdict.append
    job = read_job(read_envelope(fields))
    assert (stream, job.action, job.intent_id, job.reference) == ("jobs.{ipps}", Action.INQUIRE, str(intent), reference)
    assert await saga.state(intent) == ("AUTHORIZED", "held", None)
    assert await saga.booked(payer) == (1000, -300)
    ids = await saga.world.pool.fetchval("SELECT psp_ids FROM pm.psp_reference WHERE intent_id = $1", intent)
    assert json.loads(ids) == {"txn_no": "N7"}
    kept = await saga.world.pool.fetch("SELECT source, outcome FROM pm.psp_result WHERE intent_id = $1", intent)
    assert [tuple(row) for row in kept] == [("callback", "PAID")]


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
    first, second = await saga.withdraw(payer), await saga.withdraw(payer)
    await saga.hear(saga.said(first, Outcome.PAID, psp_transaction_id=f"SAME-{first}"))
    await saga.hear(saga.said(second, Outcome.PAID, psp_transaction_id=f"SAME-{first}"))
    assert (await saga.state(first))[0] == "SETTLED"
    assert await saga.state(second) == ("AUTHORIZED", "held", None)
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


def p2p_rub(payer: str, payee: str, amount_minor: int) -> P2PTransfer:
    """A transfer in roubles."""
    return P2PTransfer(from_account=payer, to_account=payee, amount_minor=amount_minor, currency="RUB")


async def close(saga: Saga, name: str) -> tb.Transfer:
    """Close an account in the ledger, behind everybody's back; return the pending transfer that did."""
    account = parse_account(name)
    transfer = tb.Transfer(
        id=tb.id(),
        debit_account_id=account.id,
        credit_account_id=account_id(f"equity:{account.currency.code}"),
        amount=0,
        ledger=account.currency.number,
        code=1,
        flags=tb.TransferFlags.PENDING | tb.TransferFlags.CLOSING_DEBIT,
    )
    (result,) = await saga.world.ledger.create_transfers([transfer])
    assert result.status is tb.CreateTransferStatus.CREATED
    return transfer


async def reopen(saga: Saga, closing: tb.Transfer) -> None:
    """Void the transfer that closed an account."""
    void = tb.Transfer(id=tb.id(), pending_id=closing.id, flags=tb.TransferFlags.VOID_PENDING_TRANSFER, amount=0)
    (result,) = await saga.world.ledger.create_transfers([void])
    assert result.status is tb.CreateTransferStatus.CREATED
