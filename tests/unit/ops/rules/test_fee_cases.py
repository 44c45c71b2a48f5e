"""Cases of fees: the book of a file says what payments cost, and a case that expects otherwise is told."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ops.cli import app

DOCUMENT = (Path(__file__).parents[4] / "docs/rules.md").read_text("utf-8")
RULES, CASES = re.findall(r"```yaml\n(.*?)```", DOCUMENT, flags=re.DOTALL)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The examples of the documentation: rules, and cases."""
    rules, cases = tmp_path / "rules.yaml", tmp_path / "cases.yaml"
    rules.write_text(RULES)
    cases.write_text(CASES)
    return rules, cases


def tried(files: tuple[Path, Path], *more: str) -> Result:
    """Hold the cases against the rules."""
    rules, cases = files
    return CliRunner().invoke(app, ["fees", "test", str(cases), "--rules", str(rules), *more])


def test_the_documented_rules_are_sound(files: tuple[Path, Path]) -> None:
    """Without a warning, and without a mesh."""
    result = CliRunner().invoke(app, ["rules", "check", str(files[0])])
    assert result.exit_code == 0, result.output
    assert result.output == (
        "rules.yaml is sound: 1 business, 2 fees, 1 limits, 1 velocity, 3 routes, 0 keys, 0 switches\n"
    )


def test_the_documented_cases_hold(files: tuple[Path, Path]) -> None:
    """All four, in a table."""
    result = tried(files)
    assert result.exit_code == 0, result.output
    assert "4 of 4 cases are as expected" in result.output


def test_a_case_that_expects_otherwise_is_told_and_exits_1(files: tuple[Path, Path]) -> None:
    """With what was found instead; the others still stand."""
    files[1].write_text(CASES.replace("night-payout: 500", "night-payout: 499"))
    result = tried(files, "--json")
    assert result.exit_code == 1
    cases = json.loads(result.stdout)["cases"]
    assert [case["holds"] for case in cases] == [True, True, True, False]
    assert cases[3]["differences"] == ['fees: {"night-payout": 499} expected, {"night-payout": 500} found']
    assert cases[3]["line"] == 20
    assert "3 of 4 cases are as expected" in tried(files).output


def test_a_fee_that_a_case_does_not_speak_of_is_one_too_many(files: tuple[Path, Path]) -> None:
    """Nothing is overlooked."""
    files[1].write_text("- {operation: P2P_TRANSFER, currency: THB, amount_minor: 10000, expect: {fees: {}}}\n")
    assert tried(files).exit_code == 1


def test_a_refusal_may_be_expected_by_the_rule_that_refuses(files: tuple[Path, Path]) -> None:
    """And is told where it is not."""
    rule = (
        "fees:\n  - {name: big, operations: [QP_TOPUP], currency: RUB, timing: PRE, amount: {fixed_minor: 50},"
        " beneficiary: 'fee:h:RUB'}\n"
    )
    files[0].write_text(rule)
    case = "- {operation: QP_TOPUP, currency: RUB, amount_minor: 40, expect: {error: big}}\n"
    files[1].write_text(case)
    assert tried(files).exit_code == 0
    files[1].write_text(case.replace("error: big", "payer_pays_minor: 90"))
    result = tried(files, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["cases"][0]["differences"] == [
        "payer_pays_minor: 90 expected, nothing found",
        "big version 1: with it, fees come to more than the amount bears",
    ]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("{}", "cases.yaml:1: a file of cases is a list"),
        ("- {operation: ADJUSTMENT, currency: THB, amount_minor: 1, expect: {fees: {}}}", "case 1: operation"),
        ("- {operation: QP_TOPUP, currency: THB, amount_minor: 1, expect: {}}", "a case expects costs, or an error"),
        ("- {operation: QP_TOPUP, currency: THB, amount_minor: 0, expect: {fees: {}}}", "case 1: amount_minor"),
    ],
)
def test_a_file_of_cases_that_makes_no_sense_is_told(files: tuple[Path, Path], case: str, said: str) -> None:
    """Exit status 1, with the line."""
    files[1].write_text(case)
    result = tried(files)
    assert result.exit_code == 1
    assert said in result.output


def test_bad_rules_are_pointed_at(files: tuple[Path, Path]) -> None:
    """By the file they stand in."""
    files[0].write_text(RULES.replace("condition: amount >= 10000 && !", "condition: amout >= 10000 && !"))
    for command in (["rules", "check", str(files[0])], ["fees", "test", str(files[1]), "--rules", str(files[0])]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 1
        assert "rules.yaml:9: fee p2p-percent: condition: there is no variable amout" in result.output
    told = json.loads(CliRunner().invoke(app, ["rules", "check", str(files[0]), "--json"]).stdout)
    assert (told["ok"], told["findings"][0]["line"], told["findings"][0]["column"]) == (False, 9, 1)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """And no traceback."""
    result = CliRunner().invoke(app, ["rules", "check", str(tmp_path / "none.yaml")])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
