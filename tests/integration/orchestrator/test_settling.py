"""What becomes of accepted intents: settled, refused, dead-lettered, resumed."""

from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from orchestrator.accounts import OpenAccounts
from shared.contracts import Envelope, Kind
from shared.errors import InvariantViolation
from shared.ids import account_id
from shared.streams.verdicts import DeadLetter, Done, HandBack
from tests.integration.orchestrator.world import (
    World,
    entry,
    grant,
    intent_entry,
    message,
    new_id,
    open_entry,
    p2p,
    resume_entry,
)


async def test_p2p_settles_and_all_three_books_agree(world: World) -> None:
    """A transfer moves the amount in ledger and read model, with history and one event per transition."""
    payer, payee = world.wallet("a"), world.wallet("b")
    await world.fund({payer: 1000, payee: 0})
    intent = new_id()
    (verdict,) = await world.handle(intent_entry(message(p2p(payer, payee, 300), waiter="gw1"), intent))
    assert isinstance(verdict, Done)
    assert verdict.delete == (f"acc.{{i0}}:{intent}",)
    assert verdict.publish == ((f"intent.{intent}", b"SETTLED"), ("gateway.gw1", f"{intent} SETTLED".encode()))
    row = await world.row(intent)
    assert (row["state"], row["funds"], row["version"], row["channel"]) == ("SETTLED", "moved", 3, "INTERNAL_P2P")
    for name, held in ((payer, 700), (payee, 300)):
        assert await world.ledger_balance(name) == await world.database_balance(name) == held
    history = await world.pool.fetch("SELECT account_id, amount_minor FROM pm.tx_history WHERE intent_id = $1", intent)
    assert {row["account_id"].int: row["amount_minor"] for row in history} == {
        account_id(payer): -300,
        account_id(payee): 300,
    }
    steps = await world.pool.fetch(
        "SELECT seq, from_state, to_state FROM pm.intent_event WHERE intent_id = $1 ORDER BY seq", intent
    )
    assert [tuple(step) for step in steps] == [
        (1, "CREATED", "VALIDATED"),
        (2, "VALIDATED", "AUTHORIZED"),
        (3, "AUTHORIZED", "SETTLED"),
    ]


async def test_batch_settles_in_the_order_it_was_accepted(world: World) -> None:
    """Money received earlier in a batch can be spent later in it; the same payer cannot spend it twice."""
    a, b, c = world.wallet("a"), world.wallet("b"), world.wallet("c")
    await world.fund({a: 100, b: 0, c: 0})
    ids = [new_id() for _ in range(3)]
    transfers = (p2p(a, b, 100), p2p(b, c, 100), p2p(b, c, 1))
    await world.handle(*(intent_entry(message(move), intent) for move, intent in zip(transfers, ids, strict=True)))
    states = [((await world.row(intent))["state"], (await world.row(intent))["error_code"]) for intent in ids]
    assert states == [("SETTLED", None), ("SETTLED", None), ("REJECTED", "insufficient_funds")]
    assert await world.ledger_balance(c) == await world.database_balance(c) == 100


async def test_what_planning_refuses_never_reaches_the_ledger(world: World) -> None:
    """Unknown accounts, payments to oneself, foreign currencies and house accounts are REJECTED with a code."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 100, b: 0})
    dollars = a.replace(":THB", ":USD")
    cases = {
        "unknown_account": p2p(a, world.wallet("nobody"), 1),
        "self_transfer": p2p(a, a, 1),
        "currency_mismatch": p2p(a, dollars, 1),
        "account_not_payable": p2p("equity:THB", a, 1),
        "bad_account_name": p2p("user:a:b:THB", a, 1),
    }
    for code, operation in cases.items():
        intent = new_id()
        (verdict,) = await world.handle(intent_entry(message(operation), intent))
        row = await world.row(intent)
        assert (row["state"], row["error_code"]) == ("REJECTED", code)
        assert isinstance(verdict, Done)
    assert await world.ledger_balance(a) == 100


async def test_amount_outside_every_route_is_rejected(world: World) -> None:
    """Without a channel there is no plan."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 100, b: 0})
    await world.pool.execute("UPDATE pm.payment_route SET amount_max = 10 WHERE operation_type = 'P2P_TRANSFER'")
    intent = new_id()
    await world.handle(intent_entry(message(p2p(a, b, 11)), intent))
    row = await world.row(intent)
    assert (row["state"], row["error_code"]) == ("REJECTED", "no_route")


