"""Plans: balanced, stored byte for byte, refused with a code."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan import plan_operation
from shared.contracts import IntentMessage
from shared.errors import InvariantViolation
from shared.ids import intent_id
from shared.ledger.codes import LegCode
from shared.money import AMOUNT_MINOR_MAX
from shared.operations import Adjustment, P2PTransfer
from shared.plans import PLAN_VERSION, Plan, read_plan, write_plan
from shared.rules.book import RuleBook
from shared.rules.calendar import BusinessCalendar
from shared.rules.refusals import Refusal
from shared.rules.routes import Route, candidates
from tests.channels import FixedChannels

ROUTES = (
    Route(1, 1, "P2P_TRANSFER", None, 1, AMOUNT_MINOR_MAX, "INTERNAL_P2P"),
    Route(2, 3, "ADJUSTMENT", None, 1, AMOUNT_MINOR_MAX, "INTERNAL_ADJUSTMENT"),
)
BOOK = RuleBook(calendar=BusinessCalendar("UTC"), routes=ROUTES)
INTENT = intent_id(1_763_000_000_000_000, 0, 7)
PARTS = st.text("abcXYZ019_-", min_size=1, max_size=64)
AMOUNTS = st.integers(1, AMOUNT_MINOR_MAX)


def message(operation: P2PTransfer | Adjustment) -> IntentMessage:
    """An accepted operation."""
    return IntentMessage(service_key="shop", idempotency_key="k", fingerprints=("k1:aa",), operation=operation)


def planned(operation: P2PTransfer | Adjustment) -> Plan:
    """The plan of an operation whose accounts are all open."""
    plan = plan_operation(
        message(operation), intent=INTENT, book=BOOK, is_open=lambda _: True, channels=FixedChannels()
    )
    assert isinstance(plan, Plan)
    return plan


@given(PARTS, PARTS, AMOUNTS)
def test_every_plan_leaves_transit_at_zero(payer: str, payee: str, amount: int) -> None:
    """What goes into transit comes out of it, and only customers and transit take part in a transfer."""
    operation = P2PTransfer(
        from_account=f"user:{payer}:THB", to_account=f"merchant:{payee}:THB", amount_minor=amount, currency="THB"
    )
    effect: dict[str, int] = {}
    for leg in planned(operation).legs:
        effect[leg.debit] = effect.get(leg.debit, 0) - leg.amount_minor
        effect[leg.credit] = effect.get(leg.credit, 0) + leg.amount_minor
    assert effect == {operation.from_account: -amount, operation.to_account: amount, "transit:THB": 0}


@given(PARTS, AMOUNTS, st.sampled_from(["CREDIT", "DEBIT"]))
def test_stored_plan_reads_back_the_same(owner: str, amount: int, direction: str) -> None:
    """Write and read are inverse, and writing again gives the same bytes."""
    operation = Adjustment.model_validate(
        {"account": f"user:{owner}:JPY", "direction": direction, "amount_minor": amount, "currency": "JPY"}
    )
    plan = planned(operation)
    text = write_plan(plan)
    assert read_plan(text) == plan
    assert write_plan(read_plan(text)) == text


def test_stored_form_is_fixed() -> None:
    """Plans already in the log must stay readable, so the first version's form is pinned here."""
    text = (
        '{"v":1,"channel":"INTERNAL_P2P","route":{"id":1,"version":1},'
        '"legs":[["user:a:THB","transit:THB",5,101],["transit:THB","user:b:THB",5,102]]}'
    )
    plan = planned(P2PTransfer(from_account="user:a:THB", to_account="user:b:THB", amount_minor=5, currency="THB"))
    assert write_plan(plan) == text
    assert [leg.code for leg in read_plan(text).legs] == [LegCode.P2P_PAY, LegCode.P2P_RECEIVE]


def test_plan_of_an_unknown_version_is_never_guessed_at() -> None:
    """A plan this release cannot read stops the process instead of being carried out differently."""
    with pytest.raises(InvariantViolation):
        read_plan(json.dumps({"v": PLAN_VERSION + 1, "legs": []}))


def test_refusals_name_the_account_that_is_not_open() -> None:
    """Fixed accounts are checked too: without transit nothing can move."""
    operation = P2PTransfer(from_account="user:a:THB", to_account="user:b:THB", amount_minor=5, currency="THB")
    refusal = plan_operation(
        message(operation),
        intent=INTENT,
        book=BOOK,
        is_open=lambda name: name != "transit:THB",
        channels=FixedChannels(),
    )
    assert refusal == Refusal("unknown_account", "no account named transit:THB has been opened")


def test_routes_are_tried_in_order_by_type_currency_and_amount() -> None:
    """The first route that takes the operation wins; amounts are inclusive at both ends."""
    routes = (
        Route(1, 1, "P2P_TRANSFER", "THB", 100, 200, "A"),
        Route(2, 1, "P2P_TRANSFER", None, 150, 300, "B"),
    )
    chosen = {
        (currency, amount): next(
            (route.channel for route in candidates(routes, "P2P_TRANSFER", currency, amount)), None
        )
        for currency in ("THB", "USD")
        for amount in (99, 100, 200, 201, 300, 301)
    }
    assert chosen == {
        ("THB", 99): None,
        ("THB", 100): "A",
        ("THB", 200): "A",
        ("THB", 201): "B",
        ("THB", 300): "B",
        ("THB", 301): None,
        ("USD", 99): None,
        ("USD", 100): None,
        ("USD", 200): "B",
        ("USD", 201): "B",
        ("USD", 300): "B",
        ("USD", 301): None,
    }
    assert candidates(routes, "ADJUSTMENT", "THB", 150) == []
