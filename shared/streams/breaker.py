"""The circuit breaker of a PSP, shared by everybody through the server: closed, open, half open.

It opens when a fifth of the last minute's calls failed (once there were enough to tell), or ten in a row. After a
random 15 to 30 seconds it is half open: one call at a time finds out whether the PSP is back, which closes it, or
opens it for as long again. Gateways and orchestrators look at it in order to refuse early; they must treat half open
as closed, since without new work nobody would ever find out. This module must never make a call to a PSP.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from redis.asyncio import Redis

from shared.streams import keys
from shared.streams.client import command
from shared.streams.script import Script

OUTCOMES_MAX: Final = 4096
"""How many outcomes one call reports."""
_LIFE_MS: Final = 3_600_000
_SLICE_MS: Final = 10_000
_SLICES: Final = 6
_RECORD: Final = Script("breaker_record", "pending", "breaker")
_PROBE: Final = Script("breaker_probe", "pending", "breaker")


class BreakerState(StrEnum):
    """How a breaker stands."""

    CLOSED = "CLOSED"
    """Calls flow."""
    OPEN = "OPEN"
    """No calls: the PSP is down."""
    HALF_OPEN = "HALF_OPEN"
    """One call at a time, to find out."""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When it opens, and for how long.

    Attributes:
        volume_min: calls of the last minute below which their rate says nothing.
        error_percent: of them, at which it opens.
        row_max: errors in a row at which it opens.
        open_ms_min: shortest time it stays open.
        open_ms_max: longest.
        probe_ms: how long a probe may take before somebody else may make one.
    """

    volume_min: int = 20
    error_percent: int = 20
    row_max: int = 10
    open_ms_min: int = 15_000
    open_ms_max: int = 30_000
    probe_ms: int = 10_000

    def open_ms(self, jitter: float) -> int:
        """Return for how long it opens, `jitter` being a random number in [0, 1)."""
        return self.open_ms_min + int((self.open_ms_max - self.open_ms_min) * jitter)


@dataclass(frozen=True, slots=True)
class Breaker:
    """How a breaker stands, and in how many ms it may be probed."""

    state: BreakerState
    left_ms: int = 0


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of the last minute, as far as the breaker remembers: opening and closing forget them."""

    answered: int
    failed: int


async def record(client: Redis, psp: str, outcomes: str, *, rules: BreakerRules, jitter: float) -> Breaker:
    """Report calls in order, ``1`` for an answer and ``0`` for an error or time-out; return how it stands then.

    An empty report is a look. Errors of the client pass through: nothing about money depends on this.
    """
    args = (
        outcomes[-OUTCOMES_MAX:],
        rules.open_ms(jitter),
        rules.volume_min,
        rules.error_percent,
        rules.row_max,
        _LIFE_MS,
    )
    state, left_ms = await _RECORD.run(client, [keys.breaker(psp)], args)
    return Breaker(BreakerState(state.decode()), int(left_ms))


async def read_breaker(client: Redis, psp: str) -> Breaker:
    """Return how the breaker stands."""
    return await record(client, psp, "", rules=BreakerRules(), jitter=0.0)


async def may_probe(client: Redis, psp: str, *, rules: BreakerRules) -> bool:
    """Say whether a call may be made now; while half open, to one asker per `probe_ms`."""
    return bool(await _PROBE.run(client, [keys.breaker(psp)], [rules.probe_ms, _LIFE_MS]))


def calls_of(stored: Mapping[bytes, bytes], now_ms: int) -> Calls:
    """Add up the slices of the last minute in the hash as it is stored."""
    since = now_ms // _SLICE_MS - _SLICES
    answered = failed = 0
    for name, value in stored.items():
        if name[:1] == b"b" and name[1:].isdigit() and int(name[1:]) > since:
            slice_answered, slice_failed = value.split()
            answered += int(slice_answered)
            failed += int(slice_failed)
    return Calls(answered, failed)


async def read_calls(client: Redis, psp: str, *, now_ms: int) -> Calls:
    """Return the calls of the last minute; `now_ms` is the server's clock."""
    return calls_of(await command(client, "HGETALL", keys.breaker(psp)), now_ms)
