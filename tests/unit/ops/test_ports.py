"""Ports: leased to one at a time, kept where possible, replaced where not, held against everybody else."""

import random
import socket
import subprocess
import sys

import pytest

from ops.embedded import ports
from ops.embedded.ports import hold, is_free, leased_port, leased_ports
from ops.embedded.server import ServerFailed

LESSEE = """
import sys
from ops.embedded.ports import leased_ports
with leased_ports(["a"], {"a": int(sys.argv[1])}) as ports:
    print(ports["a"], flush=True)
    sys.stdin.read()
"""


def test_ports_are_kept_between_runs() -> None:
    """What was leased once is leased again while it is free."""
    with leased_ports(["a", "b", "c"]) as first:
        assert len(set(first.values())) == 3
    with leased_ports(["a", "b", "c"], first) as second:
        assert second == first


def test_a_taken_port_is_replaced_and_the_others_are_kept() -> None:
    """Only the one that somebody took without a lease changes."""
    with leased_ports(["a", "b"]) as first:
        pass
    with socket.create_server(("127.0.0.1", first["a"])), leased_ports(["a", "b"], first) as second:
        assert second["a"] != first["a"]
        assert second["b"] == first["b"]


def test_a_leased_port_is_nobody_elses_though_nobody_listens_on_it_yet() -> None:
    """Not another process's; and it may be had again as soon as the lease is over."""
    with leased_port() as port:
        assert is_free(port), "whoever leases a port can listen on it"
        with _lessee(port) as other:
            assert other.stdout is not None
            assert int(other.stdout.readline()) != port
    with _lessee(port) as other:
        assert other.stdout is not None
        assert int(other.stdout.readline()) == port


def test_a_lease_ends_with_its_process() -> None:
    """However that ends."""
    with leased_port() as port:
        pass
    with _lessee(port) as other:
        assert other.stdout is not None
        assert int(other.stdout.readline()) == port
        with leased_ports(["a"], {"a": port}) as leased:
            assert leased["a"] != port
        other.kill()
    with leased_ports(["a"], {"a": port}) as leased:
        assert leased["a"] == port


def _lessee(port: int) -> "subprocess.Popen[str]":
    """Start a process that leases a port, and keeps it until its standard input is closed."""
    words = [sys.executable, "-c", LESSEE, str(port)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_names_never_get_one_port() -> None:
    """Not even where a record of an earlier run says so."""
    with leased_port() as port:
        pass
    with leased_ports(["a", "b"], {"a": port, "b": port}) as leased:
        assert len(set(leased.values())) == 2


def test_a_held_port_is_nobody_elses_but_ours_to_share() -> None:
    """Others find it taken; our services bind beside the holder, which gets no connection."""
    with leased_port() as port:
        with hold(port), socket.socket() as service:
            assert not is_free(port)
            service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            service.bind(("127.0.0.1", port))
            service.listen()
            for _ in range(8):
                with socket.create_connection(("127.0.0.1", port), timeout=2):
                    service.accept()[0].close()
        assert is_free(port)


def test_a_port_on_which_connections_have_just_ended_is_given_to_nobody_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were not ours, so that it could not be held; whoever had it may have it again."""
    with leased_port() as port:
        pass
    with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)) as client:
        server.accept()[0].close()  # whoever closes first has the remains
        assert not client.recv(1)
    assert is_free(port)
    assert not is_free(port, counting_remains=True)
    monkeypatch.setattr(random, "randint", lambda _first, _last: port)
    with pytest.raises(ServerFailed, match="no free port"), leased_port():
        pass
    with leased_ports(["a"], {"a": port}) as leased:
        assert leased["a"] == port


def test_running_out_of_ports_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No endless search."""
    monkeypatch.setattr(ports, "is_free", lambda _port, **_how: False)
    with pytest.raises(ServerFailed, match="no free port"), leased_port():
        pass
