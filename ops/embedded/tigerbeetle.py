"""TigerBeetle, where its server binary is found: a single replica with its data file in our folder."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ops.embedded.server import Server, ServerFailed, accepts, end_with_parent


def tigerbeetle_binary(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the server binary from `TIGERBEETLE_BIN` or PATH of the environment (default: ours), or None.

    Raises:
        ServerFailed: `TIGERBEETLE_BIN` names something that cannot be run.
    """
    env = os.environ if environ is None else environ
    named = env.get("TIGERBEETLE_BIN")
    if named:
        path = Path(named)
        if not os.access(path, os.X_OK):
            raise ServerFailed(f"TIGERBEETLE_BIN={named} is not an executable file; mend or unset it")
        return path
    found = shutil.which("tigerbeetle", path=env.get("PATH"))
    return Path(found) if found else None


def tigerbeetle(binary: Path, data: Path, port: int) -> Server:
    """Describe a single-replica cluster with its data file in `data`, formatting it if there is none.

    Where the file system has no Direct I/O (tmpfs), the server runs with ``--development``, which also shrinks a
    request to 253 events.
    """
    data.mkdir(parents=True, exist_ok=True)
    file = data / "0_0.tigerbeetle"
    development = not _has_direct_io(data)
    flags = ["--development"] if development else []
    if not file.exists():
        partial = data / "formatting.tigerbeetle"
        partial.unlink(missing_ok=True)
        done = subprocess.run(
            [str(binary), "format", "--cluster=0", "--replica=0", "--replica-count=1", *flags, str(partial)],
            check=False,
            capture_output=True,
            text=True,
            start_new_session=True,
            preexec_fn=end_with_parent(),
        )
        if done.returncode != 0:
            raise ServerFailed(f"tigerbeetle format failed\n{done.stderr}")
        partial.rename(file)
    argv = [str(binary), "start", f"--addresses=127.0.0.1:{port}", "--cache-grid=256MiB", *flags, str(file)]
    return Server(
        name="tigerbeetle",
        argv=argv,
        log=data / "tigerbeetle.log",
        ready=lambda: accepts(port),
        start_timeout_s=90.0,  # it goes through gigabytes of memory first
    )


def _has_direct_io(folder: Path) -> bool:
    probe = folder / ".direct-io"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | getattr(os, "O_DIRECT", 0), 0o600))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True
