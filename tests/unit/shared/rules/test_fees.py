"""Fees by property: whatever the rules and amounts, the legs add up, and nobody pays more than was quoted."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money import AMOUNT_MINOR_MAX
from shared.rules.book import RuleBook
from shared.rules.calendar import BusinessCalendar
from shared.rules.fees import Quote
from shared.rules.model import FeeAmount, FeeRule, RuleFault, Scope, Subject, Timing

UTC = BusinessCalendar("UTC")
SCOPE = Scope(("P2P_TRANSFER",), "THB")
AMOUNTS = st.one_of(st.integers(1, 10_000), st.integers(1, AMOUNT_MINOR_MAX))


def subject(amount_minor: int = 1000, **more: Any) -> Subject:
    """A transfer in baht."""
    return Subject("P2P_TRANSFER", "THB", amount_minor, more.pop("at_ms", 0), "user:ann", **more)


def rule(name: str = "a", **more: Any) -> FeeRule:
    """A fee of ten satang on top, unless said otherwise."""
    fields: dict[str, Any] = {
        "scope": SCOPE,
        "timing": Timing.PRE,
        "amount": FeeAmount(10),
        "beneficiary": "fee:a:THB",
    } | more
    return FeeRule(name, 1, **fields)


def quoted(*rules: FeeRule, **more: Any) -> Quote | RuleFault:
    """What a transfer costs by these rules."""
    return RuleBook(calendar=UTC, fees=rules).quote(subject(**more))


FEE_AMOUNTS = st.builds(
    lambda fixed, bps, least, room: FeeAmount(fixed, bps, least, None if room is None else least + room),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.none() | st.integers(0, 10_000),
)
EXPRESSIONS = st.sampled_from(["amount / 100", "amount % 7", "0", "amount > 50 ? 5 : 0", "amount - 1", "amount"])
RULES = st.lists(
    st.builds(
        lambda timing, amount, final: {"timing": timing, "amount": amount, "final": final},
        st.sampled_from(Timing),
        FEE_AMOUNTS | EXPRESSIONS,
        st.booleans(),
    ),
    max_size=6,
)


@given(RULES, AMOUNTS)
def test_sender_recipient_and_fees_add_up_or_the_rule_at_fault_is_named(
    specs: list[dict[str, Any]], amount: int
) -> None:
    """No fee is negative, together they are at most the amount, and the recipient receives something."""
    quote = quoted(*(rule(f"r{number}", **spec) for number, spec in enumerate(specs)), amount_minor=amount)
    if isinstance(quote, RuleFault):
        assert quote.rule in {f"r{number}" for number in range(len(specs))}
        return
    total = sum(fee.amount_minor for fee in quote.fees)
    assert quote.payer_pays_minor == quote.payee_gets_minor + total
    assert all(fee.amount_minor > 0 for fee in quote.fees)
    assert total <= amount
    assert quote.payee_gets_minor > 0
    assert quote.payer_pays_minor <= AMOUNT_MINOR_MAX


@given(FEE_AMOUNTS, AMOUNTS)
def test_a_fee_as_data_is_rounded_half_up_within_its_bounds(amount: FeeAmount, minor: int) -> None:
    """Checked against fractions of whole units: never a float."""
    exact_twice = amount.fixed_minor * 20_000 + minor * amount.bps * 2
    rounded = (exact_twice + 10_000) // 20_000
    expected = max(rounded, amount.min_minor)
    if amount.max_minor is not None:
        expected = min(expected, amount.max_minor)
    assert amount.of(minor) == expected


@pytest.mark.parametrize(
    ("bps", "amount", "fee"), [(100, 49, 0), (100, 50, 1), (100, 149, 1), (100, 150, 2), (1, 4999, 0), (1, 5000, 1)]
)
def test_half_a_unit_goes_up(bps: int, amount: int, fee: int) -> None:
    """The sentence in the documentation, as figures."""
    assert FeeAmount(bps=bps).of(amount) == fee


def test_rules_apply_in_the_order_of_priority_and_name_until_a_final_one() -> None:
    """One that does not apply is not final."""
    rules = (
        rule("b", priority=1),
        rule("a", priority=1),
        rule("no", priority=2, final=True, condition="amount > 5000"),
        rule("stop", priority=3, final=True, amount=FeeAmount(0)),
        rule("never", priority=4),
    )
    quote = quoted(*rules)
    assert isinstance(quote, Quote)
    assert [fee.rule for fee in quote.fees] == ["a", "b"]


def test_a_rule_is_in_force_from_its_first_moment_to_before_its_last() -> None:
    """By the time at which the intent was accepted."""
    one = rule(active_from_ms=100, active_until_ms=200)
    charged: Counter[int] = Counter()
    for at_ms in (99, 100, 199, 200):
        quote = quoted(one, at_ms=at_ms)
        assert isinstance(quote, Quote)
        charged[at_ms] = len(quote.fees)
    assert charged == {99: 0, 100: 1, 199: 1, 200: 0}


def test_rules_know_only_their_operations_currency_and_tags() -> None:
    """A rule of another currency, or for tags that the intent lacks, is not asked."""
    book = RuleBook(
        calendar=UTC,
        fees=[
            rule("usd", scope=Scope(("P2P_TRANSFER",), "USD")),
            rule("out", scope=Scope(("IPPS_WITHDRAWAL",), "THB")),
            rule("vip", scope=Scope(("P2P_TRANSFER",), "THB", ("vip", "old"))),
        ],
    )
    charged = [
        quote.fees if isinstance(quote := book.quote(subject(tags=tags)), Quote) else None
        for tags in ((), ("vip",), ("old", "vip"))
    ]
    assert [fees and [fee.rule for fee in fees] for fees in charged] == [(), (), ["vip"]]


def test_hour_and_weekday_are_those_of_the_business() -> None:
    """1970-01-01 was a Thursday; at 18:00 UTC it was Friday in Bangkok, one o'clock."""
    night = rule(condition="hour == 1 && weekday == 5")
    book = RuleBook(calendar=BusinessCalendar("Asia/Bangkok"), fees=[night])
    there = book.quote(subject(at_ms=18 * 3_600_000))
    assert isinstance(there, Quote)
    assert there.pre_minor == 10
    here = quoted(night, at_ms=18 * 3_600_000)
    assert isinstance(here, Quote)
    assert here.pre_minor == 0


