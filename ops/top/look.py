"""One look at the whole mesh: both halves at once, joined into a `View`.

A watcher remembers the look before, which turns counters into rates, and what is installed, which changes rarely.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

from ops.top import installed, intent_look, psp_look, stream_look
from ops.top.installed import Installed
from ops.top.intent_look import Undecided
from ops.top.psp_look import DatabasePsp, RedisPsp
from ops.top.reach import POSTGRES, REDIS, Reach
from ops.top.rows import View
from ops.top.stream_look import StreamLook
from shared.clock import wall_ms
from shared.psp_health import Answers

T = TypeVar("T")

ONCE_PAUSE_S: Final = 0.4
"""Between the two looks that a single view is made of: a rate takes two."""
_LOOKS_A_REGISTER: Final = 10


@dataclass(frozen=True, slots=True)
class _DatabaseHalf:
    psps: Mapping[str, DatabasePsp] | None
    undecided: Undecided | None
    latest: Mapping[str, Answers] | None
    steps: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class _RedisHalf:
    streams: list[StreamLook] | None
    psps: Mapping[str, RedisPsp] | None


@dataclass(slots=True)
class Watcher:
    """Looks at a mesh again and again."""

    reach: Reach
    _installed: Installed | None = None
    _looks: int = 0
    _database_away: bool = False
    _before: dict[str, StreamLook] = field(default_factory=dict)

    async def once(self) -> View:
        """Return one view with rates in it."""
        here = await self._find()
        first = await self._streams(here)
        if first is None:
            # It has been waited for once.
            return await self._view(here, _RedisHalf(None, None))
        self._before = _by_stream(first)
        await asyncio.sleep(ONCE_PAUSE_S)
        return await self._view(here)

    async def look(self) -> View:
        """Look at everything."""
        return await self._view(await self._find())

    async def _view(self, here: Installed, seen: _RedisHalf | None = None) -> View:
        behind_s = max((look.row.behind_s for look in self._before.values()), default=0.0)
        if seen is None:
            redis, database = await asyncio.gather(self._redis(here), self._database(here, behind_s))
        else:
            redis, database = seen, await self._database(here, behind_s)
        streams = redis.streams or []
        rows = tuple(stream_look.rates(streams, self._before))
        self._before = _by_stream(streams)
        undecided = database.undecided
        psps = psp_look.joined(
            here.psps,
            redis=redis.psps,
            database=database.psps,
            latest=database.latest,
            undecided=undecided.counts if undecided is not None else None,
        )
        depths = [row.unsent for row in psps if row.unsent is not None]
        return View(
            at=datetime.now(UTC),
            mesh=here.mesh,
            unreached=self.reach.unreached(),
            streams=rows,
            consumers=tuple(consumer for look in streams for consumer in look.consumers),
            dead_letters=tuple(dead for look in streams for dead in look.dead),
            psps=tuple(psps),
            steps_per_s=database.steps,
            window_s=intent_look.WINDOW_S,
            undecided=undecided.by_state if undecided is not None else None,
            at_least=(undecided is not None and undecided.at_least) or max(depths, default=0) >= psp_look.COUNT_MAX,
        )

    async def _find(self) -> Installed:
        """Return what is installed: from the database every few looks, without it what is remembered, or Redis'."""
        self._looks += 1
        self._database_away = False
        if self._installed is None or self._looks % _LOOKS_A_REGISTER == 1:
            found = await _registered(self.reach)
            self._database_away = found is None
            if found is not None and found.mesh is not None:
                self._installed = found
        if self._installed is not None:
            return self._installed
        # Not remembered: the database knows more, as soon as it answers.
        return await _marked(self.reach) or Installed(None, ())

    async def _redis(self, here: Installed) -> _RedisHalf:
        ask, redis = self.reach.ask, self.reach.redis
        streams, psps = await asyncio.gather(
            self._streams(here),
            ask(REDIS, "breakers", psp_look.redis_psps(redis, here.psps)),
        )
        return _RedisHalf(streams, psps)

    async def _streams(self, here: Installed) -> list[StreamLook] | None:
        return await self.reach.ask(REDIS, "streams", stream_look.look_at_streams(self.reach.redis, here.groups))

    async def _database(self, here: Installed, behind_s: float) -> _DatabaseHalf:
        if self._database_away:
            return _DatabaseHalf(None, None, None, None)
        ask, pool, now_ms = self.reach.ask, self.reach.pool, wall_ms()
        psps, undecided, latest, steps = await asyncio.gather(
            ask(POSTGRES, "outbox and pauses", psp_look.database_psps(pool)),
            ask(POSTGRES, "undecided intents", intent_look.undecided(pool)),
            ask(POSTGRES, "answers", psp_look.answers(pool, here.psps, now_ms=now_ms)),
            ask(POSTGRES, "states", intent_look.steps_per_s(pool, here.psps, now_ms=now_ms, behind_s=behind_s)),
        )
        return _DatabaseHalf(psps, undecided, latest, steps)


def _by_stream(looks: Sequence[StreamLook]) -> dict[str, StreamLook]:
    return {look.row.stream: look for look in looks}


async def find_installed(reach: Reach) -> Installed | None:
    """Return what is installed, from whichever store answers; None where neither does."""
    found = await _registered(reach)
    return found if found is not None and found.mesh is not None else await _marked(reach)


async def _registered(reach: Reach) -> Installed | None:
    return await reach.ask(POSTGRES, "registers, and was asked nothing else", installed.from_database(reach.pool))


async def _marked(reach: Reach) -> Installed | None:
    return await reach.ask(REDIS, "marks", installed.from_redis(reach.redis))
