"""What a mesh knows that a file of rules must agree with: its PSPs, what they offer, which accounts are open.

This module must never change anything.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ops.audit import Connection
from ops.rules.samples import CHANNELS
from shared.rules.model import RULE_OPERATIONS

ADJUSTMENT: Final = "ADJUSTMENT"
INTERNAL_CHANNELS: Final[Mapping[str, str]] = {"P2P_TRANSFER": "INTERNAL_P2P", ADJUSTMENT: "INTERNAL_ADJUSTMENT"}
"""The channels inside the house, each for one operation."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a mesh; the default is what goes for any.

    Attributes:
        psps: which operations each registered PSP offers; None where no mesh was asked.
        channels: the channels that carry each operation.
        keys: whether each service key is disabled; None where no mesh was asked.
        open_accounts: those among the accounts asked about that are open; None where no mesh was asked.
    """

    psps: Mapping[str, frozenset[str]] | None = None
    channels: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {name: tuple(channels) for name, channels in CHANNELS.items()}
    )
    open_accounts: frozenset[str] | None = None
    keys: Mapping[str, bool] | None = None

    @property
    def operations(self) -> frozenset[str]:
        """Every operation type that there is."""
        offered = frozenset[str]().union(*(self.psps or {}).values())
        return frozenset(RULE_OPERATIONS) | {ADJUSTMENT} | offered


async def load_facts(connection: Connection, accounts: Iterable[str]) -> Facts:
    """Ask a mesh; about these accounts, whether they are open."""
    psps: dict[str, frozenset[str]] = {}
    channels: dict[str, list[str]] = {name: [channel] for name, channel in INTERNAL_CHANNELS.items()}
    for row in await connection.fetch("SELECT psp, manifest FROM pm.psp ORDER BY psp"):
        manifest = json.loads(row["manifest"])
        psps[row["psp"]] = frozenset(manifest["operations"])
        for operation in manifest["operations"]:
            channels.setdefault(operation, []).append(manifest["channel"])
    open_accounts = await connection.fetch(
        "SELECT name FROM pm.tb_account_map WHERE name = ANY ($1)", sorted(set(accounts))
    )
    keys = await connection.fetch("SELECT id, disabled_at IS NOT NULL AS disabled FROM pm.service_key")
    return Facts(
        keys={row["id"]: row["disabled"] for row in keys},
        psps=psps,
        channels={name: tuple(found) for name, found in channels.items()},
        open_accounts=frozenset(row["name"] for row in open_accounts),
    )
