"""Loopback ports of our own: picked once, kept between runs, held against others while a service restarts.

Ports are taken below the range that the kernel hands to outgoing connections, so that nobody's client socket sits on
one when we come back to it.
"""

import random
import socket
from collections.abc import Iterable, Mapping

from ops.embedded.server import ServerFailed

_FIRST = 20_000
_LAST = 32_000
_TRIES_MAX = 2_000


def is_free(port: int) -> bool:
    """Say whether nobody holds the loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # remains of closed connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def pick_ports(names: Iterable[str], kept: Mapping[str, int]) -> dict[str, int]:
    """Give each name a free port: the one it had before, if it still is free.

    Raises:
        ServerFailed: no free port was found in 2,000 tries.
    """
    chosen: dict[str, int] = {}
    for name in names:
        before = kept.get(name)
        taken = set(chosen.values())
        chosen[name] = (
            before if before and before not in taken and is_free(before) else _fresh(taken | {*kept.values()})
        )
    return chosen


def hold(port: int) -> socket.socket:
    """Hold a port for services that share it with SO_REUSEPORT; while they are away nobody else gets it.

    The socket never listens, so that the kernel gives it no connection.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", port))
    return held


def _fresh(taken: set[int]) -> int:
    for _ in range(_TRIES_MAX):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - spread, not secrecy
        if port not in taken and is_free(port):
            return port
    raise ServerFailed(f"no free port between {_FIRST} and {_LAST}")
