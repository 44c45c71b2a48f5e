"""The rules' benchmark measures what it says: as many rules as are promised for, all of them at work."""

from bench.rules import FEES, LIMITS, full_book, intents, measure, plan


def test_the_intent_measured_is_one_to_which_the_most_applies() -> None:
    """Every fee is charged and every allowance used; nothing comes out of an earlier intent."""
    book = full_book()
    assert (len(book.fees), len(book.limits)) == (FEES, LIMITS)
    first, second = (plan(book, subject) for subject in intents(2))
    assert (len(first[1].fees), len(first[2])) == (20, 12)
    assert {use.account for use in first[2]}.isdisjoint(use.account for use in second[2])


def test_every_piece_is_measured_in_every_round() -> None:
    """Figures of CPU time; what they come to is no matter for a test on a busy machine."""
    found = measure(rounds=2, count=20)
    assert {name: len(figures) for name, figures in found.items()} == {"fees": 2, "limits": 2, "all": 2}
    assert all(figure > 0 for figures in found.values() for figure in figures)
