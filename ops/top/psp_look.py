"""What both stores know about each PSP, joined: neither half needs the other.

PostgreSQL decides what is paused and knows what waits and how long answers take; Redis holds the breaker, the calls
of the last minute and the copy of the pauses that adapters obey.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from ops.statements import statement
from ops.top.rows import PspRow
from shared.db.pool import Pool
from shared.psp_health import Answers, read_answers
from shared.streams.breaker import Breaker, Calls, read_breaker, read_calls
from shared.streams.client import command
from shared.streams.control import read_pauses

COUNT_MAX: Final = 100_000
"""Where counting jobs and undecided intents ends."""
_WORDS_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class RedisPsp:
    """What Redis knows about a PSP."""

    breaker: Breaker
    calls: Calls
    pauses: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class DatabasePsp:
    """What PostgreSQL knows about a PSP."""

    channel: str
    pauses: Sequence[Mapping[str, Any]]
    unsent: int
    unsent_oldest_s: float | None


async def redis_psps(redis: Redis, psps: Sequence[str]) -> dict[str, RedisPsp]:
    """Read breakers, calls and pauses."""
    seconds, micros = await command(redis, "TIME")
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    return {
        psp: RedisPsp(
            await read_breaker(redis, psp),
            await read_calls(redis, psp, now_ms=now_ms),
            await read_pauses(redis, psp),
        )
        for psp in psps
    }


async def database_psps(pool: Pool) -> dict[str, DatabasePsp]:
    """Read the register, the pauses and the outbox."""
    return {
        row["psp"]: DatabasePsp(row["channel"], json.loads(row["paused"]), row["unsent"], row["unsent_oldest_s"])
        for row in await pool.fetch(statement("top/psps"), COUNT_MAX)
    }


async def answers(pool: Pool, psps: Sequence[str], *, now_ms: int) -> dict[str, Answers]:
    """Read how long the latest submissions took."""
    return await read_answers(pool, psps, now_ms=now_ms, words_max=_WORDS_MAX)


def joined(
    psps: Sequence[str],
    *,
    redis: Mapping[str, RedisPsp] | None,
    database: Mapping[str, DatabasePsp] | None,
    latest: Mapping[str, Answers] | None,
    undecided: Mapping[str, Mapping[str, int]] | None,
) -> list[PspRow]:
    """Make one row of each PSP; `undecided` is by channel and state. None: that half did not answer."""
    rows = []
    for psp in psps:
        here, there = (redis or {}).get(psp), (database or {}).get(psp)
        said = (latest or {}).get(psp)
        by_state = None if undecided is None or there is None else dict(undecided.get(there.channel, {}))
        rows.append(
            PspRow(
                psp=psp,
                channel=there.channel if there else None,
                paused=_paused(here, there),
                untold=_untold(here, there),
                breaker=str(here.breaker.state) if here else None,
                breaker_left_s=here.breaker.left_ms / 1000 if here else 0.0,
                calls=here.calls.answered + here.calls.failed if here else None,
                errors=here.calls.failed if here else None,
                heard=said.heard if said else None,
                answers=said.answers if said else None,
                p95_s=said.p95_s if said else None,
                unsent=there.unsent if there else None,
                unsent_oldest_s=there.unsent_oldest_s if there else None,
                undecided=by_state,
            )
        )
    return rows


def _paused(here: RedisPsp | None, there: DatabasePsp | None) -> dict[str, str] | None:
    if there is not None:
        return {each["operation"]: f"{each['reason']} ({each['by']})" for each in there.pauses}
    if here is not None:
        return {name: f"by {who.decode(errors='replace').partition(' ')[0]}" for name, who in here.pauses.items()}
    return None


def _untold(here: RedisPsp | None, there: DatabasePsp | None) -> tuple[str, ...]:
    if here is None or there is None:
        return ()
    return tuple(sorted({each["operation"] for each in there.pauses} ^ set(here.pauses)))
