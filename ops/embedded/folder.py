"""The data folder of an embedded stack: who runs from it, which ports and ledger it has, its key ring.

One run at a time owns the folder, proven by a lock that the kernel gives back however that run ends; the file beside
it only says who it is. This module must never delete a folder that another run owns.
"""

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from ops.embedded.server import Server
from shared.sealing import generate

_LOCK = "lock"
_RUN = "run.json"
_STATE = "stack.json"
_RING = "keyring"
_LOCK_TIMEOUT_S = 0.5
_LEFTOVER_TIMEOUT_S = 10.0
_BORN_TOLERANCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Run:
    """A run that owns a data folder: its process, its start (unix s), its children and where it answers."""

    pid: int
    started_at: float
    urls: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    """The variables by which another process finds the same stores."""
    children: tuple[tuple[str, int, float], ...] = ()
    """Name, process id and birth (unix s) of each child."""


class AlreadyRuns(RuntimeError):
    """Another run owns the data folder."""

    def __init__(self, folder: Path, run: Run | None) -> None:
        self.run = run
        lines = [f"a stack already runs from {folder}"]
        if run is not None:
            lines[0] += f": process {run.pid}, since {time.strftime('%H:%M:%S', time.localtime(run.started_at))}"
            lines += [f"  {name:<10} {url}" for name, url in run.urls.items()]
            lines.append(f"Use that one, or stop it (Ctrl-C where it runs, or: kill {run.pid}).")
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class StackState:
    """What must not change between runs over the same data: the ledger kind; and what need not: ports."""

    ledger: str
    ports: dict[str, int]


class DataFolder:
    """A folder that this process owns until it closes it."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._run = Run(os.getpid(), time.time())

    def state(self) -> StackState | None:
        """Return what the last run recorded, or None for a new folder."""
        found = _read_json(self.path / _STATE)
        return None if found is None else StackState(ledger=found["ledger"], ports=found["ports"])

    def record_state(self, state: StackState) -> None:
        """Keep ports and ledger kind for the next run."""
        _write_json(self.path / _STATE, asdict(state))

    def record_answers(self, urls: dict[str, str], environ: dict[str, str]) -> None:
        """Let a second start say where this one answers, and commands find its stores."""
        self._record(replace(self._run, urls=urls, environ=environ))

    def record_children(self, servers: Sequence[Server]) -> None:
        """Let a start after our sudden death know whom to wait for."""
        found = ((server.name, server.pid, _born(server.pid)) for server in servers if server.running)
        self._record(replace(self._run, children=tuple((name, pid, at) for name, pid, at in found if at is not None)))

    def key_ring(self) -> Path:
        """Return the key ring's file, written once with a key nobody else has."""
        path = self.path / _RING
        if not path.exists():
            write_private(path, generate(f"dev{secrets.token_hex(4)}") + "\n")
        return path

    def wipe(self) -> None:
        """Delete everything in the folder but the lock we hold."""
        for entry in self.path.iterdir():
            if entry.name == _LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _record(self, run: Run) -> None:
        self._run = run
        _write_json(self.path / _RUN, asdict(run))

    def close(self) -> None:
        """Give the folder back."""
        (self.path / _RUN).unlink(missing_ok=True)
        os.close(self._lock)


@contextmanager
def owned(path: Path) -> Iterator[DataFolder]:
    """Own the data folder for as long as the block runs, once nothing of an earlier run is alive any more.

    Raises:
        AlreadyRuns: another process owns it.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    if not _lock(lock):
        os.close(lock)
        raise AlreadyRuns(path, read_run(path))
    earlier = read_run(path)
    if earlier is not None:
        _outlive(earlier)
    folder = DataFolder(path, lock)
    folder.record_children([])
    try:
        yield folder
    finally:
        folder.close()


def read_run(path: Path) -> Run | None:
    """Return the run that owns the folder, or owned it last and was ended before it could say so."""
    found = _read_json(path / _RUN)
    if found is None:
        return None
    children = tuple((name, pid, born) for name, pid, born in found["children"])
    return Run(found["pid"], found["started_at"], found["urls"], found["environ"], children)


def running_run(path: Path) -> Run | None:
    """Return the run that owns the folder right now, or None."""
    if not (path / _LOCK).exists():
        return None
    with (path / _LOCK).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return read_run(path)
    return None


def _lock(handle: int) -> bool:
    """Try for a moment: whoever only asks whether somebody runs holds the lock that long."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _outlive(earlier: Run) -> None:
    """Wait until every child of a run that was killed has gone; end the ones that will not go."""
    left = [process for _, pid, born in earlier.children if (process := _same_process(pid, born)) is not None]
    _, left = psutil.wait_procs(left, timeout=_LEFTOVER_TIMEOUT_S)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=_LEFTOVER_TIMEOUT_S)


def _same_process(pid: int, born: float) -> psutil.Process | None:
    """Return the process unless its id has meanwhile been given to another."""
    now = _born(pid)
    return psutil.Process(pid) if now is not None and abs(now - born) < _BORN_TOLERANCE_S else None


def _born(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _write_json(path: Path, value: Any) -> None:
    write_private(path, json.dumps(value, indent=1))


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
