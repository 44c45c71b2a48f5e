"""The key register: who may call, kept in memory and reloaded within a second of a change.

PostgreSQL holds the keys with sealed secrets; a trigger bumps `pm.register_version` whenever they change, so that
polling costs one row. While PostgreSQL is away the keys last known stay in force for a stated time and no longer,
since a key disabled meanwhile would not be noticed. This module must never log a secret.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import structlog

from gateway.permissions import Permissions, parse_permissions
from gateway.problems import Problem
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import BadInput, OutcomeUnknown, Transient
from shared.sealing import CannotUnseal, KeyRing, unseal

POLL_S: Final = 0.5
LOOKUP_INTERVAL_S: Final = 1.0
SECRET_FIELD: Final = "secret"  # noqa: S105 - the name of the sealed field; its context is the key's id

_SELECT_VERSION: Final = "SELECT version FROM pm.register_version WHERE name = 'service_key'"
_SELECT_KEYS: Final = (
    "SELECT id, owner, permissions, secret, previous_secret, previous_ends_at, disabled_at FROM pm.service_key"
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """One key: `previous_secret` counts until `previous_ends_unix_s`."""

    id: str
    owner: str
    permissions: Permissions
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(repr=False)
    previous_ends_unix_s: float
    disabled: bool

    def secrets(self, now_unix_s: float) -> tuple[bytes, bytes | None]:
        """Return the secrets in force, the current one first."""
        return self.secret, self.previous_secret if now_unix_s < self.previous_ends_unix_s else None


class KeyRegister:
    """The service keys in force."""

    def __init__(
        self,
        *,
        pool: Pool,
        ring: KeyRing,
        stale_max_s: float,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._ring = ring
        self._stale_max_s = stale_max_s
        self._monotonic_s = monotonic_s
        self._keys: dict[str, ServiceKey] = {}
        self._version: int | None = None
        self._checked_at = float("-inf")
        self._looked_up_at = float("-inf")
        self._refreshing = asyncio.Lock()

    async def find(self, key_id: str) -> ServiceKey | None:
        """Return the key, or None where there is none.

        An unknown id makes the register look at the database at once, at most once a second whatever is asked for.

        Raises:
            Problem: ``keys_unavailable``, when the keys could not be checked for too long.
        """
        key = self._keys.get(key_id)
        now = self._monotonic_s()
        if key is None and now - self._looked_up_at >= LOOKUP_INTERVAL_S:
            self._looked_up_at = now
            await self._try_refresh()
            key = self._keys.get(key_id)
        if self._monotonic_s() - self._checked_at > self._stale_max_s:
            raise Problem("keys_unavailable")
        return key

    async def refresh(self) -> None:
        """Reload the keys if their register has moved.

        Raises:
            Transient, OutcomeUnknown: the database is out of reach.
        """
        async with self._refreshing:
            started = self._monotonic_s()
            with database():
                version = await self._pool.fetchval(_SELECT_VERSION)
                rows = await self._pool.fetch(_SELECT_KEYS) if version != self._version else None
            if rows is not None:
                self._keys = {key.id: key for key in map(self._read, rows) if key is not None}
                self._version = version
                _log.info("service_keys_loaded", keys=len(self._keys), version=version)
            self._checked_at = started

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop`."""
        while not stop.is_set():
            await self._try_refresh()
            try:
                async with asyncio.timeout(POLL_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _try_refresh(self) -> None:
        try:
            await self.refresh()
        except (Transient, OutcomeUnknown) as error:
            _log.warning("service_keys_not_refreshed", reason=error.code)

    def _read(self, row: asyncpg.Record) -> ServiceKey | None:
        """Read one row; a row that cannot be read disables that key and no other."""
        key_id = str(row["id"])
        try:
            return ServiceKey(
                id=key_id,
                owner=str(row["owner"]),
                permissions=parse_permissions(str(row["permissions"])),
                secret=self._unseal(key_id, str(row["secret"])),
                previous_secret=self._unseal(key_id, str(row["previous_secret"])) if row["previous_secret"] else None,
                previous_ends_unix_s=row["previous_ends_at"].timestamp() if row["previous_ends_at"] else 0.0,
                disabled=row["disabled_at"] is not None,
            )
        except (BadInput, CannotUnseal) as error:
            _log.error("service_key_unusable", key=key_id, reason=error.code, detail=str(error))
            return None

    def _unseal(self, key_id: str, sealed: str) -> bytes:
        return unseal(self._ring, context=key_id, field=SECRET_FIELD, sealed=sealed).encode()
