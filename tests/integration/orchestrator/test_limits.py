"""Limits in the ledger: no cap is exceeded by one unit, whatever races, and what comes to nothing has used nothing."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import pytest

from shared.contracts import Outcome
from shared.errors import OutcomeUnknown
from shared.ids import IntentId, intent_id, unix_ms_of
from shared.ledger.limits import id_of_limit, used_of
from tests.integration.orchestrator.paused import Deaf
from tests.integration.orchestrator.ruled import fee, limit
from tests.integration.orchestrator.saga import Saga
from tests.integration.orchestrator.world import World, intent_entry, message, new_id, p2p

pytestmark = pytest.mark.asyncio
P2P, OUT, IN = "P2P_TRANSFER", "IPPS_WITHDRAWAL", "QP_TOPUP"


def today(intent: UUID) -> str:
    """The business day of an intent, in UTC."""
    return datetime.fromtimestamp(unix_ms_of(IntentId(intent)) / 1000, UTC).strftime("%Y-%m-%d")


async def used(world: World, wallet: str, rule: str, intent: UUID, measure: str = "amount") -> int:
    """What the ledger says was used of a daily allowance; the read model must say the same."""
    holder, _, ccy = wallet.rpartition(":")
    name = f"limit:{holder}:{ccy}:{rule}:{measure}:{today(intent)}"
    row = await world.pool.fetchrow("SELECT * FROM pm.limit_usage WHERE account_id = $1", UUID(int=id_of_limit(name)))
    accounts = await world.ledger.lookup_accounts([id_of_limit(name)])
    booked = used_of(accounts[0]) if accounts else 0
    assert booked == (int(row["used"] + row["reserved"]) if row is not None else 0)
    return booked


async def pay(world: World, payer: str, payee: str, *amounts: int) -> list[IntentId]:
    """Several payments in one batch."""
    intents = [new_id() for _ in amounts]
    entries = [
        intent_entry(message(p2p(payer, payee, amount)), one) for amount, one in zip(amounts, intents, strict=True)
    ]
    await world.handle(*entries)
    return intents


async def states(world: World, intents: list[IntentId]) -> Counter[object]:
    """How many are in which state."""
    return Counter([(await world.row(intent))["state"] for intent in intents])


async def test_the_cap_is_reached_to_the_unit_and_never_passed(world: World) -> None:
    """Sixty and forty of a hundred pass; one more does not; fees count for nothing."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    rule = f"day-{world.tag}"
    await limit(world.pool, rule, P2P, "THB", daily_max_minor=100)
    await fee(world.pool, f"pre-{world.tag}", P2P, "THB", fixed_minor=1)
    intents = await pay(world, a, b, 60, 40)
    assert await states(world, intents) == {"SETTLED": 2}
    (refused,) = await pay(world, a, b, 1)
    row = await world.row(refused)
    assert (row["state"], row["error_code"]) == ("REJECTED", "limit_exceeded")
    told = json.loads(str(row["error_data"]))["limit"]
    assert (told["rule"], told["cap"], told["left"], told["measure"]) == (rule, 100, 0, "amount")
    assert told["resets_at"].endswith("T00:00:00Z")
    assert f"limit {rule}: 1.00 THB may be used in {today(refused)}, 0.00 THB is left" in str(row["error_detail"])
    assert await used(world, a, rule, refused) == 100
    assert await world.ledger_balance(a) == await world.database_balance(a) == 1000 - 102


async def test_what_is_left_is_told_and_can_be_used(world: World) -> None:
    """A refusal uses nothing, and says truly how much would still go."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    await limit(world.pool, f"day-{world.tag}", P2P, "THB", daily_max_minor=100)
    first, refused = await pay(world, a, b, 70, 31)
    assert (await world.row(first))["state"] == "SETTLED"
    assert json.loads(str((await world.row(refused))["error_data"]))["limit"]["left"] == 30
    (last,) = await pay(world, a, b, 30)
    assert (await world.row(last))["state"] == "SETTLED"


async def test_every_kind_of_cap_refuses_by_itself(world: World) -> None:
    """At once, a day's count, a month's amount and count; each tells its own name and period."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    pool, tag = world.pool, world.tag
    await limit(pool, f"once-{tag}", P2P, "THB", transaction_max_minor=50)
    await limit(pool, f"count-{tag}", P2P, "THB", daily_max_count=2)
    await limit(pool, f"month-{tag}", P2P, "THB", monthly_max_minor=90, monthly_max_count=5)
    intents = await pay(world, a, b, 51, 40, 40, 5)
    rows = [await world.row(intent) for intent in intents]
    told = [json.loads(str(row["error_data"]))["limit"] if row["error_data"] else None for row in rows]
    assert [row["state"] for row in rows] == ["REJECTED", "SETTLED", "SETTLED", "REJECTED"]
    assert told[0] is not None
    assert (told[0]["rule"], told[0]["period"], told[0]["resets_at"]) == (f"once-{tag}", "transaction", None)
    assert told[3] is not None
    assert (told[3]["rule"], told[3]["measure"], told[3]["cap"], told[3]["left"]) == (f"count-{tag}", "count", 2, 0)
    await limit(pool, f"count-{tag}", P2P, "THB", daily_max_count=9)
    (beyond,) = await pay(world, a, b, 11)
    limited = json.loads(str((await world.row(beyond))["error_data"]))["limit"]
    assert (limited["rule"], limited["period"], limited["left"]) == (f"month-{tag}", today(beyond)[:7], 10)


