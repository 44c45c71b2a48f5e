"""What a worker has in its hands: entries delivered to it and not settled yet, started or waiting.

This module must never do I/O; the worker's heartbeat renews what stands here, and nothing else.
"""

from collections.abc import Iterable


class Holding:
    """Entry ids held, each with the time at which its handler was called, or None while it waits."""

    def __init__(self) -> None:
        self._started: dict[bytes, float | None] = {}
        self._settling: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._started)

    def __contains__(self, entry_id: bytes) -> bool:
        return entry_id in self._started

    def take(self, ids: Iterable[bytes]) -> None:
        """Hold entries that wait for their handler."""
        self._started.update((entry_id, None) for entry_id in ids)

    def start(self, ids: Iterable[bytes], now_s: float) -> None:
        """Note that the handler has been called; ids lost in the meantime stay lost."""
        for entry_id in ids:
            if entry_id in self._started:
                self._started[entry_id] = now_s

    def rest(self, ids: Iterable[bytes]) -> None:
        """Note that the handler has returned and the entries wait for another call."""
        for entry_id in ids:
            if entry_id in self._started:
                self._started[entry_id] = None

    def settle(self, ids: Iterable[bytes]) -> None:
        """Note that a verdict is being carried out: an entry found gone from now on may be gone through us."""
        self._settling.update(entry_id for entry_id in ids if entry_id in self._started)

    def settling(self, entry_id: bytes) -> bool:
        """Say whether a verdict on the entry is being carried out."""
        return entry_id in self._settling

    def drop(self, ids: Iterable[bytes]) -> None:
        """Let go of entries: settled, handed back or lost."""
        for entry_id in ids:
            self._started.pop(entry_id, None)
            self._settling.discard(entry_id)

    def ids(self) -> list[bytes]:
        """Return everything held."""
        return list(self._started)

    def waiting(self) -> list[bytes]:
        """Return what is held without its handler having been called."""
        return [entry_id for entry_id, started in self._started.items() if started is None]

    def longest_s(self, now_s: float) -> float:
        """Return for how long the slowest handler call has been running."""
        return max((now_s - started for started in self._started.values() if started is not None), default=0.0)
