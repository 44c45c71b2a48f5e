"""Fees, from the rule to the books, on both ledgers: who pays what, who gets it, and that nothing is left over."""

import json
from uuid import UUID

import pytest

from shared.contracts import Outcome
from shared.operations import IppsWithdrawal, Metadata, P2PTransfer
from tests.integration.orchestrator.ruled import fee
from tests.integration.orchestrator.saga import Saga
from tests.integration.orchestrator.world import World, intent_entry, message, new_id, p2p

pytestmark = pytest.mark.asyncio
P2P, OUT, IN = "P2P_TRANSFER", "IPPS_WITHDRAWAL", "QP_TOPUP"


async def balances(world: World, *names: str) -> list[int]:
    """What the ledger says; for wallets the read model must say the same."""
    found = []
    for name in names:
        booked = await world.ledger_balance(name)
        if name.startswith(("user:", "merchant:")):
            assert booked == await world.database_balance(name)
        found.append(booked)
    return found


async def test_pre_and_post_fees_share_one_chain_and_leave_transit_at_zero(world: World) -> None:
    """The sender pays one on top, the recipient receives the other less; two beneficiaries, one wallet among them."""
    a, b, partner = world.wallet("a"), world.wallet("b"), world.wallet("partner")
    await world.fund({a: 1000, b: 0, partner: 0})
    await fee(world.pool, f"pre-{world.tag}", P2P, "THB", fixed_minor=5, bps=100)
    await fee(world.pool, f"post-{world.tag}", P2P, "THB", timing="POST", fixed_minor=3, beneficiary=partner)
    intent = new_id()
    await world.handle(intent_entry(message(p2p(a, b, 300)), intent))
    assert (await world.row(intent))["state"] == "SETTLED"
    found = await balances(world, a, b, partner, f"fee:pre-{world.tag}:THB", "transit:THB")
    assert found == [1000 - 300 - 8, 297, 3, 8, 0]
    plan = await world.pool.fetchval("SELECT plan FROM pm.intent_attempt WHERE intent_id = $1", intent)
    charged = [(rule.split("-")[0], timing, amount) for rule, _, timing, amount, _ in json.loads(plan)["fees"]]
    assert charged == [("post", "POST", 3), ("pre", "PRE", 8)]


async def test_a_fee_that_the_payer_cannot_bear_refuses_the_whole(world: World) -> None:
    """The amount alone would be there; nothing of it moves."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 300, b: 0})
    await fee(world.pool, f"pre-{world.tag}", P2P, "THB", fixed_minor=1)
    intent = new_id()
    await world.handle(intent_entry(message(p2p(a, b, 300)), intent))
    row = await world.row(intent)
    assert (row["state"], row["error_code"]) == ("REJECTED", "insufficient_funds")
    assert await balances(world, a, b) == [300, 0]


async def test_conditions_tags_and_final_rules_decide_who_pays(world: World) -> None:
    """A final rule without a fee spares those who carry its tag; a label decides between two others."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    await fee(world.pool, f"vip-{world.tag}", P2P, "THB", tags=["vip"], fixed_minor=0, priority=1, final=True)
    gold = 'has(metadata.tier) && metadata.tier == "gold"'
    await fee(world.pool, f"gold-{world.tag}", P2P, "THB", condition=gold, fixed_minor=1, priority=2, final=True)
    await fee(world.pool, f"rest-{world.tag}", P2P, "THB", amount_expression="amount / 10", priority=3)
    costs = []
    for metadata in (Metadata(tags=("vip",)), Metadata(labels={"tier": "gold"}), Metadata()):
        before = await world.ledger_balance(a)
        operation = P2PTransfer(from_account=a, to_account=b, amount_minor=100, currency="THB", metadata=metadata)
        await world.handle(intent_entry(message(operation)))
        costs.append(before - await world.ledger_balance(a) - 100)
    assert costs == [0, 1, 10]


