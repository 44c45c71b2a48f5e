"""One child server: started with its log in a file, proven ready, stopped for certain.

A child never outlives us: the kernel is asked to end it when this process dies, however it dies. It runs in a
session of its own, so that Ctrl-C reaches us alone and the order of stopping stays ours.
"""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class ServerFailed(RuntimeError):
    """A server did not start or did not become ready; the message shows the end of its log."""


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Say whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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

    def spawn(self) -> None:
        """Start the child without waiting for it to be ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self.env is None else dict(self.env),
                cwd=self.cwd,
                user=self.run_as,
                group=self.run_as,
                extra_groups=[] if self.run_as else None,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - set before the child has threads
            )

    def wait_ready(self) -> None:
        """Wait until the child proves ready.

        Raises:
            ServerFailed: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline:
            if not self.running:
                raise ServerFailed(f"{self.name} ended while starting\n{self.log_tail()}")
            if self.ready():
                return
            time.sleep(0.02)
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
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the child's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