async def test_malformed_entries_are_dead_lettered_and_the_rest_of_the_batch_goes_on(world: World) -> None:
    """One bad neighbour costs the others nothing; what a newer release wrote is handed back."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 100, b: 0})
    good = new_id()
    body = message(p2p(a, b, 1)).model_dump_json().encode()
    bad = [
        entry(Envelope(Kind.INTENT, str(new_id()), b"{not json")),
        entry(Envelope(Kind.INTENT, str(new_id()), body.replace(b'"user_id"', b'"user_idx"'))),
        entry(Envelope(Kind.INTENT, str(new_id()), body.replace(b'"amount_minor":1', b'"amount_minor":1.5'))),
        entry(Envelope(Kind.INTENT, str(new_id()), body.replace(b'"fingerprints":["k2:aa"]', b'"fingerprints":[]'))),
        entry(Envelope("no-such-kind", str(new_id()), b"{}")),
        entry(Envelope(Kind.INTENT, str(uuid4()), body)),
        entry(Envelope(Kind.INTENT, "not-a-uuid", body)),
    ]
    newer = entry(Envelope(Kind.INTENT, str(new_id()), body, version=99))
    verdicts = await world.handle(*bad, newer, intent_entry(message(p2p(a, b, 1)), good))
    for verdict in verdicts[: len(bad)]:
        assert isinstance(verdict, DeadLetter)
        assert verdict.reason == "decode"
        assert "user:" not in verdict.error
    assert isinstance(verdicts[-2], HandBack)
    assert isinstance(verdicts[-1], Done)
    assert (await world.row(good))["state"] == "SETTLED"


async def test_resume_carries_on_what_is_planned_and_nothing_else(world: World) -> None:
    """A resume of a settled intent moves nothing; one of an intent that the log does not know is harmless."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 100, b: 0})
    settled = new_id()
    await world.handle(intent_entry(message(p2p(a, b, 30)), settled))
    verdicts = await world.handle(resume_entry(settled), resume_entry(new_id()))
    assert all(isinstance(verdict, Done) for verdict in verdicts)
    assert await world.ledger_balance(b) == await world.database_balance(b) == 30


async def test_id_in_use_for_another_request_is_an_invariant_violation(world: World) -> None:
    """Two requests under one id must never share a plan."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 100, b: 0})
    intent = new_id()
    await world.handle(intent_entry(message(p2p(a, b, 1)), intent))
    with pytest.raises(InvariantViolation, match="already in use"):
        await world.handle(intent_entry(message(p2p(a, b, 2)), intent))
    assert await world.ledger_balance(b) == 1


async def test_one_id_for_two_requests_in_one_batch_is_an_invariant_violation(world: World) -> None:
    """Neither of two requests under one id may vanish behind the other; one request delivered twice is fine."""
    a, b = world.wallet("a"), world.wallet("b")
    await world.fund({a: 100, b: 0})
    shared_id, repeated = new_id(), new_id()
    with pytest.raises(InvariantViolation, match="already in use"):
        await world.handle(
            intent_entry(message(p2p(a, b, 1)), shared_id), intent_entry(message(p2p(a, b, 2)), shared_id)
        )
    same = message(p2p(a, b, 5))
    verdicts = await world.handle(intent_entry(same, repeated), intent_entry(same, repeated))
    assert all(isinstance(verdict, Done) for verdict in verdicts)
    assert await world.ledger_balance(b) == await world.database_balance(b) == 5


async def test_accounts_are_opened_once_with_the_fixed_ones_of_their_currency(world: World) -> None:
    """Opening twice, and by two orchestrators, leaves one account; transit and equity come with the first."""
    name = f"user:x-{world.tag}:JPY"
    await world.handle(open_entry(name), open_entry(name))
    await world.handle(open_entry(name))
    rows = await world.pool.fetch("SELECT name, id, ledger, opened_by FROM pm.tb_account_map ORDER BY name")
    assert [(row["name"], row["opened_by"]) for row in rows] == [
        ("equity:JPY", "paymesh"),
        ("transit:JPY", "paymesh"),
        (name, "shop"),
    ]
    for row in rows:
        (account,) = await world.ledger.lookup_accounts([account_id(row["name"])])
        assert (UUID(int=account.id), account.ledger) == (row["id"], 392)


async def test_a_full_memory_of_open_accounts_refuses_nobody(world: World) -> None:
    """Names that are forgotten while others are looked up must not look like accounts that are not open."""
    names = [world.wallet(f"m{index}") for index in range(6)]
    await world.fund(dict.fromkeys(names, 100))
    known = OpenAccounts(pool=world.pool, remembered_max=3)
    intake = await world.intake(known=known)
    for first, second in pairwise(names):
        ids = [new_id() for _ in range(3)]
        await intake([intent_entry(message(p2p(first, second, 1)), intent) for intent in ids])
        assert {(await world.row(intent))["state"] for intent in ids} == {"SETTLED"}


async def test_adjustments_move_between_equity_and_the_wallet_both_ways(world: World) -> None:
    """A debit adjustment takes back; it cannot take more than there is."""
    a = world.wallet("a")
    await world.fund({a: 100})
    back, too_much = new_id(), new_id()
    take = grant(a, 40).model_copy(update={"direction": "DEBIT"})
    more = grant(a, 61).model_copy(update={"direction": "DEBIT"})
    await world.handle(intent_entry(message(take), back), intent_entry(message(more), too_much))
    assert (await world.row(back))["state"] == "SETTLED"
    assert (await world.row(too_much))["error_code"] == "insufficient_funds"
    assert await world.ledger_balance(a) == await world.database_balance(a) == 60


async def test_an_amount_of_two_to_the_62_settles_twice_without_overflow(world: World) -> None:
    """Two amounts at the limit overflow a bigint; the read model must not fail a batch over it."""
    a = world.wallet("a")
    await world.fund({a: 0})
    limit = 1 << 62
    await world.handle(intent_entry(message(grant(a, limit))), intent_entry(message(grant(a, limit))))
    assert await world.ledger_balance(a) == await world.database_balance(a) == 2 * limit
