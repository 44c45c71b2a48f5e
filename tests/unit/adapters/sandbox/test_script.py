"""The language of scenarios."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sandbox.scenario import BadScenario, Fault, FaultKind, Scenario
from adapters.sandbox.script import Line, parse_scenario, parse_script

OPERATIONS = {"lookup", "transfer", "status"}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("success", {}),
        ("decline:over_limit", {"decline": "OVER_LIMIT"}),
        ("processing", {"processing": True}),
        ("processing:250", {"processing": True, "final_after_ms": 250}),
        ("reversal:1", {"reversal_after_ms": 1}),
        ("revived:0", {"revived_after_ms": 0}),
        ("unseen:3600000", {"unseen_ms": 3_600_000}),
        ("slow:5", {"delay_ms": 5}),
        ("timeout_before_commit", {"fault": Fault(FaultKind.TIMEOUT, after_commit=False)}),
        ("timeout_after_commit", {"fault": Fault(FaultKind.TIMEOUT, after_commit=True)}),
        ("reset_after_commit", {"fault": Fault(FaultKind.RESET, after_commit=True)}),
        ("malformed_before_commit", {"fault": Fault(FaultKind.MALFORMED, after_commit=False)}),
        ("http_503_before_commit", {"fault": Fault(FaultKind.STATUS, after_commit=False, status=503)}),
        (
            "http_429_after_commit:7",
            {"fault": Fault(FaultKind.STATUS, after_commit=True, status=429, retry_after_s=7)},
        ),
        ("paid", {"payments": 1}),
        ("paid:9", {"payments": 1, "paid_after_ms": 9}),
        ("paid_twice", {"payments": 2}),
        ("paid_after_expiry:9", {"payments": 1, "paid_after_ms": 9, "paid_after_expiry": True}),
        ("paid_amount:9", {"paid_amount_minor": 9}),
        ("payment_declined:no_money", {"payment_decline": "NO_MONEY"}),
        ("callback_lost", {"callback_lost": True}),
        ("callback_late:9", {"callback_late_ms": 9}),
        ("callback_duplicate", {"callback_copies": 2}),
        ("callback_duplicate:5", {"callback_copies": 5}),
        ("callback_out_of_order", {"callback_out_of_order": True}),
        ("callback_forged", {"callback_forged": True}),
        ("callback_replayed", {"callback_replayed": True}),
        ("callback_wrong_amount:9", {"callback_amount_minor": 9}),
        ("slow:1+decline:x+callback_lost", {"delay_ms": 1, "decline": "X", "callback_lost": True}),
    ],
)
def test_every_word_means_what_it_says(text: str, fields: dict[str, object]) -> None:
    """And nothing else."""
    assert parse_scenario(text) == Scenario(text=text, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "explode",
        "decline",
        "decline:",
        "decline:OVER",
        "slow",
        "slow:",
        "slow:-1",
        "slow:1.5",
        "slow:3600001",
        "slow:\u0661",
        "success:1",
        "callback_lost:1",
        "timeout_before_commit:1",
        "timeout",
        "http_200_before_commit",
        "http_600_before_commit",
        "http_503",
        "callback_duplicate:0",
        "callback_wrong_amount:0",
        "callback_wrong_amount:1000000000000",
        "paid_amount:0",
        "callback_duplicate:101",
        "slow:1+slow:2",
        "timeout_before_commit+http_503_after_commit",
        "paid+paid_twice",
        "+",
        "success+",
    ],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    """Nothing is guessed; two words for one thing contradict each other."""
    with pytest.raises(BadScenario):
        parse_scenario(text)


def test_a_script_has_scenarios_for_operations() -> None:
    """The one that moves money need not be named; a count limits a scenario."""
    script = parse_script(
        "slow:1+callback_lost*3; status=http_503_before_commit", main="transfer", operations=OPERATIONS
    )
    assert script == {
        "transfer": Line(parse_scenario("slow:1+callback_lost"), 3),
        "status": Line(parse_scenario("http_503_before_commit"), None),
    }


@pytest.mark.parametrize(
    "text", ["", ";", "refund=success", "success;transfer=success", "success*", "success*x", "a b"]
)
def test_a_script_without_sense_is_refused(text: str) -> None:
    """Unknown operations, two scenarios for one, counts that are none."""
    with pytest.raises(BadScenario):
        parse_script(text, main="transfer", operations=OPERATIONS)


@given(st.text(max_size=60) | st.text("abcdeilmnoprst_:+*;=0123456789", max_size=60))
def test_any_text_is_a_script_or_refused(text: str) -> None:
    """Nothing but `BadScenario` comes out."""
    with suppress(BadScenario):
        parse_script(text, main="transfer", operations=OPERATIONS)
