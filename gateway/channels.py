"""Which channels take work: the kill switch, the breaker and the outbox of every registered PSP, half a second old.

An operation is refused before its key is bound only when no channel that a route gives it to could carry it now. What
is known here spares a client a wait; it decides nothing, since the orchestrator looks again before funds are held.
While a store is away what was known last stays in force. This module must never refuse an operation that has no
route or no registered PSP: that is an answer about the operation, and not about the moment.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Final
from uuid import UUID

import structlog
from redis.asyncio import Redis

from shared.db.failures import database
from shared.db.notices import Notices
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from shared.psp import BadManifest, Manifest, read_manifest
from shared.psp_health import HealthWatch
from shared.rules.choice import NoChannel, choose
from shared.rules.load import RuleRegister
from shared.rules.model import Subject
from shared.rules.routes import ChannelHealth, Route
from shared.streams.breaker import BreakerState, read_breaker
from shared.streams.client import server
from shared.streams.control import Control
from shared.streams.events import wait_for_any_up_to

LOOK_INTERVAL_S: Final = 0.5

_SELECT_VERSIONS: Final = "SELECT name, version FROM pm.register_version WHERE name = ANY ($1) ORDER BY name"
_REGISTERS: Final = ("psp", "psp_control")
NOBODY: Final = UUID(int=0)
"""In the place of an intent that is not there yet: routes of one priority are equals then."""
_SELECT_PSPS: Final = "SELECT psp, manifest FROM pm.psp ORDER BY psp"
_SELECT_PAUSES: Final = "SELECT psp, operation FROM pm.psp_control"

_log = structlog.get_logger(__name__)


@cache
def _count_unsent() -> str:
    return files("gateway").joinpath("sql/count_unsent.sql").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Registers:
    """What people have decided: manifests by channel, pauses by PSP."""

    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    controls: Mapping[str, Control] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Condition:
    """How a PSP is: whether its breaker is open, and whether its outbox is over bound."""

    breaker_open: bool = False
    outbox_full: bool = False


WELL: Final = Condition()

_WORDS: Final = {
    "paused": "is paused",
    "breaker_open": "is out of order",
    "outbox_full": "has as much work as it admits",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The ways out of the house as they were last seen: what a channel is chosen by."""

    registers: Registers = Registers()
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    health_of: Callable[[str], ChannelHealth] = lambda _: ChannelHealth()

    def manifest_of_channel(self, channel: str) -> Manifest | None:
        """Return what the PSP behind a channel promises."""
        return self.registers.manifests.get(channel)

    def refusal(self, psp: str, operation: str) -> str | None:
        """Say in a word why a PSP takes nothing on."""
        if not self.registers.controls.get(psp, Control()).takes(operation):
            return "paused"
        condition = self.conditions.get(psp, WELL)
        if condition.breaker_open:
            return "breaker_open"
        return "outbox_full" if condition.outbox_full else None

    def health(self, psp: str) -> ChannelHealth:
        """Return how a PSP has done lately."""
        return self.health_of(psp)


def refusal(routes: Sequence[Route], subject: Subject, seen: Seen) -> str | None:
    """Say why no channel takes an operation now; None where one does, or where no channel offers it at all."""
    choice = choose(routes, subject, NOBODY, seen)
    if not isinstance(choice, NoChannel) or choice.code != "psp_unavailable":
        return None
    reasons = {one.channel: _WORDS.get(one.reason, one.reason) for one in choice.passed_over}
    named = dict.fromkeys(route.channel for route in routes if route.channel in reasons)
    return "; ".join(f"{channel} {reasons[channel]}" for channel in named)


class Channels:
    """What the gateway knows about the ways out of the house.

    Args:
        outbox_max: how many unsent jobs a PSP may have before more are refused.
    """

    def __init__(self, *, pool: Pool, redis: Redis, rules: RuleRegister, notices: Notices, outbox_max: int) -> None:
        self._pool = pool
        self._rules = rules
        self._changed = notices.wake(*_REGISTERS)
        self._health = HealthWatch(pool=pool, redis=redis)
        self._redis = redis
        self._outbox_max = outbox_max
        self._versions: dict[str, int] = {}
        self._registers = Registers()
        self._unsent: dict[str, int] = {}
        self._conditions: dict[str, Condition] = {}

    @property
    def seen(self) -> Seen:
        """The channels as they were last seen."""
        return Seen(self._registers, self._conditions, self._health.of)

    def refusal(self, subject: Subject) -> str | None:
        """Say why no channel takes an operation now; None where one does, or where no channel offers it at all."""
        return refusal(self._rules.book.routes, subject, self.seen)

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
        try:
            await self._health.refresh([manifest.psp for manifest in self._registers.manifests.values()])
        except (Transient, OutcomeUnknown) as error:
            _log.warning("health_not_refreshed", reason=error.code)

    async def run(self, stop: asyncio.Event) -> None:
        """Look twice a second until `stop`."""
        while not stop.is_set():
            self._changed.clear()
            await self.look()
            await wait_for_any_up_to(LOOK_INTERVAL_S, stop, self._changed)

    async def _look_at_registers(self) -> None:
        with database():
            versions = {row["name"]: row["version"] for row in await self._pool.fetch(_SELECT_VERSIONS, _REGISTERS)}
            if versions != self._versions:
                self._registers = await self._load()
                self._versions = versions
                _log.info("channels_loaded", psps=len(self._registers.manifests))
            rows = await self._pool.fetch(_count_unsent(), self._outbox_max + 1) if self._registers.manifests else []
        self._unsent = {row["psp"]: row["unsent"] for row in rows}

    async def _load(self) -> Registers:
        manifests = [_readable(row["psp"], row["manifest"]) for row in await self._pool.fetch(_SELECT_PSPS)]
        pauses: dict[str, set[str]] = {}
        for row in await self._pool.fetch(_SELECT_PAUSES):
            pauses.setdefault(row["psp"], set()).add(row["operation"])
        return Registers(
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
