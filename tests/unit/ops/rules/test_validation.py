"""Rules are tried before they live: both engines agree on every sample, or the expression is pointed at."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from ops.rules.documents import read_document
from ops.rules.facts import Facts
from ops.rules.findings import Finding, told
from ops.rules.samples import CHANNELS, SAMPLES_MAX, named_in, samples
from ops.rules.second_opinion import Objection, answer, both
from ops.rules.validation import validate
from shared.rules.expressions import Context
from shared.rules.model import Scope

KNOWN = Facts(
    psps={"ipps": frozenset({"IPPS_WITHDRAWAL"})},
    channels={"IPPS_WITHDRAWAL": ("IPPS",)},
    open_accounts=frozenset({"merchant:shop:THB"}),
)


def fee(condition: str = "true", amount: str = "{bps: 100}", **fields: str) -> str:
    """A file with one fee; its condition stands in line 5, its amount in line 6."""
    said = {"timing": "PRE", "beneficiary": "fee:house:THB"} | fields
    return (
        "fees:\n  - name: f\n    operations: [P2P_TRANSFER, IPPS_WITHDRAWAL]\n    currency: THB\n"
        f"    condition: {condition!r}\n    amount: {amount}\n"
        + "".join(f"    {name}: {value}\n" for name, value in said.items())
    )


def found(text: str, facts: Facts | None = None) -> list[Finding]:
    """What is wrong with a file."""
    return validate(read_document(text.encode()), facts or Facts())


def said(text: str, facts: Facts | None = None) -> str:
    """The one thing that is wrong with a file."""
    (finding,) = found(text, facts)
    return told(finding, "r.yaml")


@pytest.mark.parametrize(
    "condition",
    [
        "amount > 10000",
        "'vip' in tags && hour < 6",
        "has(metadata.tier) && metadata.tier == 'gold'",
        "'tier' in metadata && metadata['tier'] == 'gold'",
        "tags.exists(t, t.startsWith('v')) || weekday == 7",
        "operation_type == 'P2P_TRANSFER' && channel != 'IPPS' && currency == 'THB'",
        "user_id.contains('a') || amount % 2 == 1",
    ],
)
def test_a_condition_that_both_engines_understand_passes(condition: str) -> None:
    """Without a word."""
    assert not found(fee(condition.replace("'", '"')))


def test_an_expression_that_cannot_be_read_is_pointed_at() -> None:
    """File, line, rule, field, and the column under the expression."""
    assert said(fee("amount > 5 && amout < 3")) == (
        "r.yaml:5: fee f: condition: there is no variable amout; there are amount, channel, currency, hour, metadata, "
        "operation_type, tags, user_id, weekday\n"
        "    amount > 5 && amout < 3\n"
        "                  ^"
    )
    lines = said(fee("amount > (3")).splitlines()
    assert lines[1] == "    amount > (3"
    assert lines[2].endswith("^")


def test_the_caret_stands_in_the_line_at_fault() -> None:
    """Of an expression over several."""
    text = fee().replace("amount: {bps: 100}", "amount: |\n      amount > 5\n      ? amout\n      : 1")
    lines = said(text).splitlines()
    assert lines[0].startswith("r.yaml:6: fee f: amount: there is no variable amout")
    assert lines[1:] == ["    ? amout", "      ^"]


@pytest.mark.parametrize(
    ("condition", "told_so"),
    [
        ("metadata.tier == 3", "a label or element that is not there; ask with has() or `in` first"),
        ("amount == 2000.0", "the second engine has no answer, TypeError (on the sample amount = 1)"),
        ("amount + 1", "a condition is true or false, not int"),
        ("amount / (amount - 7) > 1", "a division by zero (on the sample amount = 7)"),
        ("tags[0] == 3", "not there; ask"),
        ("size(metadata) > 0 && metadata.map(k, k)[1] == 'x'".replace("'", '"'), "is not there"),
        ("tags.all(a, tags.all(b, a == b))", "one comprehension at most"),
        ("'x'.matches('(a+)+b')".replace("'", '"'), "may not be used in a rule"),
        ("timestamp(0) < timestamp(1)", "may not be used in a rule"),
    ],
)
def test_a_condition_that_faults_on_a_sample_is_refused(condition: str, told_so: str) -> None:
    """Saying on which."""
    assert told_so in said(fee(condition))


@pytest.mark.parametrize(
    ("amount", "told_so"),
    [
        ("amount * 1.5", "values of different kinds in one operation"),
        ("\"'vip' in tags ? 2.5 : 1.0\"", "an amount is a whole number, not float"),
        ("amount - 200", "an amount is 0 or more"),
        ("amount * 10000 / 10000", "a number beyond 64 bits (on the sample amount = 1000000000000000)"),
        ("\"'yes'\"", "not str"),
        ("'amount > 5'", "not bool"),
        ("amount * 2", "the fee of 200 is more than the amount bears (on the sample amount = 100"),
        ("{fixed_minor: 10001}", "the fee of 10001 is more than the amount bears (on the sample amount = 100)"),
    ],
)
def test_an_amount_that_is_none_is_refused(amount: str, told_so: str) -> None:
    """A fraction, a debt, an overflow, a word; or more than there is."""
    assert told_so in said(fee("amount >= 100", amount))


def test_a_fault_behind_a_tag_that_only_the_expression_names_is_found() -> None:
    """What it compares with is tried too."""
    assert "division by zero" in said(fee("amount > 99", "\"'vip' in tags ? amount / 0 : 1\""))
    assert "division by zero" in said(fee("amount == 4321", '"4 / (amount - 4321)"'))


def test_a_fee_beyond_tiny_amounts_only_is_a_warning() -> None:
    """They are refused when they come, and nobody misses them."""
    (finding,) = found(fee(amount="{fixed_minor: 90}"))
    assert finding.warning
    assert "amounts below 100" in finding.text
    assert not found(fee("amount > 90", "{fixed_minor: 90}"))
    assert not found(fee(amount="{bps: 100, min_minor: 500, max_minor: 900}"))


def test_a_fee_of_all_that_the_recipient_gets_is_refused() -> None:
    """POST leaves them something; PRE may come to as much as the amount."""
    assert "more than the amount bears" in said(fee(amount="{bps: 10000}", timing="POST"))
    assert not found(fee(amount="{bps: 10000}"))


def test_fees_that_are_too_much_together_are_a_warning() -> None:
    """Tags may keep them apart."""
    two = fee(amount="{bps: 6000}").replace("name: f", "name: g") + fee(amount="{bps: 6000}").partition("\n")[2]
    findings = found(two)
    assert [(one.rule, one.warning) for one in findings] == [("fee g", True)]


def test_a_condition_that_never_holds_is_a_warning() -> None:
    """What it would come to has not been tried."""
    (finding,) = found(fee("amount < 0"))
    assert finding.warning
    assert "untried" in finding.text


@pytest.mark.parametrize(
    ("beneficiary", "told_so"),
    [
        ("psp:ipps:THB", "fees go to a fee, user or merchant account"),
        ("transit:THB", "fees go to"),
        ("fee:house:USD", "the fee is in THB, the account in USD"),
        ("fee:house", "must read fee:<id>:<CCY>"),
        ("user:ann:THB", "this wallet is not open"),
    ],
)
def test_a_fee_goes_where_it_may(beneficiary: str, told_so: str) -> None:
    """To accounts of its currency that are the house's, or open."""
    assert told_so in said(fee(beneficiary=beneficiary), KNOWN)
    assert not found(fee(beneficiary="merchant:shop:THB"), KNOWN)