async def test_sixty_four_at_once_share_one_cap_to_the_unit(world: World) -> None:
    """Over four orchestrators in one batch each, twice delivered: exactly as many settle as the cap allows."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 10_000, b: 0})
    rule = f"day-{world.tag}"
    await limit(world.pool, rule, P2P, "THB", daily_max_minor=1000)
    intents = [new_id() for _ in range(64)]
    entries = [intent_entry(message(p2p(a, b, 45)), intent) for intent in intents]
    handlers = [await world.intake() for _ in range(4)]
    await asyncio.gather(*(handler(entries[index::4]) for index, handler in enumerate(handlers)))
    await asyncio.gather(*(handler(entries[(index + 1) % 4 :: 4]) for index, handler in enumerate(handlers)))
    assert await states(world, intents) == {"SETTLED": 22, "REJECTED": 42}
    assert await used(world, a, rule, intents[0]) == 22 * 45
    assert await world.ledger_balance(b) == 22 * 45


async def test_an_answer_that_was_lost_uses_the_allowance_once(world: World) -> None:
    """The chain is in the ledger, nobody heard: resubmitted, it is done, and counted once."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    rule = f"day-{world.tag}"
    await limit(world.pool, rule, P2P, "THB", daily_max_minor=100)
    delivered = intent_entry(message(p2p(a, b, 60)), intent := new_id())
    with pytest.raises(OutcomeUnknown):
        await (await world.intake(Deaf(world.ledger)))([delivered])
    await world.handle(delivered)
    assert (await world.row(intent))["state"] == "SETTLED"
    assert await used(world, a, rule, intent) == 60


async def test_a_refusal_that_was_lost_names_the_limit_all_the_same(world: World) -> None:
    """The ledger tells its reason once; the leg that it burned says which limit it was."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    rule = f"day-{world.tag}"
    await limit(world.pool, rule, P2P, "THB", daily_max_minor=100)
    await pay(world, a, b, 80)
    delivered = intent_entry(message(p2p(a, b, 60)), intent := new_id())
    with pytest.raises(OutcomeUnknown):
        await (await world.intake(Deaf(world.ledger)))([delivered])
    await limit(world.pool, rule, P2P, "THB", daily_max_minor=500)
    await world.handle(delivered)
    row = await world.row(intent)
    assert (row["state"], row["error_code"]) == ("REJECTED", "limit_exceeded")
    assert json.loads(str(row["error_data"]))["limit"]["cap"] == 100
    assert await used(world, a, rule, intent) == 80


async def test_changing_the_cap_takes_effect_exactly(world: World) -> None:
    """Raised and lowered in the middle of a day: what was used counts against the cap of the moment."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    rule = f"day-{world.tag}"
    outcomes = []
    for cap, amount in ((100, 100), (100, 1), (150, 50), (150, 1), (120, 1), (151, 1)):
        await limit(world.pool, rule, P2P, "THB", daily_max_minor=cap)
        (intent,) = await pay(world, a, b, amount)
        outcomes.append((await world.row(intent))["state"])
    assert outcomes == ["SETTLED", "REJECTED", "SETTLED", "REJECTED", "REJECTED", "SETTLED"]


async def test_an_intent_counts_for_the_day_on_which_it_was_accepted(world: World) -> None:
    """Accepted a moment before midnight in Bangkok, carried out whenever: yesterday's allowance, not today's."""
    await world.pool.execute("UPDATE pm.business SET time_zone = 'Asia/Bangkok'")
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    await limit(world.pool, f"day-{world.tag}", P2P, "THB", daily_max_minor=100)
    midnight_us = int(datetime(2026, 11, 28, 17, tzinfo=UTC).timestamp()) * 1_000_000
    before, after = intent_id(midnight_us - 1000, 0, 1), intent_id(midnight_us, 0, 2)
    late = intent_id(midnight_us - 2000, 0, 3)
    for intent, amount in ((before, 100), (after, 100), (late, 1)):
        await world.handle(intent_entry(message(p2p(a, b, amount)), intent))
    rows = [await world.row(intent) for intent in (before, after, late)]
    assert [row["state"] for row in rows] == ["SETTLED", "SETTLED", "REJECTED"]
    told = json.loads(str(rows[2]["error_data"]))["limit"]
    assert (told["period"], told["resets_at"]) == ("2026-11-28", "2026-11-28T17:00:00Z")


