"""The rules in force, out of the database; reloaded as soon as a change is notified, or polled."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from shared.db.failures import database
from shared.db.notices import Notices
from shared.db.pool import Pool
from shared.errors import BadInput, OutcomeUnknown, Transient
from shared.rules.book import RuleBook
from shared.rules.calendar import BusinessCalendar
from shared.rules.model import FeeAmount, FeeRule, LimitRule, Per, Scope, Timing, VelocityAction, VelocityRule
from shared.rules.routes import Route
from shared.streams.events import wait_for_any_up_to

REGISTERS: Final = ("business", "fee_rule", "limit_rule", "payment_route", "velocity_rule")

_log = structlog.get_logger(__name__)


if TYPE_CHECKING:
    Connection = PoolConnectionProxy[asyncpg.Record]
else:
    Connection = PoolConnectionProxy


@cache
def _statement(name: str) -> str:
    return files("shared.rules").joinpath(f"sql/{name}.sql").read_text("utf-8")


async def load_book(connection: Connection) -> RuleBook:
    """Read every rule of one moment.

    Raises:
        BadInput: the time zone is none.
    """
    time_zone = await connection.fetchval("SELECT time_zone FROM pm.business")
    return RuleBook(
        calendar=BusinessCalendar(time_zone),
        fees=[_fee(row) for row in await connection.fetch(_statement("read_fees"))],
        limits=[_limit(row) for row in await connection.fetch(_statement("read_limits"))],
        velocity=[_velocity(row) for row in await connection.fetch(_statement("read_velocity"))],
        routes=[_route(row) for row in await connection.fetch(_statement("read_routes"))],
    )


class RuleRegister:
    """The rules in force, no older than a notification takes, or `poll_s` where none comes.

    While the database is away, or a new book cannot be made ready, the rules last known stay in force. A rule that
    cannot be compiled refuses its own intents (see `shared.rules.book`).
    """

    def __init__(
        self,
        *,
        pool: Pool,
        notices: Notices | None = None,
        prepare: Callable[[RuleBook], Awaitable[None]] | None = None,
        poll_s: float = 0.5,
    ) -> None:
        """Put it together; `prepare` readies what a new book needs before it comes into force."""
        self._pool = pool
        self._prepare = prepare
        self._poll_s = poll_s
        self._changed = notices.wake(*REGISTERS) if notices is not None else asyncio.Event()
        self._versions: dict[str, int] = {}
        self.book = RuleBook(calendar=BusinessCalendar("UTC"))

    async def refresh(self) -> None:
        """Reload the rules if a register has moved.

        Raises:
            Transient, OutcomeUnknown: the database was out of reach.
            BadInput: the time zone is none, or a fee goes to what is no account.
        """
        with database():
            async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
                rows = await connection.fetch(
                    "SELECT name, version FROM pm.register_version WHERE name = ANY ($1)", REGISTERS
                )
                versions = {row["name"]: row["version"] for row in rows}
                if versions == self._versions:
                    return
                book = await load_book(connection)
        if self._prepare is not None:
            await self._prepare(book)
        self.book, self._versions = book, versions
        _log.info(
            "rules_loaded",
            fees=len(book.fees),
            limits=len(book.limits),
            velocity=len(book.velocity),
            routes=len(book.routes),
        )
        if book.faults:
            _log.error("rules_unusable", rules=[str(fault) for fault in book.faults])

    async def run(self, stop: asyncio.Event) -> None:
        """Refresh until `stop`."""
        while not stop.is_set():
            self._changed.clear()
            try:
                await self.refresh()
            except (Transient, OutcomeUnknown) as error:
                _log.warning("rules_not_refreshed", error=error.code)
            except BadInput as error:
                _log.error("rules_unusable", error=error.code, detail=str(error))
            await wait_for_any_up_to(self._poll_s, stop, self._changed)


def _scope(row: asyncpg.Record) -> Scope:
    return Scope(tuple(row["operations"]), row["currency"], tuple(row["tags"]))


def _fee(row: asyncpg.Record) -> FeeRule:
    amount: FeeAmount | str = (
        row["amount_expression"]
        if row["amount_expression"] is not None
        else FeeAmount(row["fixed_minor"], row["bps"], row["min_minor"], row["max_minor"])
    )
    return FeeRule(
        name=row["name"],
        version=row["version"],
        scope=_scope(row),
        timing=Timing(row["timing"]),
        amount=amount,
        beneficiary=row["beneficiary"],
        condition=row["condition"],
        priority=row["priority"],
        final=row["final"],
        active_from_ms=_ms(row["active_from"]),
        active_until_ms=_ms(row["active_until"]),
    )


def _limit(row: asyncpg.Record) -> LimitRule:
    return LimitRule(
        name=row["name"],
        version=row["version"],
        scope=_scope(row),
        transaction_max_minor=row["transaction_max_minor"],
        daily_max_minor=row["daily_max_minor"],
        daily_max_count=row["daily_max_count"],
        monthly_max_minor=row["monthly_max_minor"],
        monthly_max_count=row["monthly_max_count"],
    )


def _velocity(row: asyncpg.Record) -> VelocityRule:
    return VelocityRule(
        name=row["name"],
        version=row["version"],
        scope=_scope(row),
        per=Per(row["per"]),
        window_s=row["window_s"],
        action=VelocityAction(row["action"]),
        max_count=row["max_count"],
        max_sum_minor=row["max_sum_minor"],
        condition=row["condition"],
    )


def _route(row: asyncpg.Record) -> Route:
    return Route(**{**dict(row), "tags": tuple(row["tags"])})


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
