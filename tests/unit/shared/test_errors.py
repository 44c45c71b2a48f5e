"""The error tree: the class says what may be done, the code stays stable."""

import pytest

from shared import errors
from shared.errors import InvariantViolation, PaymeshError, Permanent, Transient, require, violated


def every_class() -> list[type[PaymeshError]]:
    """Return every class of the tree, wherever it is defined by now."""
    found, ahead = [], [PaymeshError]
    while ahead:
        found.append(ahead.pop())
        ahead += found[-1].__subclasses__()
    return found


def test_every_class_has_words_and_a_code_of_its_own() -> None:
    """Callers and dashboards go by the code."""
    ours = [error for error in every_class() if error.__module__ == errors.__name__]
    codes = [error.code for error in ours]
    assert len(set(codes)) == len(codes)
    assert all(error.__doc__ for error in ours)
    assert {"transient", "outcome_unknown", "permanent", "bad_input", "store_mismatch", "invariant_violation"} <= {
        *codes
    }


def test_an_error_without_words_says_what_its_class_is_for() -> None:
    """The docstring is the default message."""
    assert str(Transient()) == Transient.__doc__
    assert str(Transient("no database")) == "no database"


def test_a_code_can_be_narrowed_for_one_error_only() -> None:
    """The class keeps its own."""
    assert Transient("x", code="database_unavailable").code == "database_unavailable"
    assert Transient("x").code == "transient"


def test_what_stops_the_process_is_never_mistaken_for_what_may_be_retried() -> None:
    """Nor for what can be compensated."""
    assert not issubclass(InvariantViolation, Transient | Permanent)
    assert not issubclass(Permanent, Transient)


def test_a_money_invariant_holds_without_assertions() -> None:
    """`assert` vanishes under ``-O``; this does not."""
    require([0], "a true value of any type passes")
    with pytest.raises(InvariantViolation, match="transit is not zero"):
        require(0, "transit is not zero")
    with pytest.raises(InvariantViolation, match="no such state"):
        violated("no such state")