@pytest.mark.parametrize(
    ("spec", "detail"),
    [
        ({"condition": "metadata.tier == 'x'"}, "a label or element that is not there; ask with has() or `in` first"),
        ({"condition": "tags[3] == 'x'"}, "a label or element that is not there; ask with has() or `in` first"),
        ({"condition": "1 / (amount - 1000) > 0"}, "a division by zero"),
        ({"condition": "amount * 9223372036854775807 > 0"}, "a number beyond 64 bits"),
        ({"condition": "amount > currency"}, "values of different kinds in one operation"),
        ({"condition": "amount"}, "a condition is true or false, not int"),
        ({"amount": "amount > 5"}, "an amount is a whole number, not bool"),
        ({"amount": "1.5"}, "an amount is a whole number, not float"),
        ({"amount": "0 - amount"}, "an amount is 0 or more, and fits 63 bits"),
        ({"amount": FeeAmount(1001)}, "with it, fees come to more than the amount bears"),
        ({"amount": FeeAmount(1000), "timing": Timing.POST}, "with it, fees come to more than the amount bears"),
    ],
)
def test_a_rule_at_fault_refuses_by_its_name_and_tells_no_value(spec: dict[str, Any], detail: str) -> None:
    """Never no fee, never a guess."""
    assert quoted(rule("bad", **spec)) == RuleFault("bad", 1, detail)


def test_one_intent_never_sees_what_another_one_said() -> None:
    """The engine's context is used again and again; every variable that a rule needs is set anew."""
    book = RuleBook(
        calendar=UTC,
        fees=[rule("gold", condition='"tier" in metadata && metadata.tier == "gold" && "vip" in tags')],
    )
    said = [({"tier": "gold"}, ("vip",)), ({}, ("vip",)), ({"tier": "gold"}, ()), ({"tier": "gold"}, ("vip",))]
    fees = []
    for labels, tags in said:
        quote = book.quote(subject(labels=labels, tags=tags))
        assert isinstance(quote, Quote)
        fees.append(len(quote.fees))
    assert fees == [1, 0, 0, 1]
