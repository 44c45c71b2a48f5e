"""Processes under test: started with their output in view, and looked for when they should have gone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from tempfile import mkdtemp
from typing import Any

import psutil

from tests.waiting import until_sync

ROOT = Path(__file__).parents[3]
_MEMORY_BYTES_MIN = 2 << 30
STORES = ("REDIS_URL", "DATABASE_URL", "TIGERBEETLE_ADDRESSES", "PAYMESH_DATA", "PAYMESH_KEYRING")


@dataclass(frozen=True, slots=True)
class Held:
    """A stack held by a process of its own."""

    process: "subprocess.Popen[str]"
    url: str
    pids: Mapping[str, int]
    environ: Mapping[str, str]

    def family(self) -> list[psutil.Process]:
        """Return every process below the holder, PostgreSQL's own children included."""
        return psutil.Process(self.process.pid).children(recursive=True)


def quick_folder(prefix: str) -> Path:
    """Make a folder that an unprivileged user can reach, in memory where there is room: no test cuts the power."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder made in it has a random name
    roomy = os.access(memory, os.W_OK) and disk_usage(memory).free > _MEMORY_BYTES_MIN
    made = Path(mkdtemp(prefix=prefix, dir=memory if roomy else None))
    made.chmod(0o755)
    return made


def plain_environ(**more: str) -> dict[str, str]:
    """Return our environment without what would lead to somebody's stores."""
    return {name: value for name, value in os.environ.items() if name not in STORES} | more


@contextmanager
def held_stack(folder: Path, *, prefix: Sequence[str] = (), timeout_s: float = 60.0, **plan: Any) -> Iterator[Held]:
    """Hold a stack in a process of its own; whatever is left of it at the end is killed."""
    argv = [*prefix, sys.executable, "-m", "tests.integration.ops.hold_stack", str(folder), json.dumps(plan)]
    log = folder.parent / "holder.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env=plain_environ(HOME=str(folder.parent))
        )
    assert process.stdout is not None
    family: list[psutil.Process] = []
    try:
        line = process.stdout.readline()
        assert line, f"the stack did not come up:\n{log.read_text()}"
        said = json.loads(line)
        held = Held(process, said["url"], said["pids"], said["environ"])
        family = held.family()
        yield held
    finally:
        process.kill()
        process.wait(timeout_s)
        process.stdout.close()
        for child in family:
            if child.is_running():
                child.kill()


def wait_gone(family: Sequence[psutil.Process], *, timeout_s: float = 10.0) -> None:
    """Wait until none of the processes is alive; a zombie that nobody reaps does not count."""
    until_sync(lambda: not any(map(_is_alive, family)), f"the end of all {len(family)} processes", timeout_s=timeout_s)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
