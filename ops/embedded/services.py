"""Our own services as children: one process each, told everything by its environment."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.embedded.server import Server
from shared.config import StoreSettings

EXIT_CONFIG = 78
"""A service that ends with this cannot start with what it was given; starting it again changes nothing."""

_NOT_FOR_SERVICES = frozenset({"PAYMESH_KEYRING", "PAYMESH_SERVICE_KEY", "PAYMESH_SERVICE_SECRET"})
_STORES = frozenset({"REDIS_URL", "DATABASE_URL", "TIGERBEETLE_ADDRESSES", "PAYMESH_KEYRING_FILE"})


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the three stores are, and the key ring: what every service and command must be told."""

    redis_url: str
    database_url: str
    tigerbeetle_addresses: str | None
    """None: the ledger is in PostgreSQL."""
    keyring_file: Path | None
    """None: the ring stands in PAYMESH_KEYRING."""

    @property
    def ledger(self) -> str:
        """The ledger kind: ``tigerbeetle`` or ``postgres``."""
        return "tigerbeetle" if self.tigerbeetle_addresses else "postgres"

    def settings(self) -> StoreSettings:
        """Return the settings of a process that is told of these stores."""
        return StoreSettings(
            redis_url=self.redis_url,
            database_url=self.database_url,
            tigerbeetle_addresses=self.tigerbeetle_addresses,
            keyring_file=self.keyring_file,
        )

    def environ(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return `base` with these stores instead of its own."""
        env = {name: value for name, value in base.items() if name not in _STORES}
        env |= {"REDIS_URL": self.redis_url, "DATABASE_URL": self.database_url}
        if self.tigerbeetle_addresses:
            env["TIGERBEETLE_ADDRESSES"] = self.tigerbeetle_addresses
        if self.keyring_file is not None:
            env.pop("PAYMESH_KEYRING", None)
            env["PAYMESH_KEYRING_FILE"] = str(self.keyring_file)
        return env


def answers_ready(port: int) -> bool:
    """Say whether what listens on the loopback port calls itself ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1.0) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False


def service(
    role: str, number: int, *, port: int, own: Mapping[str, str], stores: Stores, base: Mapping[str, str], logs: Path
) -> Server:
    """Describe one process of a service.

    Args:
        role: the package that holds its `main`: gateway, orchestrator, reconciler.
        number: which of its processes; names it and its log.
        port: where it says whether it is ready.
        own: its own variables.
        stores: what it connects to.
        base: the environment it starts from.
        logs: the folder of its log.
    """
    env = stores.environ({name: value for name, value in base.items() if name not in _NOT_FOR_SERVICES})
    if stores.keyring_file is None:
        env["PAYMESH_KEYRING"] = base["PAYMESH_KEYRING"]
    env.setdefault("PAYMESH_ENVIRONMENT", "development")
    return python_service(
        f"{role}-{number}", f"{role}.main", env={**env, **own}, ready=lambda: answers_ready(port), logs=logs
    )


def python_service(name: str, module: str, *, env: Mapping[str, str], ready: Callable[[], bool], logs: Path) -> Server:
    """Describe a process that runs a module of ours, in exactly this environment, with its log under its name."""
    return Server(
        name=name,
        argv=[sys.executable, "-m", module],
        log=logs / f"{name}.log",
        ready=ready,
        env={**env, "PAYMESH_LOG": "json", "PYTHONUNBUFFERED": "1"},
        cwd=logs,
        start_timeout_s=60.0,
    )


def processes_default() -> int:
    """Return how many gateways an embedded stack runs: one a core, four at most."""
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
