"""Two orchestrators on one intent, answers that get lost, keys that were forgotten: money still moves once."""

import asyncio
from uuid import UUID

import pytest

from orchestrator.plan import plan_operation
from orchestrator.records import read_intents
from shared.errors import InvariantViolation, OutcomeUnknown
from shared.ids import ATTEMPT_MAX, LEG_MAX, IntentId, Phase, intent_id, transfer_id
from shared.ledger.chain import build_chain
from shared.ledger.outcome import ChainOutcome
from shared.ledger.submit import burn_attempt
from shared.plans import Leg
from shared.rules.book import RuleBook
from shared.rules.calendar import BusinessCalendar
from shared.rules.refusals import Refusal
from shared.rules.routes import Route
from shared.streams.verdicts import Done, HandBack
from tests.channels import FixedChannels
from tests.integration.orchestrator.paused import Deaf, Paused, Wrapped
from tests.integration.orchestrator.world import World, intent_entry, message, new_id, p2p, resume_entry


@pytest.mark.parametrize("after_move", [False, True], ids=["before-ledger", "after-ledger"])
async def test_orchestrator_that_wakes_late_records_nothing_twice(world: World, *, after_move: bool) -> None:
    """Paused around its move while another settles the intent, the first finds the decision made and leaves it."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    intent = new_id()
    delivered = intent_entry(message(p2p(a, b, 300)), intent)
    paused = Paused(world.ledger, after_move=after_move)
    sleeper = asyncio.create_task((await world.intake(paused))([delivered]))
    await asyncio.wait_for(paused.reached.wait(), 10)
    (other,) = await world.handle(delivered)
    assert isinstance(other, Done)
    paused.resume.set()
    (late,) = await asyncio.wait_for(sleeper, 10)
    assert isinstance(late, Done)
    assert (await world.row(intent))["version"] == 3
    assert await world.ledger_balance(b) == await world.database_balance(b) == 300
    assert await world.ledger_balance(a) == await world.database_balance(a) == 700
    counts = await world.pool.fetchrow(
        "SELECT (SELECT count(*) FROM pm.tx_history WHERE intent_id = $1) AS legs,"
        " (SELECT count(*) FROM pm.intent_event WHERE intent_id = $1) AS events",
        intent,
    )
    assert counts is not None
    assert tuple(counts) == (2, 3)


async def test_planned_intent_whose_owner_sleeps_is_resumed_not_failed(world: World) -> None:
    """Absence of transfers proves nothing: a resume resubmits the stored plan; the sleeper then finds it done."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    intent = new_id()
    paused = Paused(world.ledger, after_move=False)
    sleeper = asyncio.create_task((await world.intake(paused))([intent_entry(message(p2p(a, b, 300)), intent)]))
    await asyncio.wait_for(paused.reached.wait(), 10)
    assert (await world.row(intent))["state"] == "VALIDATED"
    await world.handle(resume_entry(intent))
    assert (await world.row(intent))["state"] == "SETTLED"
    paused.resume.set()
    await asyncio.wait_for(sleeper, 10)
    assert await world.ledger_balance(b) == await world.database_balance(b) == 300


async def test_abandoned_attempt_is_burned_so_a_late_chain_moves_nothing(world: World) -> None:
    """An attempt given up by burning stays dead when its owner wakes; one that had committed cannot be burned."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    dead, alive = new_id(), new_id()
    paused = Paused(world.ledger, after_move=False)
    sleeper = asyncio.create_task((await world.intake(paused))([intent_entry(message(p2p(a, b, 300)), dead)]))
    await asyncio.wait_for(paused.reached.wait(), 10)
    legs = await _stored_legs(world, dead)
    assert await burn_attempt(world.ledger, build_chain(dead, 1, Phase.MOVE, legs)[0]) is ChainOutcome.BURNED
    paused.resume.set()
    await asyncio.wait_for(sleeper, 10)
    row = await world.row(dead)
    assert (row["state"], row["error_code"]) == ("REJECTED", "attempt_burned")
    await world.handle(intent_entry(message(p2p(a, b, 300)), alive))
    assert await burn_attempt(world.ledger, build_chain(alive, 1, Phase.MOVE, legs)[0]) is ChainOutcome.HAD_COMMITTED
    assert await world.ledger_balance(b) == await world.database_balance(b) == 300


async def _stored_legs(world: World, intent: IntentId) -> tuple[Leg, ...]:
    stored, _, _ = (await read_intents(world.pool, [intent]))[intent]
    assert stored.plan is not None
    return stored.plan.legs


async def test_redelivery_under_changed_routes_submits_the_stored_plan(world: World) -> None:
    """What was planned is carried out byte for byte, whatever the configuration says by then."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    intent = new_id()
    delivered = intent_entry(message(p2p(a, b, 300)), intent)
    deaf = Deaf(world.ledger)
    with pytest.raises(OutcomeUnknown):
        await (await world.intake(deaf))([delivered])
    await world.pool.execute("UPDATE pm.payment_route SET active = false, version = version + 1")
    again = Wrapped(world.ledger)
    (verdict,) = await (await world.intake(again))([delivered])
    assert isinstance(verdict, Done)
    assert again.submitted[0] == deaf.submitted[0]
    row = await world.row(intent)
    assert (row["state"], row["channel"]) == ("SETTLED", "INTERNAL_P2P")
    assert await world.ledger_balance(b) == await world.database_balance(b) == 300


