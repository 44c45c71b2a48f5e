"""Files of rules: everything wrong with their shape is told at once, with its line; nothing in them is ambiguous."""

import pytest

from ops.rules.documents import document_of, read_document, write_document
from ops.rules.entries import SECTIONS
from ops.rules.findings import RulesRefused, told
from ops.rules.yaml_text import BYTES_MAX

FEE = """\
fees:
  - name: p2p
    operations: [P2P_TRANSFER]
    currency: THB
    timing: PRE
    amount: {fixed_minor: 100, bps: 50, min_minor: 100, max_minor: 5000}
    beneficiary: fee:house:THB
"""


def faults(text: str | bytes) -> list[str]:
    """What is said about a file."""
    with pytest.raises(RulesRefused) as refused:
        read_document(text if isinstance(text, bytes) else text.encode())
    return [told(finding, "r.yaml") for finding in refused.value.findings]


def test_an_entry_says_what_goes_without_saying() -> None:
    """The body has every field, so that another default tomorrow changes nothing."""
    (placed,) = read_document(FEE.encode()).entries("fees")
    assert placed.entry.body() == {
        "operations": ["P2P_TRANSFER"],
        "currency": "THB",
        "tags": [],
        "timing": "PRE",
        "condition": "true",
        "amount": {"fixed_minor": 100, "bps": 50, "min_minor": 100, "max_minor": 5000},
        "beneficiary": "fee:house:THB",
        "priority": 100,
        "final": False,
        "active_from": None,
        "active_until": None,
    }


def test_sections_that_do_not_stand_there_are_not_empty_ones() -> None:
    """Left alone is not the same as removed."""
    assert set(read_document(b"fees: []\n").sections) == {"fees"}


def test_everything_that_is_wrong_is_told_at_once_with_its_line() -> None:
    """And whose fault it is."""
    text = FEE + (
        "  - name: Bad Name\n"
        "    operations: [ADJUSTMENT]\n"
        "    currency: BAHT\n"
        "    timing: LATER\n"
        "    amount: {fixed_minor: 1.5, fixed: 3}\n"
        "limits:\n"
        "  - {name: empty, operations: [P2P_TRANSFER], currency: THB}\n"
        "lmits: []\n"
    )
    said = faults(text)
    for part in (
        "r.yaml:8: fee Bad Name: name: ",
        "r.yaml:9: fee Bad Name: operations: a rule speaks of P2P_TRANSFER",
        "r.yaml:10: fee Bad Name: currency: not an active ISO 4217 currency code",
        "r.yaml:11: fee Bad Name: timing: ",
        "r.yaml:12: fee Bad Name: amount.fixed_minor: ",
        "r.yaml:12: fee Bad Name: amount.fixed: there is no such field",
        "r.yaml:8: fee Bad Name: beneficiary: is missing",
        "r.yaml:14: limit empty: a limit bounds something",
        "r.yaml:15: there is no section lmits",
    ):
        assert any(line.startswith(part) for line in said), (part, said)
    assert len(said) == 9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fees: []\nfees: []\n", "r.yaml:2: fees stands there twice"),
        ("fees:\n  - {name: a, name: b}\n", "r.yaml:2: name stands there twice"),
        ("limits: &x []\nfees: *x\n", "r.yaml:2: anchors and aliases"),
        ("fees: !!python/object:os.system []\n", "r.yaml:1: tags are not taken"),
        ("routes:\n  - {priority: 0100}\n", "r.yaml:2: a number is written in base ten"),
        ("velocity:\n  - {window_s: 1:30}\n", "r.yaml:2: a number is written in base ten"),
        ("fees: [\n", "not YAML"),
        ("- a\n", "a file of rules has sections"),
        ("", "a file of rules has sections"),
        ("fees:\n", "a section is a list"),
        ("business: []\n", "an entry is a list of fields"),
        ("? [a]\n: b\n", "a key is a word"),
        ("fees: " + "[" * 40 + "]" * 40, "deep"),
        (b"\xff\xfe\x00", "not"),
        (b" " * (BYTES_MAX + 1), "at most"),
        ("business: {time_zone: Mars/Olympus}\n", "time zone"),
        ("switches:\n  - {psp: ipps, reason: ' '}\n", "switch: reason"),
    ],
)
def test_what_could_mean_two_things_is_refused(text: str | bytes, said: str) -> None:
    """Or has no bound."""
    assert any(said in line for line in faults(text)), faults(text)


def test_a_name_stands_once_in_its_section() -> None:
    """With the line of the first."""
    assert faults(FEE + FEE.partition("\n")[2]) == ["r.yaml:8: fee p2p: stands there twice; first in line 2"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["amount: {min_minor: 5, max_minor: 4}"], "amount: max_minor is below min_minor"),
        (["amount: {bps: 10001}"], "amount.bps: "),
        (["active_from: 2026-12-01 00:00:00"], "active_from: "),
        (
            ["active_from: 2026-12-02T00:00:00Z", "active_until: 2026-12-01T00:00:00Z"],
            "active_until does not lie after",
        ),
        (["tags: [a, a]"], "tags: one of them stands there twice"),
        (["priority: '7'"], "priority: "),
        (["priority: true"], "priority: "),
    ],
)
def test_a_fee_that_contradicts_itself_is_refused(fields: list[str], said: str) -> None:
    """In its own words."""
    given = {field.partition(":")[0] for field in fields}
    lines = [line for line in FEE.splitlines() if line.strip().partition(":")[0] not in given]
    told_so = faults("\n".join([*lines, *(f"    {field}" for field in fields)]))
    assert [line for line in told_so if said in line] == told_so


def test_a_document_written_is_read_back_as_it_was() -> None:
    """Whatever stands in it, quotes and other scripts included."""
    sections = {
        "business": [("business", {"time_zone": "Asia/Bangkok"})],
        "switches": [("ipps:*", {"psp": "ipps", "operation": "*", "reason": 'ระงับ: "double" # payouts'})],
        "fees": [(placed.name, placed.entry.body()) for placed in read_document(FEE.encode()).entries("fees")],
        "limits": [],
    }
    read = read_document(write_document(sections).encode())
    assert {
        section: [(placed.name, placed.entry.body()) for placed in entries]
        for section, entries in read.sections.items()
    } == sections
    assert list(read.sections) == [section for section in SECTIONS if section in sections]


def test_a_moment_is_kept_in_utc() -> None:
    """Two ways to write it are no difference."""
    one, two = (
        read_document(f"{FEE}    active_from: {moment}\n".encode()).entries("fees")[0].entry.body()
        for moment in ("2026-12-01T00:00:00+07:00", "2026-11-30T17:00:00Z")
    )
    assert one == two
    assert one["active_from"] == "2026-11-30T17:00:00Z"


def test_what_was_stored_under_wider_bounds_is_told() -> None:
    """A rollback to it is refused, not bent."""
    with pytest.raises(RulesRefused, match="limit old"):
        document_of({"limits": [("old", {"operations": ["GONE"], "currency": "THB", "daily_max_minor": 1})]})
