"""One child process: started with its log in a file, proven ready, stopped for certain.

A child never outlives us: the kernel is asked to end it when this process dies, however it dies (Linux; elsewhere
only an orderly end is covered). It runs in a session of its own, so that Ctrl-C reaches us alone and the order of
stopping stays ours.

The kernel ties a child to the *thread* that started it. This module must therefore never start one outside the main
thread: it would be killed as soon as that thread ended.
"""

import ctypes
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

_PR_SET_PDEATHSIG = 1
_READY_POLL_S = 0.02


class ServerFailed(RuntimeError):
    """A server did not start or did not become ready; the message shows the end of its log."""


def accepts(port: int) -> bool:
    """Say whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end_with_parent(number: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Return what a child runs before its program: have the kernel send it `number` when its parent dies.

    To be passed as `preexec_fn`; runs after the child has changed its user, since that change drops the request.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl: no signal will come any more
            os._exit(1)

    return tie


class _AsUser(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[str]


def as_user(name: str | None) -> _AsUser:
    """Return what `subprocess` must be told so that a child runs as the named user (None: as we do)."""
    if name is None:
        return {}
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@dataclass(slots=True)
class Server:
    """A child process with a name, a log and a proof of readiness."""

    name: str
    argv: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    run_as: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it should we die without stopping it."""
    start_timeout_s: float = 30.0
    stop_timeout_s: float = 15.0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """The child's process id.

        Raises:
            ServerFailed: it has not been started.
        """
        if self.process is None:
            raise ServerFailed(f"{self.name} has not been started")
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the child ended (negative: by that signal), or None."""
        return None if self.process is None else self.process.poll()

    def spawn(self) -> None:
        """Start the child without waiting for it to be ready.

        Raises:
            ServerFailed: called outside the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            raise ServerFailed(f"{self.name} must be started from the main thread, or it would end with this one")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self.env is None else dict(self.env),
                cwd=self.cwd,
                **as_user(self.run_as),
                start_new_session=True,
                preexec_fn=end_with_parent(self.death_signal),  # noqa: PLW1509 - one prctl call, prepared before the fork
            )

    def wait_ready(self) -> None:
        """Wait until the child proves ready.

        Raises:
            ServerFailed: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline:
            if not self.running:
                raise ServerFailed(f"{self.name} ended while starting (exit {self.exit_code})\n{self.log_tail()}")
            if self.ready():
                return
            time.sleep(_READY_POLL_S)
        self.stop()
        raise ServerFailed(f"{self.name} was not ready after {self.start_timeout_s:.0f} s\n{self.log_tail()}")

    def start(self) -> None:
        """Start the child and wait until it is ready."""
        self.spawn()
        self.wait_ready()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the child alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the child with SIGKILL and reap it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask the child to stop; after its time-out, make it."""
        stop_together([self])

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the child's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def stop_together(servers: Sequence[Server]) -> None:
    """Ask all these children to stop at once; make those that have not after their time-out."""
    alive = [server for server in servers if server.running]
    for server in alive:
        server.send(server.stop_signal)
        server.send(signal.SIGCONT)  # a child paused by a test or a debugger hears nothing else
    asked_at = time.monotonic()
    for server in alive:
        left_s = max(0.0, asked_at + server.stop_timeout_s - time.monotonic())
        try:
            if server.process is not None:
                server.process.wait(left_s)
        except subprocess.TimeoutExpired:
            server.kill()