async def test_refusal_whose_reason_was_lost_is_still_a_refusal(world: World) -> None:
    """The ledger names the reason once; after a crash the intent says that it was refused, and nothing moves."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 10, b: 0})
    intent = new_id()
    delivered = intent_entry(message(p2p(a, b, 300)), intent)
    with pytest.raises(OutcomeUnknown):
        await (await world.intake(Deaf(world.ledger)))([delivered])
    await world.fund({a: 1000})
    await world.handle(delivered)
    row = await world.row(intent)
    assert (row["state"], row["error_code"], row["funds"]) == ("REJECTED", "attempt_burned", "none")
    assert await world.ledger_balance(b) == 0


async def test_forgotten_key_makes_an_alias_not_a_second_payment(world: World) -> None:
    """Where Redis forgot the key, the second intent becomes another name of the first; a changed request is refused."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    first, retry, rotated, changed, elsewhere = (new_id() for _ in range(5))
    original = message(p2p(a, b, 300), key="order-1", fingerprint="k2:aa")
    await world.handle(intent_entry(original, first))
    await world.handle(
        intent_entry(original, retry),
        intent_entry(original.model_copy(update={"fingerprints": ("k3:cc",)}), rotated),
        intent_entry(message(p2p(a, b, 301), key="order-1", fingerprint="k2:bb"), changed),
        intent_entry(original.model_copy(update={"service_key": "other"}), elsewhere),
    )
    for alias in (retry, rotated):
        row = await world.row(alias)
        assert (row["state"], row["alias_of"]) == ("DUPLICATE", first)
    row = await world.row(changed)
    assert (row["state"], row["error_code"]) == ("REJECTED", "idempotency_key_reused")
    assert (await world.row(elsewhere))["state"] == "SETTLED"
    assert await world.ledger_balance(b) == await world.database_balance(b) == 600


async def test_twins_of_one_key_in_one_batch_move_money_once(world: World) -> None:
    """Two intents with one key that arrive together: the elder settles, the other is its alias."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    elder, younger = new_id(), new_id()
    twin = message(p2p(a, b, 300), key="order-2")
    await world.handle(intent_entry(twin, younger), intent_entry(twin, elder))
    assert (await world.row(elder))["state"] == "SETTLED"
    assert (await world.row(younger))["alias_of"] == elder
    assert await world.ledger_balance(b) == 300


async def test_concurrent_twins_in_many_orchestrators_move_money_once(world: World) -> None:
    """Eight orchestrators, each with its own intent of the same key, agree on one payment."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 10_000, b: 0})
    twin = message(p2p(a, b, 300), key="order-3")
    ids = [new_id() for _ in range(8)]
    intakes = [await world.intake() for _ in ids]
    await asyncio.gather(*(intake([intent_entry(twin, intent)]) for intake, intent in zip(intakes, ids, strict=True)))
    rows = [await world.row(intent) for intent in ids]
    settled = [row for row in rows if row["state"] == "SETTLED"]
    assert len(settled) == 1
    assert {row["alias_of"] for row in rows if row["state"] == "DUPLICATE"} == {settled[0]["id"]}
    assert len([row for row in rows if row["state"] == "DUPLICATE"]) == 7
    assert await world.ledger_balance(b) == await world.database_balance(b) == 300


async def test_plans_are_read_in_a_statement_of_their_own_when_inserts_race(world: World) -> None:
    """Many orchestrators insert the same intents at once: each finds a plan, none finds nothing, each moves once."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 10_000, b: 0})
    for _ in range(5):
        ids = [new_id() for _ in range(20)]
        batch = [intent_entry(message(p2p(a, b, 1)), intent) for intent in ids]
        intakes = [await world.intake() for _ in range(6)]
        answers = await asyncio.gather(*(intake(batch) for intake in intakes))
        assert all(isinstance(verdict, Done | HandBack) for answer in answers for verdict in answer)
        assert {(await world.row(intent))["state"] for intent in ids} == {"SETTLED"}
    assert await world.ledger_balance(b) == await world.database_balance(b) == 100


async def test_balances_stay_true_under_concurrent_batches_of_the_same_wallets(world: World) -> None:
    """Batches that cross the same wallets in opposite order neither deadlock nor overwrite each other's deltas."""
    names = [world.wallet(f"w{index}") for index in range(6)]
    await world.fund(dict.fromkeys(names, 10_000))

    async def batch(offset: int) -> None:
        intake = await world.intake()
        step = 1 if offset % 2 else -1
        for turn in range(4):
            pairs = [(names[(i * step) % 6], names[(i * step + offset + 1) % 6]) for i in range(40)]
            entries = [intent_entry(message(p2p(x, y, 1 + turn))) for x, y in pairs if x != y]
            await intake(entries)

    await asyncio.gather(*(batch(offset) for offset in range(6)))
    held = [await world.ledger_balance(name) for name in names]
    assert held == [await world.database_balance(name) for name in names]
    assert sum(held) == 60_000
    open_left = await world.pool.fetchval("SELECT count(*) FROM pm.intent WHERE state = 'VALIDATED'")
    assert open_left == 0


