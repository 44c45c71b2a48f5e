"""Service keys: who may post, with which secret, until when.

A secret is shown once, when it is made, and stored sealed (context: the key's id, field ``secret``). Gateways notice
every change within a second. This module must never log, store or return a secret that is not new.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from gateway.keys import SECRET_FIELD
from gateway.permissions import parse_permissions
from ops.audit import audit
from ops.key_changes import KeyChange, change_key
from ops.refusals import Refused
from ops.rules.change import changed_meanwhile, recorded
from ops.statements import statement
from shared.db.pool import Pool
from shared.errors import BadInput
from shared.sealing import KeyRing, seal

OVERLAP_MAX: Final = timedelta(days=30)
DEEDS_MAX: Final = 10
"""How many lines of the audit log are shown with a key."""
_REPLACE_SECRETS: Final = (
    "UPDATE pm.service_key SET secret = $2, previous_secret = NULL, previous_ends_at = NULL WHERE id = $1"
)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret that has just been made; nobody can show it again."""

    key: str
    secret: str = field(repr=False)
    previous_ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as operators see it."""

    id: str
    owner: str
    permissions: Mapping[str, Any]
    previous_ends_at: datetime | None
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of the audit log about a key."""

    at: datetime
    actor: str
    action: str
    reason: str | None


async def create_key(
    pool: Pool, ring: KeyRing, *, key: str, owner: str, permissions: Mapping[str, Any], actor: str
) -> NewSecret:
    """Make a key and its secret.

    Raises:
        BadInput: the permissions say nothing a gateway understands, or the id is taken or malformed.
    """
    document = json.dumps(permissions)
    parse_permissions(document)
    secret = _new_secret()
    try:
        async with (
            pool.acquire() as connection,
            connection.transaction(),
            recorded(connection, "key", key, actor=actor, reason="a new key"),
        ):
            await connection.execute(
                "INSERT INTO pm.service_key (id, owner, permissions, secret) VALUES ($1, $2, $3::jsonb, $4)",
                key,
                owner,
                document,
                _sealed(ring, key, secret),
            )
            await audit(connection, actor=actor, action="key.create", target=key, detail={"permissions": permissions})
    except asyncpg.UniqueViolationError:
        raise Refused(f"there is a key {key} already; rotate it, or choose another id", code="key_exists") from None
    except asyncpg.CheckViolationError:
        raise BadInput("a key's id consists of 1 to 64 of A-Z a-z 0-9 _ -", code="bad_key_id") from None
    return NewSecret(key, secret)


async def rotate_key(pool: Pool, ring: KeyRing, *, key: str, overlap: timedelta, actor: str, reason: str) -> NewSecret:
    """Give a key a new secret; the old one stays good for the overlap, an even older one ends now.

    Raises:
        BadInput: there is no such key, it is disabled, or the overlap is out of range.
    """
    if not timedelta(0) <= overlap <= OVERLAP_MAX:
        raise BadInput(f"an overlap lies between 0 and {OVERLAP_MAX.days} days", code="bad_overlap")
    secret = _new_secret()
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            statement("rotate_key"),
            key,
            _sealed(ring, key, secret),
            overlap,
        )
        if row is None:
            raise await _no_such_key(connection, key)
        await audit(
            connection,
            actor=actor,
            action="key.rotate",
            target=key,
            reason=reason,
            detail={"overlap_s": int(overlap.total_seconds())},
        )
    return NewSecret(key, secret, row["previous_ends_at"])


async def set_permissions(
    pool: Pool,
    *,
    key: str,
    permissions: Mapping[str, Any],
    actor: str,
    reason: str | None = None,
    before: Mapping[str, Any] | None = None,
) -> bool:
    """Let a key do exactly this from now on; return whether it was to do something else before.

    Args:
        pool: the database.
        key: the key's id.
        permissions: all that it may do.
        actor: who changes it.
        reason: why.
        before: what it could do when this was made of it; None where that does not matter.

    Raises:
        BadInput: the permissions say nothing a gateway understands, or there is no such key.
        Refused: it may do something else by now than `before`.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(),
        recorded(connection, "key", key, actor=actor, reason=reason or "") as under_way,
    ):
        held = under_way.live.get(("key", key))
        if before is not None and held is not None and held.body["permissions"] != before:
            raise changed_meanwhile()
        return await change_key(
            connection, key=key, change=KeyChange(permissions=permissions), actor=actor, reason=reason
        )


async def disable_key(pool: Pool, *, key: str, actor: str, reason: str) -> None:
    """Refuse a key from now on, both its secrets.

    Raises:
        BadInput: there is no such key, or it is disabled already.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(),
        recorded(connection, "key", key, actor=actor, reason=reason),
    ):
        change = KeyChange(disabled=True)
        if not await change_key(connection, key=key, change=change, actor=actor, reason=reason):
            raise Refused(f"key {key} is disabled", code="key_disabled")


async def enable_key(
    pool: Pool, ring: KeyRing, *, key: str, keep_secrets: bool, actor: str, reason: str
) -> NewSecret | None:
    """Let a disabled key be used again; with a new secret, unless the ones it had are kept.

    Raises:
        BadInput: there is no such key, or it is in force.
    """
    secret = None if keep_secrets else _new_secret()
    async with (
        pool.acquire() as connection,
        connection.transaction(),
        recorded(connection, "key", key, actor=actor, reason=reason),
    ):
        change = KeyChange(disabled=False)
        if not await change_key(connection, key=key, change=change, actor=actor, reason=reason):
            raise Refused(f"key {key} is in force", code="key_in_force")
        if secret is None:
            return None
        await connection.execute(_REPLACE_SECRETS, key, _sealed(ring, key, secret))
        await audit(connection, actor=actor, action="key.rotate", target=key, reason=reason, detail={"overlap_s": 0})
    return NewSecret(key, secret)


async def list_keys(pool: Pool) -> list[KeyRow]:
    """Return every key, by its id, without secrets."""
    return [_row(row) for row in await pool.fetch(statement("list_keys"), None)]


async def show_key(pool: Pool, key: str) -> tuple[KeyRow, list[AuditRow]]:
    """Return one key, without secrets, and what was done to it last, newest first.

    Raises:
        BadInput: there is no such key.
    """
    rows = await pool.fetch(statement("list_keys"), key)
    if not rows:
        raise Refused(f"there is no key {key}", code="unknown_key")
    deeds = await pool.fetch(
        "SELECT at, actor, action, reason FROM pm.audit_log WHERE target = $1 AND action LIKE 'key.%' "
        "ORDER BY id DESC LIMIT $2",
        key,
        DEEDS_MAX,
    )
    return _row(rows[0]), [AuditRow(**dict(deed)) for deed in deeds]


def _row(row: asyncpg.Record) -> KeyRow:
    return KeyRow(
        id=row["id"],
        owner=row["owner"],
        permissions=json.loads(row["permissions"]),
        previous_ends_at=row["ends_at"],
        disabled_at=row["disabled_at"],
        created_at=row["created_at"],
    )


def _new_secret() -> str:
    return f"pms_{secrets.token_urlsafe(32)}"


def _sealed(ring: KeyRing, key: str, secret: str) -> str:
    return seal(ring, context=key, field=SECRET_FIELD, text=secret)


async def _no_such_key(connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", key: str) -> BadInput:
    if await connection.fetchval("SELECT true FROM pm.service_key WHERE id = $1", key):
        return Refused(f"key {key} is disabled", code="key_disabled")
    return Refused(f"there is no key {key}", code="unknown_key")
