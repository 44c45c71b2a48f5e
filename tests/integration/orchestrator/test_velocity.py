"""Velocity rules: too many payments, or too much, of one user or to one destination within a window."""

import asyncio
import json
from collections import Counter
from datetime import timedelta

import pytest
from asyncpg import Record

from orchestrator.records import statement
from shared.ids import IntentId, intent_id
from shared.operations import IppsWithdrawal, Metadata, P2PTransfer
from tests.integration.orchestrator.ruled import velocity
from tests.integration.orchestrator.saga import Saga
from tests.integration.orchestrator.world import World, intent_entry, message, new_id, p2p

pytestmark = pytest.mark.asyncio
P2P, OUT = "P2P_TRANSFER", "IPPS_WITHDRAWAL"
NOW_US = 1_796_000_000_000_000


async def pay(world: World, payer: str, payee: str, amount: int = 1, *, at_us: int | None = None) -> IntentId:
    """One payment, accepted now or at a given moment."""
    intent = new_id() if at_us is None else intent_id(at_us, 0, at_us)
    await world.handle(intent_entry(message(p2p(payer, payee, amount)), intent))
    return intent


async def told(world: World, intent: IntentId) -> tuple[object, object, object]:
    """State, error and whether it is watched."""
    row = await world.row(intent)
    return row["state"], row["error_code"], row["requires_monitoring"]


SETTLED = ("SETTLED", None, False)
REFUSED = ("REJECTED", "velocity_exceeded", False)


async def test_a_user_may_pay_so_often_within_the_window_and_again_after_it(world: World) -> None:
    """The window slides with the intents' own times; what was refused counts as an attempt."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    rule = f"often-{world.tag}"
    await velocity(world.pool, rule, P2P, "THB", max_count=2, window_s=60)
    second = 1_000_000
    moments = [NOW_US, NOW_US + 10 * second, NOW_US + 20 * second, NOW_US + 61 * second, NOW_US + 100 * second]
    outcomes = [await told(world, await pay(world, a, b, at_us=moment)) for moment in moments]
    assert outcomes == [SETTLED, SETTLED, REFUSED, REFUSED, SETTLED]
    assert await world.ledger_balance(b) == 3


async def test_sums_are_added_up_by_destination_whoever_pays(world: World) -> None:
    """Two payers, one payee; another payee is not concerned."""
    a, b, c, d = (world.wallet(name) for name in "abcd")
    await world.fund({a: 1000, b: 1000, c: 0, d: 0})
    await velocity(world.pool, f"mule-{world.tag}", P2P, "THB", per="destination", max_sum_minor=100)
    assert await told(world, await pay(world, a, c, 60)) == SETTLED
    assert await told(world, await pay(world, b, c, 41)) == REFUSED
    assert await told(world, await pay(world, b, d, 100)) == SETTLED


async def test_a_hashed_destination_is_told_from_others_without_being_known(saga: Saga, payer: str) -> None:
    """The gateway's keyed hash stands for the number that nobody stores in the clear."""
    await velocity(saga.world.pool, f"mule-{saga.world.tag}", OUT, "THB", per="destination", max_count=1)
    states = []
    for place in ("k1:aa", "k1:aa", "k1:bb"):
        operation = IppsWithdrawal(
            from_account=payer, amount_minor=100, currency="THB", proxy_type="MOBILE", proxy="k1:AAAA:BBBB"
        )
        intent = new_id()
        body = message(operation).model_copy(update={"destination": place})
        await saga.world.handle(intent_entry(body, intent))
        states.append((await saga.world.row(intent))["state"])
    assert states == ["AUTHORIZED", "REJECTED", "AUTHORIZED"]


async def test_a_monitored_intent_is_told_to_the_feed_once(world: World) -> None:
    """When it is new in the log; neither a redelivery nor an alias of it is told, and none that no rule watches."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    rule = f"watch-{world.tag}"
    await pay(world, a, b)
    await velocity(world.pool, rule, P2P, "THB", max_count=1, action="monitor")
    await pay(world, a, b)
    assert world.told == []
    delivered = intent_entry(message(p2p(a, b, 1), key=f"k-{world.tag}"), intent := new_id())
    await world.handle(delivered)
    await world.handle(delivered)
    await world.handle(intent_entry(message(p2p(a, b, 1), key=f"k-{world.tag}")))
    body = {"intent_id": str(intent), "rules": [{"rule": rule, "version": 1}]}
    assert world.told == [("intent.monitored", body)]


async def test_a_monitored_intent_goes_on_and_says_which_rule_watches_it(world: World) -> None:
    """Watched, not stopped; its first event names rule and version."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    rule = f"watch-{world.tag}"
    await velocity(world.pool, rule, P2P, "THB", max_count=1, action="monitor")
    assert await told(world, await pay(world, a, b)) == SETTLED
    watched = await pay(world, a, b)
    assert await told(world, watched) == ("SETTLED", None, True)
    detail = await world.pool.fetchval("SELECT detail FROM pm.intent_event WHERE intent_id = $1 AND seq = 1", watched)
    assert json.loads(detail) == {"monitored_by": [{"rule": rule, "version": 1}]}


