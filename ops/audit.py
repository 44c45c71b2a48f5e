"""The audit log: who did what to which thing, and why; written in the transaction of the deed.

This module must never write a secret or anybody's words.
"""

import getpass
import json
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

import asyncpg
from asyncpg.pool import PoolConnectionProxy

if TYPE_CHECKING:
    Connection = PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
else:
    Connection = PoolConnectionProxy


def actor() -> str:
    """Return who sits at the terminal: ``user@host``."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


async def audit(
    connection: Connection,
    *,
    actor: str,
    action: str,
    target: str,
    reason: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Add a line to the audit log; `action` reads ``noun.verb``."""
    await connection.execute(
        "INSERT INTO pm.audit_log (actor, action, target, reason, detail) VALUES ($1, $2, $3, $4, $5::jsonb)",
        actor,
        action,
        target,
        reason,
        None if detail is None else json.dumps(detail),
    )
