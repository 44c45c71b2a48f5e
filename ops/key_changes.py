"""Changing a key in force: its owner, what it may do, whether it may do anything; one function for every way to do so.

It runs in the transaction of whoever calls, so that a change of many things is made whole or not at all. This module
must never touch a secret, and never change anything without a line in the audit log.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.permissions import parse_permissions
from ops.audit import Connection, audit
from ops.refusals import Refused

_SELECT: Final = "SELECT owner, permissions, disabled_at FROM pm.service_key WHERE id = $1 FOR UPDATE"
_UPDATE: Final = (
    "UPDATE pm.service_key SET owner = $2, permissions = $3::jsonb, updated_at = now(), "
    "disabled_at = CASE WHEN $4 THEN coalesce(disabled_at, now()) END WHERE id = $1"
)


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What a key is to be from now on; None is as it was. Permissions are replaced as a whole."""

    owner: str | None = None
    permissions: Mapping[str, Any] | None = None
    disabled: bool | None = None


async def change_key(connection: Connection, *, key: str, change: KeyChange, actor: str, reason: str | None) -> bool:
    """Change a key, in the caller's transaction; return whether anything is different now.

    Raises:
        BadInput: the permissions say nothing a gateway understands.
        Refused: there is no such key.
    """
    if change.permissions is not None:
        parse_permissions(json.dumps(change.permissions))
    row = await connection.fetchrow(_SELECT, key)
    if row is None:
        raise Refused(f"there is no key {key}", code="unknown_key")
    before = {
        "owner": row["owner"],
        "permissions": json.loads(row["permissions"]),
        "disabled": row["disabled_at"] is not None,
    }
    after = before | {
        name: value
        for name, value in (
            ("owner", change.owner),
            ("permissions", None if change.permissions is None else dict(change.permissions)),
            ("disabled", change.disabled),
        )
        if value is not None
    }
    if after == before:
        return False
    await connection.execute(_UPDATE, key, after["owner"], json.dumps(after["permissions"]), after["disabled"])
    deeds = {"owner": "own", "permissions": "permit", "disabled": "disable" if after["disabled"] else "enable"}
    for part, deed in deeds.items():
        if after[part] != before[part]:
            detail = None if part == "disabled" else {part: after[part], "before": before[part]}
            await audit(connection, actor=actor, action=f"key.{deed}", target=key, reason=reason, detail=detail)
    return True