async def test_redelivery_counts_nothing_twice(world: World) -> None:
    """The same entry three times is one attempt."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    await velocity(world.pool, f"often-{world.tag}", P2P, "THB", max_count=2)
    entry = intent_entry(message(p2p(a, b, 1)))
    for _ in range(3):
        await world.handle(entry)
    assert await told(world, await pay(world, a, b)) == SETTLED
    assert await told(world, await pay(world, a, b)) == REFUSED


async def test_two_orchestrators_never_both_find_room_for_the_last_one(world: World) -> None:
    """Thirty-two intents over four of them at once: as many pass as the rule allows, and not one more."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    await velocity(world.pool, f"often-{world.tag}", P2P, "THB", max_count=5)
    intents = [new_id() for _ in range(32)]
    entries = [intent_entry(message(p2p(a, b, 1)), intent) for intent in intents]
    handlers = [await world.intake() for _ in range(4)]
    await asyncio.gather(*(handler(entries[index::4]) for index, handler in enumerate(handlers)))
    counted = Counter([(await world.row(intent))["state"] for intent in intents])
    assert counted == {"SETTLED": 5, "REJECTED": 27}


async def test_a_rule_that_cannot_be_asked_refuses_by_its_name(world: World) -> None:
    """An error never passes as no rule."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    rule = f"bad-{world.tag}"
    await velocity(world.pool, rule, P2P, "THB", max_count=5, condition='metadata.risk == "high"')
    intent = await pay(world, a, b)
    row = await world.row(intent)
    assert (row["state"], row["error_code"]) == ("REJECTED", "velocity_rule_failed")
    assert str(row["error_detail"]).startswith(f"velocity rule {rule} version 1: a label or element that is not there")


async def test_a_rule_that_cannot_be_compiled_refuses_its_own_intents_alone(world: World) -> None:
    """Those that carry its tag, by its name."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    name = f"bad-{world.tag}"
    await velocity(world.pool, name, P2P, "THB", tags=["bad"], max_count=5, condition="amout > 1")
    passed, refused = new_id(), new_id()
    tagged = P2PTransfer(
        from_account=a, to_account=b, amount_minor=100, currency="THB", metadata=Metadata(tags=("bad",))
    )
    await world.handle(intent_entry(message(p2p(a, b, 100)), passed), intent_entry(message(tagged), refused))
    assert (await world.row(passed))["state"] == "SETTLED"
    row = await world.row(refused)
    assert (row["state"], row["error_code"]) == ("REJECTED", "velocity_rule_failed")
    assert str(row["error_detail"]).startswith(f"velocity rule {name} version 1: there is no variable amout")


_COUNTED = """
INSERT INTO pm.velocity_event (rule, subject, intent_id, at, amount_minor)
SELECT $1, $2, gen_random_uuid(), now() - make_interval(secs => (n * 7919) % 7200), 1 + n % 9
FROM generate_series(1, $3::integer) AS n RETURNING intent_id, at, seq, amount_minor
"""
_READ = """
SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
WHERE relname = 'velocity_event'
"""


async def test_what_a_subject_has_is_read_once_for_a_whole_batch(world: World) -> None:
    """And each intent is told what was counted before it, within its own window; else a busy payee stops everybody."""
    rule, hour, events = f"hot-{world.tag}", timedelta(hours=1), 400
    async with world.pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(_COUNTED, rule, "user:b", events)
        await connection.fetch(_COUNTED, rule, "user:other", events)
        asked = rows[::5]
        columns = [rule] * len(asked), ["user:b"] * len(asked), [row["intent_id"] for row in asked]
        before = await connection.fetchval(_READ)
        told = await connection.fetch(
            statement("sum_velocity"), *columns, [row["at"] for row in asked], [hour] * len(asked)
        )
        read = await connection.fetchval(_READ) - before
    assert {row["intent_id"]: (row["n"], row["total"]) for row in told} == {
        mine["intent_id"]: (len(near), sum(near))
        for mine in asked
        for near in [[one["amount_minor"] for one in rows if _counts(one, mine, hour)]]
    }
    assert read <= 2 * events + len(asked)


def _counts(one: Record, mine: Record, width: timedelta) -> bool:
    return bool(one["seq"] <= mine["seq"] and abs(one["at"] - mine["at"]) < width)
