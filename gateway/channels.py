"""Which channels take work: the kill switch, the breaker and the outbox of every registered PSP, half a second old.

An operation is refused before its key is bound only when no channel that a route gives it to could carry it now. What
is known here spares a client a wait; it decides nothing, since the orchestrator looks again before funds are held.
While a store is away what was known last stays in force. This module must never refuse an operation that has no
route or no registered PSP: that is an answer about the operation, and not about the moment.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Final

import structlog
from redis.asyncio import Redis

from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from shared.psp import BadManifest, Manifest, read_manifest
from shared.streams.breaker import BreakerState, read_breaker
from shared.streams.client import server
from shared.streams.control import Control
from shared.streams.events import wait_up_to

LOOK_INTERVAL_S: Final = 0.5

_SELECT_VERSIONS: Final = "SELECT name, version FROM pm.register_version WHERE name = ANY ($1) ORDER BY name"
_REGISTERS: Final = ("payment_route", "psp", "psp_control")
_SELECT_ROUTES: Final = (
    "SELECT operation_type, currency, amount_min, amount_max, channel"
    " FROM pm.payment_route WHERE active ORDER BY priority, id"
)
_SELECT_PSPS: Final = "SELECT psp, manifest FROM pm.psp ORDER BY psp"
_SELECT_PAUSES: Final = "SELECT psp, operation FROM pm.psp_control"

_log = structlog.get_logger(__name__)


@cache
def _count_unsent() -> str:
    return files("gateway").joinpath("sql/count_unsent.sql").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class ChannelRoute:
    """One active row of `pm.payment_route`; `currency` None is every currency, amounts are minor units, inclusive."""

    operation_type: str
    currency: str | None
    amount_min: int
    amount_max: int
    channel: str

    def takes(self, operation_type: str, currency: str, amount_minor: int) -> bool:
        """Say whether the route carries such an operation."""
        return (
            self.operation_type == operation_type
            and self.currency in (None, currency)
            and self.amount_min <= amount_minor <= self.amount_max
        )


@dataclass(frozen=True, slots=True)
class Registers:
    """What people have decided: routes in the order they are tried, manifests by channel, pauses by PSP."""

    routes: tuple[ChannelRoute, ...] = ()
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    controls: Mapping[str, Control] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Condition:
    """How a PSP is: whether its breaker is open, and whether its outbox is over bound."""

    breaker_open: bool = False
    outbox_full: bool = False


WELL: Final = Condition()


def refusal(
    registers: Registers, conditions: Mapping[str, Condition], operation_type: str, currency: str, amount_minor: int
) -> str | None:
    """Say why no channel takes an operation now; None where one does, or where no channel offers it at all."""
    reasons: dict[str, str] = {}
    for route in registers.routes:
        manifest = registers.manifests.get(route.channel)
        if manifest is None or not route.takes(operation_type, currency, amount_minor):
            continue
        rules = manifest.operations.get(operation_type)
        if rules is None or rules.currency != currency or not rules.min_minor <= amount_minor <= rules.max_minor:
            continue
        reason = _reason(
            registers.controls.get(manifest.psp, Control()), conditions.get(manifest.psp, WELL), operation_type
        )
        if reason is None:
            return None
        reasons[route.channel] = reason
    return "; ".join(f"{channel} {reason}" for channel, reason in reasons.items()) or None


def _reason(control: Control, condition: Condition, operation_type: str) -> str | None:
    if not control.takes(operation_type):
        return "is paused"
    if condition.breaker_open:
        return "is out of order"
    if condition.outbox_full:
        return "has as much work as it admits"
    return None


class Channels:
    """What the gateway knows about the ways out of the house.

    Args:
        outbox_max: how many unsent jobs a PSP may have before more are refused.
    """

    def __init__(self, *, pool: Pool, redis: Redis, outbox_max: int) -> None:
        self._pool = pool
        self._redis = redis
        self._outbox_max = outbox_max
        self._versions: dict[str, int] = {}
        self._registers = Registers()
        self._unsent: dict[str, int] = {}
        self._conditions: dict[str, Condition] = {}

    def refusal(self, operation_type: str, currency: str, amount_minor: int) -> str | None:
        """Say why no channel takes an operation now; None where one does, or where no channel offers it at all."""
        return refusal(self._registers, self._conditions, operation_type, currency, amount_minor)

    async def look(self) -> None:
        """Look once at both stores; what cannot be asked stays as it was known last.

        The breakers are asked last, since theirs is the news that ages fastest.
        """
        try:
            await self._look_at_registers()
        except (Transient, OutcomeUnknown) as error:
            _log.warning("channels_not_refreshed", reason=error.code)
        try:
            with server():
                opened = await self._open_breakers()
        except (Transient, OutcomeUnknown) as error:
            _log.warning("breakers_not_read", reason=error.code)
            opened = {psp for psp, condition in self._conditions.items() if condition.breaker_open}
        conditions = {psp: Condition(psp in opened, unsent > self._outbox_max) for psp, unsent in self._unsent.items()}
        for psp, condition in conditions.items():
            if condition != self._conditions.get(psp, WELL):
                _log.warning(
                    "channel_changed",
                    psp=psp,
                    breaker_open=condition.breaker_open,
                    outbox_full=condition.outbox_full,
                )
        self._conditions = conditions

    async def run(self, stop: asyncio.Event) -> None:
        """Look twice a second until `stop`."""
        while not stop.is_set():
            await self.look()
            await wait_up_to(stop, LOOK_INTERVAL_S)

    async def _look_at_registers(self) -> None:
        with database():
            versions = {row["name"]: row["version"] for row in await self._pool.fetch(_SELECT_VERSIONS, _REGISTERS)}
            if versions != self._versions:
                self._registers = await self._load()
                self._versions = versions
                _log.info("channels_loaded", routes=len(self._registers.routes), psps=len(self._registers.manifests))
            rows = await self._pool.fetch(_count_unsent(), self._outbox_max + 1) if self._registers.manifests else []
        self._unsent = {row["psp"]: row["unsent"] for row in rows}

    async def _load(self) -> Registers:
        routes = tuple(ChannelRoute(**dict(row)) for row in await self._pool.fetch(_SELECT_ROUTES))
        manifests = [_readable(row["psp"], row["manifest"]) for row in await self._pool.fetch(_SELECT_PSPS)]
        pauses: dict[str, set[str]] = {}
        for row in await self._pool.fetch(_SELECT_PAUSES):
            pauses.setdefault(row["psp"], set()).add(row["operation"])
        return Registers(
            routes=routes,
            manifests={manifest.channel: manifest for manifest in manifests if manifest is not None},
            controls={psp: Control(frozenset(operations)) for psp, operations in pauses.items()},
        )

    async def _open_breakers(self) -> set[str]:
        opened = set()
        for manifest in self._registers.manifests.values():
            breaker = await read_breaker(self._redis, manifest.psp)
            if breaker.state is BreakerState.OPEN:  # half open lets one call through, which somebody has to ask for
                opened.add(manifest.psp)
        return opened


def _readable(psp: str, manifest: str) -> Manifest | None:
    """Read a manifest; one that cannot be read leaves its channel to the orchestrator."""
    try:
        return read_manifest(manifest)
    except BadManifest as error:
        _log.error("manifest_unusable", psp=psp, detail=str(error))
        return None
