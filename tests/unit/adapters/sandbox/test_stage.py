"""Which scenario a call plays."""

import pytest

from adapters.sandbox.scenario import BadScenario
from adapters.sandbox.stage import Call, Stage, script_of


@pytest.fixture
def stage() -> Stage:
    """A stage with two operations."""
    return Stage(main="transfer", operations=frozenset({"transfer", "status"}))


def call(operation: str = "transfer", reference: str = "A1", script: str = "", **facts: str) -> Call:
    """A call."""
    return Call(operation, reference, script, facts)


def test_without_rules_all_goes_well(stage: Stage) -> None:
    """Success."""
    assert stage.choose(call()).text == "success"


def test_the_newest_of_equal_rules_plays(stage: Stage) -> None:
    """And when it is used up, the one before it."""
    stage.add(scenario="slow:1", on=None, match={}, times=1)
    stage.add(scenario="slow:2", on=None, match={}, times=1)
    assert [stage.choose(call()).delay_ms for _ in range(3)] == [2, 1, 0]


def test_a_rule_that_matches_fields_outranks_counts_and_both_outrank_the_rest(stage: Stage) -> None:
    """Whatever the order in which they came."""
    stage.add(scenario="slow:3", on=None, match={"amount": "7"}, times=None)
    stage.add(scenario="slow:2", on=None, match={}, times=1)
    stage.add(scenario="slow:1", on=None, match={}, times=None)
    assert stage.choose(call(amount="7")).delay_ms == 3
    assert [stage.choose(call()).delay_ms for _ in range(2)] == [2, 1]


def test_a_script_counts_for_each_reference_and_operation(stage: Stage) -> None:
    """Used up for one, it still holds for another."""
    script = "slow:1*1;status=slow:2*1"
    assert [stage.choose(call(script=script)).delay_ms for _ in range(2)] == [1, 0]
    assert stage.choose(call("status", script=script)).delay_ms == 2
    assert stage.choose(call(reference="A2", script=script)).delay_ms == 1


def test_a_script_that_is_used_up_leaves_the_call_to_the_rules(stage: Stage) -> None:
    """So does one that is about other operations."""
    stage.add(scenario="slow:9", on=None, match={}, times=None)
    assert [stage.choose(call(script="slow:1*1")).delay_ms for _ in range(2)] == [1, 9]
    assert stage.choose(call("status", script="slow:1")).delay_ms == 9


def test_a_removed_rule_plays_no_more(stage: Stage) -> None:
    """One, or all."""
    rule = stage.add(scenario="slow:1", on=None, match={}, times=None)
    stage.add(scenario="slow:2", on=frozenset({"status"}), match={}, times=None)
    assert stage.remove(rule.id) == 1
    assert stage.remove(rule.id) == 0
    assert stage.choose(call()).delay_ms == 0
    assert stage.choose(call("status")).delay_ms == 2
    assert stage.remove(None) == 1


def test_a_script_without_sense_is_refused(stage: Stage) -> None:
    """Even if it is about another operation."""
    with pytest.raises(BadScenario):
        stage.choose(call("status", script="explode"))


@pytest.mark.parametrize(
    ("field", "note", "script"),
    [
        (None, None, ""),
        (None, "for lunch", ""),
        (None, "for #sandbox:slow:1# lunch", "slow:1"),
        ("slow:2", "for #sandbox:slow:1# lunch", "slow:2"),
        (None, "#sandbox:slow:1", ""),
    ],
)
def test_a_script_comes_with_a_field_or_in_a_note(field: str | None, note: str | None, script: str) -> None:
    """The field wins."""
    assert script_of(field, note) == script