@pytest.mark.parametrize(
    ("section", "entry", "most"),
    [
        ("fees", "timing: PRE, amount: {}, beneficiary: 'fee:h:THB'", 20),
        ("limits", "daily_max_minor: 5, daily_max_count: 5", 6),
        ("velocity", "per: user, window_s: 60, max_count: 3, action: monitor", 8),
    ],
)
def test_rules_of_an_operation_and_currency_are_bounded(section: str, entry: str, most: int) -> None:
    """The one that is too many is named; other currencies count apart."""

    def file(number: int, code: str = "THB") -> str:
        said = entry.replace("THB", code)
        return "".join(
            f"  - {{name: {code.lower()}{each}, operations: [P2P_TRANSFER, QP_TOPUP], currency: {code}, {said}}}\n"
            for each in range(number)
        )

    assert not found(f"{section}:\n{file(most)}{file(most, 'USD')}")
    findings = found(f"{section}:\n{file(most + 1)}{file(most, 'USD')}")
    assert {finding.text.split(" has ")[0] for finding in findings} == {
        "with it, P2P_TRANSFER in THB",
        "with it, QP_TOPUP in THB",
    }
    assert {finding.rule.split()[1] for finding in findings} == {f"thb{most}"}


def test_routes_and_switches_name_what_there_is() -> None:
    """An operation nobody knows is a fault; a channel that nobody offers, a second look."""
    text = (
        "routes:\n"
        "  - {name: a, operation_type: NOPE, channel: IPPS}\n"
        "  - {name: b, operation_type: P2P_TRANSFER, channel: IPPS}\n"
        "  - {name: c, operation_type: IPPS_WITHDRAWAL, channel: INTERNAL_P2P}\n"
        "  - {name: d, operation_type: QP_TOPUP, channel: QP}\n"
        "  - {name: e, operation_type: IPPS_WITHDRAWAL, channel: IPPS}\n"
        "switches:\n"
        "  - {psp: gone, reason: x}\n"
        "  - {psp: ipps, operation: QP_TOPUP, reason: x}\n"
        "  - {psp: ipps, operation: IPPS_WITHDRAWAL, reason: x}\n"
    )
    findings = {(one.rule, one.field): one.warning for one in found(text, KNOWN)}
    assert findings == {
        ("route a", "operation_type"): False,
        ("route b", "channel"): False,
        ("route c", "channel"): False,
        ("route d", "channel"): True,
        ("switch gone:*", "psp"): False,
        ("switch ipps:QP_TOPUP", "operation"): False,
    }


