"""The PSPs there are, what they promise, and whether they take anything on just now.

Manifests come from `pm.psp`, pauses from `pm.psp_control`, both within a poll of any change. The pauses are also
copied to Redis wherever the copy differs, so that adapters, which carry no database, obey the kill switch within a
second even after Redis has lost it. A look at the register is a look into memory, never older than the last poll.

This module must never stop for one PSP's sake: what cannot be read of it is logged, and the others go on. It must
never lift a pause that the database knows of.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal
from uuid import UUID

import asyncpg
import structlog
from redis.asyncio import Redis

from orchestrator.outbound_metrics import OutboundMetrics
from orchestrator.records import statement
from shared.db.failures import database
from shared.db.pool import Pool
from shared.errors import OutcomeUnknown, Transient
from shared.ids import IntentId, unix_ms_of
from shared.psp import BadManifest, Manifest, read_manifest
from shared.psp_health import HealthWatch
from shared.rules.routes import ChannelHealth
from shared.streams.breaker import BreakerState, read_breaker
from shared.streams.client import server
from shared.streams.control import WHOLE_PSP, Control, lift, pause, read_pauses
from shared.streams.events import wait_up_to

OUTBOX_MAX: Final = 50_000
"""How many jobs of one PSP may wait in the outbox before nothing more is planned for it."""

_SKEW_MS: Final = 5_000
"""How far an id may be ahead of the clock that says when a recovery was; the door stays closed for longer than that."""
_RECOVERED_AT: Final = "SELECT at FROM pm.audit_log WHERE action = 'mesh.recover' ORDER BY id DESC LIMIT 1"

Refused = Literal["paused", "breaker_open", "outbox_full"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Pause:
    """A pause as the database has it; `who` is one word, for the copy."""

    who: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Past:
    """The epoch before the last recovery, and when that was; `until_ms` is 0 where there was none."""

    epoch: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class _Known:
    """What was last seen of one PSP."""

    manifest: Manifest
    pauses: Mapping[str, _Pause] = field(default_factory=dict)
    unsent: int = 0
    breaker: BreakerState = BreakerState.CLOSED
    seen: bool = False
    """Its conditions have been read at least once; before that it takes nothing on."""

    @property
    def control(self) -> Control:
        return Control(frozenset(self.pauses))


class PspRegister:
    """The PSPs in force and their conditions, none older than `poll_s` while the stores answer."""

    def __init__(
        self,
        *,
        pool: Pool,
        redis: Redis,
        epoch: str,
        poll_s: float = 0.5,
        outbox_max: int = OUTBOX_MAX,
        metrics: OutboundMetrics | None = None,
    ) -> None:
        self.epoch = epoch
        """``<mesh id>:<epoch>``, which every new job carries."""
        self._past = Past(epoch, 0)
        self._pool = pool
        self._redis = redis
        self._poll_s = poll_s
        self._outbox_max = outbox_max
        self._metrics = metrics
        self._past_of = 0
        self._health = HealthWatch(pool=pool, redis=redis)
        self._version = -1
        self._known: dict[str, _Known] = {}
        self._channels: dict[str, str] = {}

    @property
    def psps(self) -> tuple[str, ...]:
        """The PSPs in force, by id."""
        return tuple(sorted(self._known))

    def manifest(self, psp: str) -> Manifest | None:
        """Return what a PSP promises; None where it is not known here."""
        known = self._known.get(psp)
        return None if known is None else known.manifest

    def manifest_of_channel(self, channel: str) -> Manifest | None:
        """Return what the PSP behind a channel promises; None where the channel is no PSP's."""
        psp = self._channels.get(channel)
        return None if psp is None else self.manifest(psp)

    def control(self, psp: str) -> Control:
        """Return what is paused; everything, at a PSP that is not known here."""
        known = self._known.get(psp)
        return Control(frozenset({WHOLE_PSP})) if known is None or not known.seen else known.control

    def refusal(self, psp: str, operation: str) -> Refused | None:
        """Say why nothing new may be planned for an operation of a PSP, if so.

        A half-open breaker refuses nothing: without new work nobody would ever find out that the PSP is back.
        """
        known = self._known.get(psp)
        if known is None or not self.control(psp).takes(operation):
            return "paused"
        if known.breaker is BreakerState.OPEN:
            return "breaker_open"
        return "outbox_full" if known.unsent >= self._outbox_max else None

    def health(self, psp: str) -> ChannelHealth:
        """Return how a PSP has done in the last minutes, as far as enough is known."""
        return self._health.of(psp)

    def may_ask(self, psp: str) -> bool:
        """Say whether a PSP may be asked about what is under way; one paused operation does not forbid that."""
        known = self._known.get(psp)
        return known is not None and not self.control(psp).all_paused and known.breaker is not BreakerState.OPEN

    def epoch_for(self, intent: UUID) -> str:
        """Return what the job of an intent carries: of one that is older than the last recovery, the epoch before.

        Its permit cannot be won any more, so that its PSP is asked and nothing is submitted. Nobody knows what
        became of it before the recovery.
        """
        before = unix_ms_of(IntentId(intent)) < self._past.until_ms + _SKEW_MS
        return self._past.epoch if before else self.epoch

    async def refresh(self) -> None:
        """Read everything that has changed, and mend the copy of the pauses.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; what was known before stays in force.
        """
        with database():
            await self._load_epoch()
            await self._load_manifests()
        # The copy is read before the database: a pause that is in it is in the database by then, or was lifted there.
        with server():
            copies = {psp: await read_pauses(self._redis, psp) for psp in self._known}
            breakers = {psp: (await read_breaker(self._redis, psp)).state for psp in self._known}
        with database():
            rows = await self._pool.fetch(statement("read_psp_conditions"), list(self._known), self._outbox_max)
        for row in rows:
            self._see(row, breakers[row["psp"]])
        with server():
            for psp, copy in copies.items():
                await self._mend(psp, copy)
        await self._health.refresh(self.psps)

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop`; while a store is away what was last seen stays in force."""
        while not stop.is_set():
            try:
                await self.refresh()
            except (Transient, OutcomeUnknown) as error:
                _log.warning("psps_not_refreshed", error=error.code)
            await wait_up_to(stop, self._poll_s)

    async def _load_epoch(self) -> None:
        """Adopt the epoch of a recovery that happened while we ran, or before."""
        row = await self._pool.fetchrow("SELECT id, epoch FROM pm.mesh")
        if row is None or self._past_of == row["epoch"]:
            return
        if row["epoch"] > 1:
            recovered_at = await self._pool.fetchval(_RECOVERED_AT)
            until_ms = int(recovered_at.timestamp() * 1000) if recovered_at is not None else 0
            self._past = Past(f"{row['id']}:{row['epoch'] - 1}", until_ms)
            _log.warning("epoch_adopted", epoch=row["epoch"], was=self.epoch)
        self.epoch, self._past_of = f"{row['id']}:{row['epoch']}", row["epoch"]

    async def _load_manifests(self) -> None:
        version = await self._pool.fetchval("SELECT version FROM pm.register_version WHERE name = 'psp'")
        if version == self._version:
            return
        rows = await self._pool.fetch("SELECT psp, manifest, version FROM pm.psp ORDER BY psp")
        manifests = self._readable(rows)
        self._known = {psp: self._updated(psp, manifest) for psp, manifest in manifests.items()}
        self._channels = {manifest.channel: psp for psp, manifest in manifests.items()}
        self._version = version
        _log.info("psps_loaded", psps=sorted(manifests), version=version)

    def _updated(self, psp: str, manifest: Manifest) -> _Known:
        known = self._known.get(psp)
        if known is None:
            return _Known(manifest)
        return replace(known, manifest=manifest)

    def _readable(self, rows: Sequence[asyncpg.Record]) -> dict[str, Manifest]:
        """Read manifests; in place of one that makes no sense, the one known before, if any."""
        manifests = {}
        for row in rows:
            psp = row["psp"]
            try:
                manifest = _read_as(psp, row["manifest"])
            except BadManifest as error:
                _log.error("psp_manifest_skipped", psp=psp, version=row["version"], error=str(error))
                if psp not in self._known:
                    continue
                manifest = self._known[psp].manifest
            manifests[psp] = manifest
        return manifests

    def _see(self, row: asyncpg.Record, breaker: BreakerState) -> None:
        psp = row["psp"]
        known = self._known[psp]
        pauses = {
            operation: _Pause("_".join(who.split()) or "?", at_ms)
            for operation, who, at_ms in zip(row["operations"], row["paused_by"], row["paused_ms"], strict=True)
        }
        if known.seen and (pauses.keys() != known.pauses.keys() or breaker is not known.breaker):
            _log.warning("psp_conditions", psp=psp, paused=sorted(pauses), breaker=breaker)
        self._known[psp] = replace(known, pauses=pauses, unsent=row["unsent"], breaker=breaker, seen=True)
        if self._metrics is not None:
            self._metrics.waiting(psp, row["unsent"])

    async def _mend(self, psp: str, copy: Mapping[str, bytes]) -> None:
        pauses = self._known[psp].pauses
        for operation in sorted(pauses.keys() - copy.keys()):
            made = pauses[operation]
            await pause(self._redis, psp, operation, who=made.who, at_ms=made.at_ms)
            _log.warning("psp_pause_copied", psp=psp, operation=operation)
        for operation in sorted(copy.keys() - pauses.keys()):
            if await lift(self._redis, psp, operation, seen=copy[operation]):
                _log.warning("psp_pause_lifted", psp=psp, operation=operation)


def _read_as(psp: str, text: str) -> Manifest:
    manifest = read_manifest(text)
    if manifest.psp != psp:
        raise BadManifest(f"{manifest.psp} is registered as {psp}")
    return manifest
