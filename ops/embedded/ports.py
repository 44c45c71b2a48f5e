"""Loopback ports of our own: leased before anybody listens, kept between runs, held while a service restarts.

A port's number is needed long before somebody listens on it: it stands in settings and in the URLs of callbacks. So it
is leased: for as long as the TCP port is meant, the UDP port of the same number is bound. Of two processes that want
one port the kernel lets one bind, and the other looks elsewhere; a lease ends with its process, however that ends, and
leaves nothing behind. Nobody here speaks UDP.

Ports are taken below the range that the kernel hands to outgoing connections and to whoever asks for any port, so that
nobody who knows nothing of leases comes to sit on one. This module must never name a port that it does not hold.
"""

import random
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from ops.embedded.server import ServerFailed

_FIRST = 20_000
_LAST = 32_000
_TRIES_MAX = 2_000


def is_free(port: int, *, counting_remains: bool = False) -> bool:
    """Say whether nobody listens on the loopback port, or holds it.

    What remains of closed connections keeps nobody from listening who says so with SO_REUSEADDR, but it keeps a port
    from being held by somebody who was no part of them; `counting_remains`, such a port is not free.
    """
    with socket.socket() as probe:
        if not counting_remains:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def leased_port() -> Iterator[int]:
    """Give a free port that nobody else is given for the length of the block."""
    with leased_ports(["any"]) as ports:
        yield ports["any"]


@contextmanager
def leased_ports(names: Iterable[str], kept: Mapping[str, int] | None = None) -> Iterator[dict[str, int]]:
    """Give each name a free port for the length of the block: the one it had before, if that can still be had.

    Raises:
        ServerFailed: no free port was found in 2,000 tries.
    """
    before = dict(kept or {})
    with ExitStack() as leases:
        chosen: dict[str, int] = {}
        for name in names:
            port = before.get(name)
            lease = _lease(port) if port is not None else None
            if lease is None:
                lease = _lease_any(others={*before.values()})
            chosen[name] = leases.enter_context(lease).getsockname()[1]
        yield chosen


def hold(port: int) -> socket.socket:
    """Hold a port for services that share it with SO_REUSEPORT; while they are away nobody else gets it.

    The socket never listens, so that the kernel gives it no connection.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", port))
    return held


def _lease(port: int, *, counting_remains: bool = False) -> socket.socket | None:
    """Return what leases a port until it is closed; None where somebody has the lease, or the port without one."""
    lease = socket.socket(type=socket.SOCK_DGRAM)
    try:
        lease.bind(("127.0.0.1", port))
    except OSError:
        lease.close()
        return None
    if is_free(port, counting_remains=counting_remains):
        return lease
    lease.close()
    return None


def _lease_any(*, others: set[int]) -> socket.socket:
    for _ in range(_TRIES_MAX):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - spread, not secrecy
        if port not in others and (lease := _lease(port, counting_remains=True)) is not None:
            return lease
    raise ServerFailed(f"no free port between {_FIRST} and {_LAST}")