async def test_one_wallet_cannot_be_spent_twice_at_once(world: World) -> None:
    """Ten orchestrators each try to spend the whole balance: one succeeds."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    ids = [new_id() for _ in range(10)]
    intakes = [await world.intake() for _ in ids]
    await asyncio.gather(
        *(intake([intent_entry(message(p2p(a, b, 1000)), intent)]) for intake, intent in zip(intakes, ids, strict=True))
    )
    states = sorted([str((await world.row(intent))["state"]) for intent in ids])
    assert states == ["REJECTED"] * 9 + ["SETTLED"]
    assert await world.ledger_balance(a) == await world.database_balance(a) == 0


async def test_id_of_a_month_without_a_partition_fails_no_batch(world: World) -> None:
    """An id years ahead, which the door would refuse, lands in the default partition; its neighbours settle."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    far = intent_id(4_000_000_000_000_000, 0, 1)
    near = new_id()
    await world.handle(intent_entry(message(p2p(a, b, 1)), far), intent_entry(message(p2p(a, b, 2)), near))
    assert (await world.row(far))["state"] == (await world.row(near))["state"] == "SETTLED"
    place = await world.pool.fetchval("SELECT tableoid::regclass::text FROM pm.intent WHERE id = $1", far)
    assert place == "pm.intent_default"


def test_plans_and_attempts_beyond_their_bits_are_refused_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leg or attempt that would overflow into another's ids is refused before it has an id."""
    monkeypatch.setattr("orchestrator.plan.LEGS_PER_PLAN_MAX", 1)
    refusal = plan_operation(
        message(p2p("user:a:THB", "user:b:THB", 1)),
        intent=new_id(),
        book=RuleBook(
            calendar=BusinessCalendar("UTC"), routes=[Route(1, 1, "P2P_TRANSFER", None, 1, 1, "INTERNAL_P2P")]
        ),
        is_open=lambda _: True,
        channels=FixedChannels(),
    )
    assert isinstance(refusal, Refusal)
    assert refusal.code == "plan_too_long"
    for attempt, leg in ((ATTEMPT_MAX + 1, 0), (0, 0), (1, LEG_MAX + 1)):
        with pytest.raises(InvariantViolation):
            transfer_id(new_id(), attempt=attempt, phase=Phase.MOVE, leg=leg)


async def test_contradiction_between_books_and_log_stops_everything(world: World) -> None:
    """An intent somebody marked REJECTED although its chain moved is never papered over."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    intent = new_id()
    paused = Paused(world.ledger, after_move=True)
    sleeper = asyncio.create_task((await world.intake(paused))([intent_entry(message(p2p(a, b, 300)), intent)]))
    await asyncio.wait_for(paused.reached.wait(), 10)
    await world.pool.execute(
        "UPDATE pm.intent SET state = 'REJECTED', error_code = 'forged', version = 2 WHERE id = $1", intent
    )
    paused.resume.set()
    with pytest.raises(InvariantViolation, match="its chain says SETTLED"):
        await asyncio.wait_for(sleeper, 10)


async def test_stored_plan_of_the_current_attempt_is_the_one_carried_out(world: World) -> None:
    """After an attempt was burned and a new one stored, a redelivery moves money under the new attempt's ids only."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    intent = new_id()
    delivered = intent_entry(message(p2p(a, b, 300)), intent)
    paused = Paused(world.ledger, after_move=False)
    sleeper = asyncio.create_task((await world.intake(paused))([delivered]))
    await asyncio.wait_for(paused.reached.wait(), 10)
    first = build_chain(intent, 1, Phase.MOVE, await _stored_legs(world, intent))[0]
    assert await burn_attempt(world.ledger, first) is ChainOutcome.BURNED
    await world.pool.execute(
        "INSERT INTO pm.intent_attempt (intent_id, attempt, plan)"
        " SELECT intent_id, 2, plan FROM pm.intent_attempt WHERE intent_id = $1",
        intent,
    )
    await world.pool.execute("UPDATE pm.intent SET attempt = 2, version = 2 WHERE id = $1", intent)
    paused.resume.set()
    (late,) = await asyncio.wait_for(sleeper, 10)
    assert isinstance(late, HandBack)
    (verdict,) = await world.handle(delivered)
    assert isinstance(verdict, Done)
    moved = await world.pool.fetch("SELECT transfer_id FROM pm.tx_history WHERE intent_id = $1", intent)
    assert {row["transfer_id"] for row in moved} == {
        UUID(int=transfer_id(intent, attempt=2, phase=Phase.MOVE, leg=leg)) for leg in range(2)
    }
    assert await world.ledger_balance(b) == await world.database_balance(b) == 300
