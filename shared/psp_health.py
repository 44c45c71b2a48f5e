"""How PSPs do: how long their answers take, by the database, and how many calls fail, by their breakers.

It decides which of several good channels is taken, and what people see; nothing about money depends on it. This
module must never say anything about a PSP of which too little is known.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from redis.asyncio import Redis

from shared.db.failures import database
from shared.db.pool import Pool
from shared.rules.routes import ChannelHealth
from shared.streams.breaker import read_calls
from shared.streams.client import command, server

WINDOW_S: Final = 300
"""The window of answers."""
VOLUME_MIN: Final = 20
"""Answers, or calls, below which their share says nothing."""
_LOOK_S: Final = 2.0
_WORDS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Answers:
    """The words of a PSP in the window, and how long its submissions took."""

    heard: int
    answers: int
    p95_s: float | None


@cache
def _statement() -> str:
    return files("shared").joinpath("psp_answers.sql").read_text("utf-8")


async def read_answers(pool: Pool, psps: Sequence[str], *, now_ms: int, words_max: int) -> dict[str, Answers]:
    """Return how long the latest submissions took; a PSP that said nothing has none."""
    since = entry_id_of(now_ms - WINDOW_S * 1000)
    rows = await pool.fetch(_statement(), list(psps), since, words_max)
    found = {row["psp"]: Answers(row["heard"], row["answers"], row["p95_s"]) for row in rows}
    return {psp: found.get(psp, Answers(0, 0, None)) for psp in psps}


def entry_id_of(unix_ms: int) -> str:
    """Return what no entry id of that ms sorts before, as text: thirteen digits go first in both."""
    return f"{unix_ms:013d}"


class HealthWatch:
    """The health of PSPs, a few seconds old."""

    def __init__(self, *, pool: Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis
        self._looked_at = float("-inf")
        self._health: dict[str, ChannelHealth] = {}

    def of(self, psp: str) -> ChannelHealth:
        """Return what was last seen of a PSP."""
        return self._health.get(psp, ChannelHealth())

    async def refresh(self, psps: Sequence[str]) -> None:
        """Look again, at most every two seconds.

        Raises:
            Transient, OutcomeUnknown: a store was out of reach; what was seen before stays.
        """
        if not psps or time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        with server():
            seconds, micros = await command(self._redis, "TIME")
            now_ms = int(seconds) * 1000 + int(micros) // 1000
            calls = {psp: await read_calls(self._redis, psp, now_ms=now_ms) for psp in psps}
        with database():
            answers = await read_answers(self._pool, psps, now_ms=now_ms, words_max=_WORDS_MAX)
        self._health = {
            psp: ChannelHealth(
                error_pct=_share(calls[psp].failed, calls[psp].answered + calls[psp].failed),
                p95_ms=_p95_ms(answers[psp]),
            )
            for psp in psps
        }


def _share(part: int, whole: int) -> int | None:
    return None if whole < VOLUME_MIN else part * 100 // whole


def _p95_ms(said: Answers) -> int | None:
    return None if said.p95_s is None or said.answers < VOLUME_MIN else round(said.p95_s * 1000)
