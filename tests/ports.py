"""What the fixture `lease` gives."""

from collections.abc import Callable

Lease = Callable[[], int]
"""Gives a free port at each call; nobody else is given it before the test is over."""
