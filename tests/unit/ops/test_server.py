"""Child processes: proven ready, stopped for certain, never started where they would be orphaned."""

import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from ops.embedded.server import Server, ServerFailed, end_with_parent, stop_together
from tests.waiting import until_sync

_WAITS = "import sys; print('up', flush=True); sys.stdin.read(); import signal; signal.pause()"
_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def child(tmp_path: Path, code: str, name: str = "child", **more: object) -> Server:
    """Describe a Python child; it is ready once it has printed something."""
    log = tmp_path / f"{name}.log"
    return Server(
        name=name,
        argv=[sys.executable, "-c", code],
        log=log,
        ready=lambda: log.exists() and log.stat().st_size > 0,
        **more,  # type: ignore[arg-type]
    )


def test_a_child_that_dies_while_starting_shows_its_log(tmp_path: Path) -> None:
    """No waiting for a dead child: its last words are the error."""
    dying = child(tmp_path, "import sys; sys.stderr.write('no room'); sys.exit(3)")
    dying.ready = lambda: False
    with pytest.raises(ServerFailed, match=r"(?s)child ended while starting \(exit 3\).*no room"):
        dying.start()


def test_a_child_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    """Time-outs leave nothing running."""
    idle = child(tmp_path, _WAITS, start_timeout_s=0.3)
    idle.ready = lambda: False
    with pytest.raises(ServerFailed, match="not ready after"):
        idle.start()
    assert not idle.running


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    """After its time-out, and not before."""
    stubborn = child(tmp_path, _STUBBORN, stop_timeout_s=0.2)
    stubborn.start()
    stubborn.stop()
    assert stubborn.exit_code == -signal.SIGKILL


def test_a_paused_child_is_stopped_in_order(tmp_path: Path) -> None:
    """SIGSTOP does not turn a stop into a kill."""
    paused = child(tmp_path, "import signal; print('up', flush=True); signal.pause()")
    paused.start()
    paused.send(signal.SIGSTOP)
    until_sync(lambda: psutil.Process(paused.pid).status() == psutil.STATUS_STOPPED, "the pause")
    paused.stop()
    assert paused.exit_code == -signal.SIGTERM


def test_children_are_stopped_together(tmp_path: Path) -> None:
    """One that is slow to stop does not keep the request from the others."""
    slow = child(tmp_path, _STUBBORN, "slow", stop_timeout_s=0.5)
    quick = child(tmp_path, "import signal; print('up', flush=True); signal.pause()", "quick")
    slow.start()
    quick.start()
    stop_together([slow, quick])
    assert (slow.exit_code, quick.exit_code) == (-signal.SIGKILL, -signal.SIGTERM)


def test_stopping_what_does_not_run_is_nothing(tmp_path: Path) -> None:
    """Never started, or stopped already."""
    idle = child(tmp_path, _WAITS)
    idle.stop()
    idle.kill()
    assert idle.exit_code is None
    with pytest.raises(ServerFailed, match="has not been started"):
        _ = idle.pid


def test_a_child_is_only_started_from_the_main_thread(tmp_path: Path) -> None:
    """The kernel would end it together with the thread that started it."""
    refused: list[BaseException] = []

    def start() -> None:
        try:
            child(tmp_path, _WAITS).spawn()
        except ServerFailed as error:
            refused.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(refused[0])


def test_a_child_whose_parent_is_gone_already_does_not_live(tmp_path: Path) -> None:
    """Between fork and the request to the kernel the parent may die: then no signal would ever come."""
    code = (
        "import os, sys\n"
        "from ops.embedded.server import end_with_parent\n"
        "tie = end_with_parent()\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        "        tie()\n"  # its parent is not the process that prepared the tie
        "        open(sys.argv[1], 'w').close()\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    lived = tmp_path / "lived"
    server = child(tmp_path, code)
    server.argv = [sys.executable, "-c", code, str(lived)]
    server.spawn()
    until_sync(lambda: not server.running, "its end")
    assert server.exit_code == 0, server.log_tail()
    assert not lived.exists()
    assert callable(end_with_parent())