def test_engines_that_disagree_are_told_with_both_answers() -> None:
    """The sample too, so that the author can see for themselves."""
    one, other = both("amount * 2", "amount"), both("amount * 3", "amount")
    with pytest.raises(Objection, match=re.escape("the engines disagree: 14 and 21 (on the sample amount = 7)")):
        answer(replace(one, second=other.second), {"amount": 7}, Context())


def test_a_velocity_condition_is_tried_too() -> None:
    """As that of a fee."""
    text = (
        "velocity:\n  - {name: v, operations: [QP_TOPUP], currency: RUB, per: user, window_s: 60, max_count: 3,\n"
        "     action: reject, condition: 'metadata.country == 5'}\n"
    )
    assert said(text).startswith("r.yaml:3: velocity v: condition: a label or element that is not there")


def test_a_velocity_condition_cannot_ask_for_the_channel() -> None:
    """It is asked before a channel is chosen: the rule would hold for nothing, and nobody would notice."""
    text = (
        "velocity:\n  - {name: v, operations: [IPPS_WITHDRAWAL], currency: THB, per: user, window_s: 60,\n"
        "     max_count: 3, action: reject, condition: \"channel == 'IPPS'\"}\n"
    )
    assert said(text) == (
        "r.yaml:3: velocity v: condition: velocity rules are asked before a channel is chosen: none may name it\n"
        "    channel == 'IPPS'"
    )


def test_samples_are_the_same_each_time_and_bounded() -> None:
    """However many variables an expression names; each of the given amounts is among them."""
    source = (
        "amount > 5 && hour > 3 && weekday > 2 && user_id != 'b' && channel != 'c' && 'd' in tags && has(metadata.e)"
    )
    needs = frozenset({"amount", "hour", "weekday", "user_id", "channel", "tags", "metadata"})
    scope = Scope(("P2P_TRANSFER", "QP_TOPUP"), "THB", ("vip",))
    first, again = (samples(scope, needs, named_in([source]), CHANNELS) for _ in range(2))
    assert first == again
    assert len(first) == SAMPLES_MAX
    assert {sample["amount"] for sample in first} >= {1, 2, 99, 10_000, 10**15, 4, 5, 6}
    assert {len(sample["tags"]) for sample in first if isinstance(sample["tags"], list)} >= {0, 1, 16}


def test_no_other_command_waits_for_the_second_engine() -> None:
    """It takes longer to import than most of them to run."""
    code = "import sys, ops.cli; sys.exit('celpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
