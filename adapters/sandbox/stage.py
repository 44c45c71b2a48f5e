"""Which scenario a call plays: its own script's, else a rule's, else none.

A script comes with the request (field ``testScenario``, or ``#sandbox:<script>#`` anywhere in its note) and stays with
what the request made: a transfer inherits its look-up's, an inquiry its transfer's. Rules come from the control API.
Of the rules that fit, one that matches request fields outranks one for the next n calls, which outranks one for all;
among equals the newest wins. Counts live in memory: a restarted sandbox starts them anew.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from adapters.sandbox.scenario import Scenario
from adapters.sandbox.script import parse_scenario, parse_script

_MARKER: Final = re.compile(r"#sandbox:([^#]*)#")
RULES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """A call as rules see it: `facts` are its fields as text, among them its reference."""

    operation: str
    reference: str
    script: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Rule:
    """A scenario for the calls that fit: `on` these operations, with these facts, so many times; None is all."""

    scenario: Scenario
    on: frozenset[str] | None
    match: Mapping[str, str]
    times_left: int | None
    id: str = field(default_factory=lambda: uuid4().hex[:12])
    hits: int = 0

    def fits(self, call: Call) -> bool:
        """Say whether the rule is for this call."""
        if self.times_left == 0 or (self.on is not None and call.operation not in self.on):
            return False
        facts = {**call.facts, "reference": call.reference, "operation": call.operation}
        return all(facts.get(name) == value for name, value in self.match.items())

    @property
    def rank(self) -> int:
        """How special the rule is; the most special plays."""
        return 2 if self.match else int(self.times_left is not None)


class Stage:
    """The rules in force, and who has played what how often."""

    def __init__(self, *, main: str, operations: frozenset[str]) -> None:
        self.main = main
        self.operations = operations
        self._rules: dict[str, Rule] = {}
        self._played: dict[tuple[str, str, str], int] = {}

    def choose(self, call: Call) -> Scenario:
        """Return what the call plays, and count it.

        Raises:
            BadScenario: its script makes no sense.
        """
        scenario = self._scripted(call)
        if scenario is not None:
            return scenario
        fitting = [rule for rule in self._rules.values() if rule.fits(call)]
        if not fitting:
            return Scenario()
        # `max` keeps the first of equals, so the newest must come first.
        rule = max(reversed(fitting), key=lambda rule: rule.rank)
        rule.hits += 1
        if rule.times_left is not None:
            rule.times_left -= 1
        return rule.scenario

    def add(self, *, scenario: str, on: frozenset[str] | None, match: Mapping[str, str], times: int | None) -> Rule:
        """Put a rule in force.

        Raises:
            BadScenario: the words make no scenario.
        """
        rule = Rule(parse_scenario(scenario), on, match, times)
        self._rules[rule.id] = rule
        while len(self._rules) > RULES_MAX:
            del self._rules[next(iter(self._rules))]
        return rule

    def rules(self) -> list[Rule]:
        """Return the rules, oldest first."""
        return list(self._rules.values())

    def remove(self, rule_id: str | None) -> int:
        """Take back a rule, or all of them; return how many that were."""
        if rule_id is None:
            count = len(self._rules)
            self._rules.clear()
            return count
        return int(self._rules.pop(rule_id, None) is not None)

    def _scripted(self, call: Call) -> Scenario | None:
        if not call.script:
            return None
        line = parse_script(call.script, main=self.main, operations=self.operations).get(call.operation)
        if line is None:
            return None
        if line.times is not None:
            turn = (call.reference, call.operation, call.script)
            played = self._played.get(turn, 0)
            if played >= line.times:
                return None
            self._played[turn] = played + 1
        return line.scenario


def script_of(test_scenario: str | None, note: str | None) -> str:
    """Return the script a request carries: its field's, else the one marked in its note, else none."""
    if test_scenario:
        return test_scenario
    match = _MARKER.search(note or "")
    return match[1] if match else ""
