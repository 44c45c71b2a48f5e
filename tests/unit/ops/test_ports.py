"""Ports: kept where possible, replaced where not, held against everybody else."""

import socket

import pytest

from ops.embedded import ports
from ops.embedded.ports import hold, is_free, pick_ports
from ops.embedded.server import ServerFailed, free_port


def test_ports_are_kept_between_runs() -> None:
    """What was picked once is picked again while it is free."""
    first = pick_ports(["a", "b", "c"], {})
    assert len(set(first.values())) == 3
    assert pick_ports(["a", "b", "c"], first) == first


def test_a_taken_port_is_replaced_and_the_others_are_kept() -> None:
    """Only the one that somebody took changes."""
    first = pick_ports(["a", "b"], {})
    with socket.create_server(("127.0.0.1", first["a"])):
        second = pick_ports(["a", "b"], first)
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]


def test_two_names_never_get_one_port() -> None:
    """Not even where a record of an earlier run says so."""
    port = pick_ports(["a"], {})["a"]
    assert len(set(pick_ports(["a", "b"], {"a": port, "b": port}).values())) == 2


def test_a_held_port_is_nobody_elses_but_ours_to_share() -> None:
    """Others find it taken; our services bind beside the holder, which gets no connection."""
    port = free_port()
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


def test_running_out_of_ports_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No endless search."""
    monkeypatch.setattr(ports, "is_free", lambda _: False)
    with pytest.raises(ServerFailed, match="no free port"):
        pick_ports(["a"], {})
