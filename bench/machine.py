"""What a figure was measured on: the machine, the versions, the commit. Never a name, a user or a path of it."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

from ops.embedded.tigerbeetle import tigerbeetle_binary

_PACKAGES: Final = ("aiohttp", "asyncpg", "hiredis", "pydantic", "redis", "tigerbeetle", "uvloop")
_CPU_INFO: Final = Path("/proc/cpuinfo")
_ROOT: Final = Path(__file__).resolve().parent.parent


def machine() -> dict[str, Any]:
    """Describe the machine."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": cpu_model(_CPU_INFO.read_text() if _CPU_INFO.exists() else ""),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def cpu_model(cpu_info: str) -> str:
    """Return the processor's name from what ``/proc/cpuinfo`` says."""
    for line in cpu_info.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def versions(environ: Mapping[str, str], *, valkey: str, postgres: str) -> dict[str, str]:
    """Return the versions of servers and libraries."""
    found = {"valkey": valkey, "postgres": postgres}
    binary = tigerbeetle_binary(environ)
    if binary is not None:
        said = _output([str(binary), "version"])
        found["tigerbeetle server"] = said.removeprefix("TigerBeetle version ")
    return found | {name: version(name) for name in _PACKAGES}


def commit() -> str:
    """Return the short commit, with ``-dirty`` behind it where files differ from it, or ``unknown``."""
    found = _output(["git", "-C", str(_ROOT), "rev-parse", "--short=10", "HEAD"])
    if not found:
        return "unknown"
    return found + ("-dirty" if _output(["git", "-C", str(_ROOT), "status", "--porcelain", "-uno"]) else "")


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
