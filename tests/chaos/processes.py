"""Real signals to real processes: kill -9, SIGSTOP and SIGCONT, to one process or to a server with all its children."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass

import psutil

from ops.embedded.server import Server

KILLED = -int(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended: its exit code (negative: by that signal), whether we asked for it, whether it was ready."""

    name: str
    code: int
    asked: bool
    was_ready: bool

    def __str__(self) -> str:
        return f"{self.name} ended with {self.code}{'' if self.was_ready else ' before it was ready'}"


def family(server: Server) -> list[psutil.Process]:
    """Return the server's process and its children, eldest first; empty where it has ended."""
    with suppress(psutil.NoSuchProcess):
        head = psutil.Process(server.pid)
        return [head, *head.children(recursive=True)]
    return []


def signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def kill_family(server: Server) -> None:
    """End a server and all its children at once, as a power cut of the machine it alone runs on would."""
    everyone = family(server)
    signal_all(everyone, signal.SIGKILL)
    if server.process is not None:
        server.process.wait()
    psutil.wait_procs(everyone, timeout=5)


def kill(process_id: int) -> bool:
    """End one process; say whether it was there."""
    try:
        os.kill(process_id, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
