"""After a recovery: every transfer since the oldest store's last tick is explained by an intent, or told to people.

The database may have been restored from an older copy: then the ledger knows of money that no plan explains. This
walks the ledger from where the recovery says on, once, a page at a time; what the log does not know becomes a
critical alert, and the alert is closed if the intent turns up after all. The door that the recovery closed opens once
nothing is unexplained and what had been planned before is decided.

This module must never conclude anything about an intent, and never open a door that somebody else closed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
import tigerbeetle as tb

from reconciler.statements import statement
from shared import intake
from shared.db.failures import database
from shared.db.pool import Pool
from shared.ledger.accounts import LIMITS_LEDGER, MESH_LEDGER
from shared.ledger.port import Ledger

CLOSED_MIN: Final = timedelta(seconds=10)
"""For how long the door stays closed at least: longer than clocks may differ, so that ids tell before from after."""
PAGE: Final = 2000
PAGES_MAX: Final = 50
"""How far one round walks; the next goes on from there."""
_BY: Final = "reconciler"
_SELECT: Final = """
SELECT id, at, detail, now() - at AS since FROM pm.audit_log WHERE action = 'mesh.recover' ORDER BY id DESC LIMIT 1
"""
_RECORD: Final = """
INSERT INTO pm.audit_log (actor, action, target, detail) VALUES ($1, 'mesh.recovered', 'mesh', $2)
"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caught:
    """How far a round has come; `reopened` says that the door is open again."""

    walked: int
    unexplained: int
    done: bool
    reopened: bool


class CatchUp:
    """One process's walk; whoever else walks too does no harm."""

    def __init__(self, *, pool: Pool, ledger: Ledger) -> None:
        self._pool = pool
        self._ledger = ledger
        self._recovery: int | None = None
        self._cursor_ns = 0

    async def round(self) -> Caught | None:
        """Go on for a while; None where no recovery is under way.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; the next round goes on.
        """
        if not any(closure.why is intake.Why.RECOVER for closure in await intake.closures(self._pool)):
            self._recovery = None
            return None
        with database():
            recovery = await self._pool.fetchrow(_SELECT)
        if recovery is None:
            return None  # Closed by hand: nobody has said from where to walk.
        if recovery["id"] != self._recovery:
            self._recovery, self._cursor_ns = recovery["id"], int(json.loads(recovery["detail"])["since_ns"])
        walked, done = await self._walk()
        with database():
            unexplained = int(await self._pool.fetchval(statement("close_explained")))
        settled = done and not unexplained and recovery["since"] >= CLOSED_MIN
        reopened = settled and await self._reopen(recovery["at"])
        if unexplained:
            _log.error("transfers_unexplained", intents=unexplained)
        return Caught(walked, unexplained, done, reopened)

    async def _walk(self) -> tuple[int, bool]:
        walked = 0
        for _ in range(PAGES_MAX):
            page = await self._ledger.query_transfers(_after(self._cursor_ns))
            if not page:
                return walked, True
            await self._explain(page)
            walked += len(page)
            self._cursor_ns = page[-1].timestamp
        return walked, False

    async def _explain(self, page: Sequence[tb.Transfer]) -> None:
        moved: dict[UUID, list[tb.Transfer]] = {}
        for transfer in page:
            if transfer.ledger not in (MESH_LEDGER, LIMITS_LEDGER):
                moved.setdefault(UUID(int=transfer.user_data_128), []).append(transfer)
        if not moved:
            return
        with database():
            rows = await self._pool.fetch(statement("unknown_intents"), sorted(moved))
            unknown = [row["id"] for row in rows]
            if unknown:
                details = [json.dumps(_told(moved[intent])) for intent in unknown]
                await self._pool.execute(statement("raise_unexplained"), unknown, details)

    async def _reopen(self, recovered_at: datetime) -> bool:
        """Open the door, unless something that was planned before is still undecided; the sweep resumes it."""
        with database():
            if await self._pool.fetchval(statement("planned_before"), recovered_at):
                return False
            async with self._pool.acquire() as connection, connection.transaction():
                opened = await intake.reopen(connection, intake.Why.RECOVER)
                if opened:
                    await connection.execute(_RECORD, _BY, json.dumps({"recovery": self._recovery}))
        if opened:
            _log.warning("recovery_complete", recovery=self._recovery)
        return opened


def _after(timestamp_ns: int) -> tb.QueryFilter:
    return tb.QueryFilter(
        user_data_128=0, user_data_64=0, user_data_32=0, ledger=0, code=0, timestamp_min=timestamp_ns + 1,
        timestamp_max=0, limit=PAGE, flags=tb.QueryFilterFlags.NONE,
    )  # fmt: skip


def _told(transfers: Sequence[tb.Transfer]) -> dict[str, Any]:
    """Say what moved, for whoever looks at the alert: amounts in minor units, accounts by id."""
    return {
        "transfers": [
            {
                "id": str(UUID(int=each.id)),
                "debit": str(UUID(int=each.debit_account_id)),
                "credit": str(UUID(int=each.credit_account_id)),
                "amount_minor": each.amount,
                "ledger": each.ledger,
            }
            for each in transfers
        ]
    }
