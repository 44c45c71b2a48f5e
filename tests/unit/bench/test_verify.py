"""The proof behind the figures: no payment can be lost or made twice without being named."""

import pytest

from bench.verify import Books, book_faults, count_faults

_BEFORE = Books(ledger=[100, 100, 100], database=[100, 100, 100], transit=0)
_RIGHT = {"intents": 10, "settled": 10, "plans": 10, "events": 30, "movements": 20, "keys": 10}


def test_right_counts_are_no_fault() -> None:
    """Ten payments make ten intents, thirty events, twenty movements."""
    assert count_faults(_RIGHT, 10) == []


@pytest.mark.parametrize("what", _RIGHT)
@pytest.mark.parametrize("off_by", [-1, 1], ids=["one_missing", "one_too_many"])
def test_any_count_that_is_off_by_one_is_named(what: str, off_by: int) -> None:
    """A row too few is a payment lost, a row too many one made twice."""
    faults = count_faults({**_RIGHT, what: _RIGHT[what] + off_by}, 10)

    assert len(faults) == 1
    assert what in faults[0]


def test_books_that_moved_as_accepted_are_no_fault() -> None:
    """Every wallet holds what it held and what the payments gave or took."""
    after = Books(ledger=[90, 110, 100], database=[90, 110, 100], transit=0)

    assert book_faults(_BEFORE, after, [-10, 10, 0]) == []


@pytest.mark.parametrize(
    ("after", "named"),
    [
        (Books([100, 100, 100], [90, 110, 100], 0), ["ledger: user:w00000:THB", "ledger: user:w00001:THB"]),
        (Books([90, 110, 100], [80, 120, 100], 0), ["database: user:w00000:THB", "database: user:w00001:THB"]),
        (Books([90, 109, 100], [90, 110, 100], 1), ["1 in transit", "ledger: the wallets held", "user:w00001:THB"]),
    ],
    ids=["lost_in_the_ledger", "made_twice_in_the_database", "stuck_in_transit"],
)
def test_money_that_is_elsewhere_is_named(after: Books, named: list[str]) -> None:
    """Lost, doubled or stuck: the store and the wallets at fault are named, and nothing else is."""
    faults = book_faults(_BEFORE, after, [-10, 10, 0])

    assert len(faults) == len(named)
    assert all(words in fault for words, fault in zip(named, faults, strict=True))
