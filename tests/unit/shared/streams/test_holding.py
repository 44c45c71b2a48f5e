"""What a worker has in its hands."""

from shared.streams.holding import Holding


def test_entry_waits_runs_rests_and_goes() -> None:
    """Only a running call is measured; only what waits may be handed back."""
    held = Holding()
    held.take([b"1", b"2"])
    assert held.waiting() == [b"1", b"2"]
    held.start([b"1"], 10.0)
    assert held.waiting() == [b"2"]
    assert held.longest_s(12.5) == 2.5
    held.rest([b"1"])
    assert held.longest_s(99.0) == 0.0
    held.drop([b"1", b"unknown"])
    assert (held.ids(), len(held), b"1" in held) == ([b"2"], 1, False)


def test_longest_is_the_slowest_call() -> None:
    """One quick batch does not hide a hung one."""
    held = Holding()
    held.take([b"1", b"2"])
    held.start([b"1"], 1.0)
    held.start([b"2"], 5.0)
    assert held.longest_s(6.0) == 5.0


def test_what_was_lost_stays_lost() -> None:
    """A handler that is about to start does not bring back an entry that another consumer has."""
    held = Holding()
    held.take([b"1"])
    held.drop([b"1"])
    held.start([b"1"], 1.0)
    held.rest([b"1"])
    held.settle([b"1"])
    assert b"1" not in held
    assert not held.settling(b"1")
    assert held.longest_s(100.0) == 0.0


def test_settling_ends_with_the_entry() -> None:
    """An entry that comes back under the same id starts afresh."""
    held = Holding()
    held.take([b"1"])
    held.settle([b"1"])
    assert held.settling(b"1")
    held.drop([b"1"])
    held.take([b"1"])
    assert not held.settling(b"1")