async def test_a_rule_that_cannot_be_applied_refuses_by_its_name_and_version(world: World) -> None:
    """An error in a rule never passes as no fee."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    name = f"bad-{world.tag}"
    await fee(world.pool, name, P2P, "THB", condition='metadata.tier == "gold"')
    await fee(world.pool, name, P2P, "THB", condition="1 / (amount - 300) > 0")
    intent = new_id()
    await world.handle(intent_entry(message(p2p(a, b, 300)), intent))
    row = await world.row(intent)
    assert (row["state"], row["error_code"]) == ("REJECTED", "fee_rule_failed")
    assert row["error_detail"] == f"fee rule {name} version 2: a division by zero"
    assert json.loads(str(row["error_data"])) == {"rule": name, "version": 2}
    assert await balances(world, a, b) == [1000, 0]


async def test_a_rule_that_cannot_be_compiled_refuses_its_own_intents_and_stops_nobody_else(world: World) -> None:
    """Written by hand, or under other bounds than today's: a mesh that starts upon it carries everything else."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    name = f"bad-{world.tag}"
    await fee(world.pool, f"good-{world.tag}", P2P, "THB", fixed_minor=1)
    await fee(world.pool, name, P2P, "THB", tags=["bad"], condition="amout > 1")
    charged, refused = new_id(), new_id()
    tagged = P2PTransfer(
        from_account=a, to_account=b, amount_minor=100, currency="THB", metadata=Metadata(tags=("bad",))
    )
    await world.handle(intent_entry(message(p2p(a, b, 100)), charged), intent_entry(message(tagged), refused))
    assert (await world.row(charged))["state"] == "SETTLED"
    row = await world.row(refused)
    assert (row["state"], row["error_code"]) == ("REJECTED", "fee_rule_failed")
    assert str(row["error_detail"]).startswith(f"fee rule {name} version 1: there is no variable amout")
    assert await balances(world, a, b) == [899, 100]