async def test_a_hold_reserves_its_allowance_and_a_decline_gives_it_back(saga: Saga, payer: str) -> None:
    """Held with the money, used up with it, or free again with it."""
    rule = f"day-{saga.world.tag}"
    await limit(saga.world.pool, rule, OUT, "THB", daily_max_minor=500, daily_max_count=2)
    first = await saga.withdraw(payer)
    assert await used(saga.world, payer, rule, first) == 300
    assert await saga.state(await saga.withdraw(payer, 201)) == ("REJECTED", "none", "limit_exceeded")
    await saga.hear(saga.said(first, Outcome.DECLINED, code="over_limit", final=True))
    assert await used(saga.world, payer, rule, first) == await used(saga.world, payer, rule, first, "count") == 0
    second = await saga.withdraw(payer, 500)
    assert await saga.state(second) == ("AUTHORIZED", "held", None)
    await saga.hear(saga.said(second, Outcome.PAID, amount_minor=500))
    assert await saga.state(second) == ("SETTLED", "moved", None)
    assert await used(saga.world, payer, rule, second) == 500
    assert await used(saga.world, payer, rule, second, "count") == 1
    assert not await saga.alerts()


async def test_a_payment_of_less_uses_less(saga: Saga, payer: str) -> None:
    """What was not paid out is allowed again."""
    rule = f"day-{saga.world.tag}"
    await limit(saga.world.pool, rule, OUT, "THB", daily_max_minor=500)
    intent = await saga.withdraw(payer)
    await saga.hear(saga.said(intent, Outcome.PAID, amount_minor=250))
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert await used(saga.world, payer, rule, intent) == 250


async def test_money_in_reserves_when_the_code_is_made_and_never_refuses_the_credit(saga: Saga, payee: str) -> None:
    """A code over the limit is not made; one that was made is credited, whatever became of the limit meanwhile."""
    rule = f"day-{saga.world.tag}"
    await limit(saga.world.pool, rule, IN, "RUB", daily_max_minor=800)
    first = await saga.top_up(payee)
    assert await saga.state(first) == ("AUTHORIZED", "none", None)
    assert await used(saga.world, payee, rule, first) == 500
    assert await saga.state(await saga.top_up(payee, 301)) == ("REJECTED", "none", "limit_exceeded")
    await limit(saga.world.pool, rule, IN, "RUB", daily_max_minor=1)
    await saga.hear(saga.said(first, Outcome.PAID, psp="qp", amount_minor=900))
    assert await saga.state(first) == ("SETTLED", "moved", None)
    assert (await saga.booked(payee))[0] == 900
    # No more than was reserved: the rest was nobody's to refuse.
    assert await used(saga.world, payee, rule, first) == 500


async def test_an_unpaid_code_gives_its_allowance_back(saga: Saga, payee: str) -> None:
    """Expired by the PSP's word; told again, it is given back once."""
    rule = f"day-{saga.world.tag}"
    await limit(saga.world.pool, rule, IN, "RUB", daily_max_minor=800, daily_max_count=1)
    intent = await saga.top_up(payee)
    assert await saga.state(await saga.top_up(payee, 1)) == ("REJECTED", "none", "limit_exceeded")
    for _ in range(2):
        await saga.hear(saga.said(intent, Outcome.EXPIRED, psp="qp", final=True))
    assert await saga.state(intent) == ("EXPIRED", "none", "expired")
    assert await used(saga.world, payee, rule, intent) == await used(saga.world, payee, rule, intent, "count") == 0
    assert await saga.state(await saga.top_up(payee, 800)) == ("AUTHORIZED", "none", None)


async def test_a_crash_between_credit_and_limit_is_made_good_by_the_next_word(saga: Saga, payee: str) -> None:
    """The credit is in the books, its limit still reserved: whoever hears of it again uses it up."""
    rule = f"day-{saga.world.tag}"
    await limit(saga.world.pool, rule, IN, "RUB", daily_max_minor=800)
    intent = await saga.top_up(payee)
    word = saga.entry(saga.said(intent, Outcome.PAID, psp="qp", amount_minor=500))
    with pytest.raises(OutcomeUnknown):
        await saga.hear(word, ledger=Deaf(saga.world.ledger))
    await saga.hear(word)
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert (await saga.booked(payee))[0] == 500
    assert await used(saga.world, payee, rule, intent) == 500
