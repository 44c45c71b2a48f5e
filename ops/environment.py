"""Where a command finds the mesh: in the environment, or else in the `paymesh dev` that runs from this folder.

This module must never guess between two: variables that name a store win, and half of them is a fault.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from ops.embedded.folder import Run, running_run
from shared.config import BadConfig, StoreSettings, load

_DATA = ".paymesh"


def data_folder(name: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of the embedded stack of that name: under PAYMESH_DATA, else under ``.paymesh`` here."""
    env = os.environ if environ is None else environ
    return Path(env.get("PAYMESH_DATA") or _DATA).resolve() / name


def running_dev() -> Run | None:
    """Return the `paymesh dev` that runs from this folder, or None."""
    return running_run(data_folder("dev"))


def find_settings() -> StoreSettings:
    """Return the stores that commands work on.

    Raises:
        BadConfig: neither does the environment name them nor does `paymesh dev` run here.
    """
    if os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL"):
        return load(StoreSettings)
    run = running_dev()
    if run is None or not run.environ:
        raise BadConfig(
            "which mesh? Set DATABASE_URL and REDIS_URL (and TIGERBEETLE_ADDRESSES), or start `paymesh dev` here"
        )
    ring = run.environ.get("PAYMESH_KEYRING_FILE")
    return StoreSettings(
        redis_url=run.environ["REDIS_URL"],
        database_url=run.environ["DATABASE_URL"],
        tigerbeetle_addresses=run.environ.get("TIGERBEETLE_ADDRESSES"),
        keyring_file=Path(ring) if ring else None,
    )