async def test_a_beneficiary_that_is_no_account_refuses_its_own_intents_only(world: World) -> None:
    """Written past the command; orchestrators start all the same, and payments that it does not concern go on."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    await fee(world.pool, f"bad-{world.tag}", P2P, "THB", tags=["odd"], beneficiary="nobody")
    odd = P2PTransfer(from_account=a, to_account=b, amount_minor=100, currency="THB", metadata=Metadata(tags=("odd",)))
    refused, settled = new_id(), new_id()
    await world.handle(intent_entry(message(odd), refused), intent_entry(message(p2p(a, b, 100)), settled))
    assert (await world.row(refused))["error_code"] == "unknown_account"
    assert (await world.row(settled))["state"] == "SETTLED"


async def test_fees_of_a_withdrawal_are_held_and_posted_or_given_back(saga: Saga, payer: str) -> None:
    """PRE comes on top of what is held; POST leaves the PSP less to pay, which is what it is asked for."""
    pool = saga.world.pool
    await fee(pool, f"pre-{saga.world.tag}", OUT, "THB", fixed_minor=7)
    await fee(pool, f"post-{saga.world.tag}", OUT, "THB", timing="POST", fixed_minor=20)
    accounts = ("psp:ipps:THB", f"fee:pre-{saga.world.tag}:THB", f"fee:post-{saga.world.tag}:THB", "transit:THB")
    first = await saga.withdraw(payer)
    before = [await saga.booked(name) for name in accounts]
    assert (await saga.booked(payer), await saga.held(payer)) == ((1000, -307), 307)
    body = await pool.fetchval("SELECT body FROM pm.outbox_event WHERE intent_id = $1", first)
    assert json.loads(body)["amount_minor"] == 280
    await saga.hear(saga.said(first, Outcome.PAID, amount_minor=280))
    assert await saga.state(first) == ("SETTLED", "moved", None)
    moved = [
        posted - was
        for (posted, _), (was, _) in zip([await saga.booked(name) for name in accounts], before, strict=True)
    ]
    assert moved == [280, 7, 20, 0]
    assert (await saga.booked(payer), await saga.held(payer)) == ((693, 0), 0)
    second = await saga.withdraw(payer)
    await saga.hear(saga.said(second, Outcome.DECLINED, code="over_limit", final=True))
    assert await saga.state(second) == ("FAILED", "none", "over_limit")
    assert (await saga.booked(payer), await saga.held(payer)) == ((693, 0), 0)
    assert not await saga.alerts()


async def test_a_psp_that_paid_less_leaves_the_rest_with_the_payer(saga: Saga, payer: str) -> None:
    """Fees stay as planned; the payer pays what was paid out, and them."""
    pool = saga.world.pool
    await fee(pool, f"pre-{saga.world.tag}", OUT, "THB", fixed_minor=7)
    await fee(pool, f"post-{saga.world.tag}", OUT, "THB", timing="POST", fixed_minor=20)
    intent = await saga.withdraw(payer)
    await saga.hear(saga.said(intent, Outcome.PAID, amount_minor=250))
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert (await saga.booked(payer), await saga.held(payer)) == ((1000 - 250 - 27, 0), 0)
    assert await saga.world.database_balance(payer) == 723
    assert await saga.booked("transit:THB") == (0, 0)


@pytest.mark.parametrize(("paid", "wallet", "taken"), [(512, 495, 17), (400, 383, 17), (900, 883, 17), (16, 16, 0)])
async def test_a_top_up_pays_its_fees_out_of_what_was_paid(
    saga: Saga, payee: str, paid: int, wallet: int, taken: int
) -> None:
    """The payer is asked for amount and PRE fee in one sum; where too little comes, the wallet gets all of it."""
    pool, tag = saga.world.pool, saga.world.tag
    await fee(pool, f"pre-{tag}", IN, "RUB", fixed_minor=12)
    await fee(pool, f"post-{tag}", IN, "RUB", timing="POST", fixed_minor=5)
    intent = await saga.top_up(payee)
    body = await pool.fetchval("SELECT body FROM pm.outbox_event WHERE intent_id = $1", intent)
    assert json.loads(body)["amount_minor"] == 512
    await saga.hear(saga.said(intent, Outcome.PAID, psp="qp", amount_minor=paid))
    assert await saga.state(intent) == ("SETTLED", "moved", None)
    assert (await saga.booked(payee))[0] == await saga.world.database_balance(payee) == wallet
    fees = [(await saga.booked(f"fee:{name}-{tag}:RUB"))[0] for name in ("pre", "post")]
    assert sum(fees) == taken
    assert await saga.booked("transit:RUB") == (0, 0)


async def test_an_amount_that_fees_push_out_of_the_channels_range_is_refused(saga: Saga, payer: str) -> None:
    """IPPS pays out a hundred satang at least."""
    await fee(saga.world.pool, f"post-{saga.world.tag}", OUT, "THB", timing="POST", fixed_minor=20)
    intent = await saga.withdraw(payer, 119)
    assert await saga.state(intent) == ("REJECTED", "none", "amount_out_of_range")
    assert await saga.state(await saga.withdraw(payer, 120)) == ("AUTHORIZED", "held", None)


async def test_redelivery_under_a_changed_rule_charges_what_was_planned(world: World) -> None:
    """The stored plan wins over the rules of the moment, fee and all."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 1000, b: 0})
    name = f"pre-{world.tag}"
    await fee(world.pool, name, P2P, "THB", fixed_minor=5)
    delivered = intent_entry(message(p2p(a, b, 100)), intent := new_id())
    await world.handle(delivered)
    await fee(world.pool, name, P2P, "THB", fixed_minor=50)
    await world.handle(delivered)
    assert await balances(world, a, b) == [895, 100]
    rows = await world.pool.fetch("SELECT amount_minor FROM pm.tx_history WHERE intent_id = $1", UUID(int=intent.int))
    assert sorted(row["amount_minor"] for row in rows) == [-100, -5, 100]


async def test_labels_are_what_the_caller_said(saga: Saga, payer: str) -> None:
    """They stay with the intent."""
    operation = IppsWithdrawal(
        from_account=payer, amount_minor=300, currency="THB", proxy_type="MOBILE", proxy="k1:AAAA:BBBB",
        metadata=Metadata(labels={"tier": "gold"}),
    )  # fmt: skip
    await saga.world.handle(intent_entry(message(operation), intent := new_id()))
    stored = json.loads(str((await saga.world.row(intent))["operation"]))
    assert stored["metadata"] == {"tags": [], "labels": {"tier": "gold"}}
