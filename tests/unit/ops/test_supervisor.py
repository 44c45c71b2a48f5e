"""Supervision: what dies is started again with growing pauses; what cannot start ends the run."""

import signal
from pathlib import Path

import pytest

from ops.embedded import supervisor
from ops.embedded.server import Server, ServerFailed
from ops.embedded.supervisor import Supervisor, _Watch, how_it_ended


class Fake(Server):
    """A child that runs or does not, as the test says."""

    alive = True
    code: int | None = None
    spawned = 0

    @property
    def running(self) -> bool:
        """Whether the test says so."""
        return self.alive

    @property
    def exit_code(self) -> int | None:
        """What the test says."""
        return self.code

    @property
    def pid(self) -> int:
        """A number."""
        return 4711

    def spawn(self) -> None:
        """Count."""
        self.spawned += 1
        self.alive = True


def fake(tmp_path: Path) -> Fake:
    """A fake child with a log."""
    return Fake(name="worker-1", argv=[], log=tmp_path / "worker-1.log", ready=lambda: True)


def watched(server: Server, said: list[str]) -> tuple[Supervisor, _Watch]:
    """A supervisor and its watch on one child, started at time 0."""
    return Supervisor([server], said.append, lambda: said.append("changed")), _Watch(server, 0.0)


def test_a_dead_child_is_started_again_after_a_pause(tmp_path: Path) -> None:
    """It is said when it died, how, and when it is back; whoever keeps process ids is told."""
    server = fake(tmp_path)
    said: list[str] = []
    guard, watch = watched(server, said)
    server.alive, server.code = False, -signal.SIGKILL
    guard._look(watch, 1.0)
    guard._look(watch, 1.4)
    assert server.spawned == 0
    guard._look(watch, 1.6)
    assert server.spawned == 1
    assert said == [
        "worker-1 was ended by SIGKILL; starting again in 0.5 s",
        "changed",
        "worker-1 started again as process 4711",
    ]
    assert guard.restarts == 1


def test_pauses_grow_up_to_a_limit_and_shrink_after_steady_work(tmp_path: Path) -> None:
    """A child that dies at once costs little; one that has worked is back quickly."""
    server = fake(tmp_path)
    said: list[str] = []
    guard, watch = watched(server, said)
    server.code = 1
    now, pauses = 0.0, []
    for _ in range(7):
        server.alive = False
        now += 0.1
        guard._look(watch, now)
        assert watch.due_at is not None
        pauses.append(round(watch.due_at - now, 3))
        now = watch.due_at
        guard._look(watch, now)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    guard._look(watch, now + 11)
    server.alive = False
    guard._look(watch, now + 12)
    assert "starting again in 0.5 s" in said[-1]


def test_a_child_that_cannot_start_as_configured_ends_the_run(tmp_path: Path) -> None:
    """Starting it again would change nothing; its last words are the error."""
    server = fake(tmp_path)
    said: list[str] = []
    guard, watch = watched(server, said)
    server.log.write_text("paymesh cannot start: GATEWAY_LIMIT: there is no such setting\n")
    server.alive, server.code = False, 78
    with pytest.raises(ServerFailed, match=r"(?s)worker-1 cannot start as configured.*no such setting"):
        guard._look(watch, 1.0)


def test_a_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its limit it starts from the beginning."""
    monkeypatch.setattr(supervisor, "_LOG_BYTES_MAX", 10)
    server = fake(tmp_path)
    guard, watch = watched(server, [])
    server.log.write_text("0123456789")
    guard._look(watch, 1.0)
    assert server.log.stat().st_size == 10
    server.log.write_text("0123456789+")
    guard._look(watch, 1.0)
    assert server.log.stat().st_size == 0


def test_ends_are_put_into_words() -> None:
    """Signals by name, exits by number."""
    assert how_it_ended(-15) == "was ended by SIGTERM"
    assert how_it_ended(70) == "ended with exit code 70"
