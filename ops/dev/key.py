"""The service key of `paymesh dev`: made once, its secret kept in the data folder, readable by its owner only.

It may do everything, in a mesh whose data lies in the same folder. This module must never keep the secret of any
other key.
"""

import json
from datetime import timedelta
from pathlib import Path
from typing import Final

from ops.audit import actor
from ops.embedded.folder import write_private
from ops.keys import NewSecret, create_key, rotate_key, set_permissions
from ops.stores import open_stores
from shared.config import StoreSettings
from shared.errors import BadInput

KEY: Final = "dev"
_FILE: Final = "service-key.json"
_PERMISSIONS: Final = {
    "operations": ["P2P_TRANSFER", "ADJUSTMENT", "IPPS_WITHDRAWAL", "THAI_QR_PAY", "QP_TOPUP"],
    "accounts": ["user:*", "merchant:*"],
    "open_accounts": True,
    "timeline": True,
    "adjustment": {"max_minor": 1_000_000_000, "alone_max_minor": 1_000_000_000},
}


def read_dev_key(folder: Path) -> NewSecret | None:
    """Return the key kept in a data folder, or None."""
    try:
        kept = json.loads((folder / _FILE).read_text())
    except FileNotFoundError:
        return None
    return NewSecret(kept["key"], kept["secret"])


async def ensure_dev_key(folder: Path, settings: StoreSettings) -> NewSecret:
    """Return the kept key, or make one where the folder or the database does not have it."""
    kept = read_dev_key(folder)
    async with open_stores(settings) as stores:
        known = await stores.pool.fetchval("SELECT true FROM pm.service_key WHERE id = $1", KEY)
        if kept is not None and known:
            await set_permissions(stores.pool, key=KEY, permissions=_PERMISSIONS, actor=actor())
            return kept
        ring = settings.keyring()
        try:
            made = await create_key(
                stores.pool, ring, key=KEY, owner="paymesh dev", permissions=_PERMISSIONS, actor=actor()
            )
        except BadInput:
            made = await rotate_key(
                stores.pool, ring, key=KEY, overlap=timedelta(0), actor=actor(), reason="its secret was not kept"
            )
    write_private(folder / _FILE, json.dumps({"key": made.key, "secret": made.secret}))
    return made
