"""How often a key may ask: counted in Redis for all gateways together, refused here for as long as that is known.

Requests of one key gather while a call is under way, and the next call asks for them all. Once a window is full nobody
asks again before there is room, so that a storm costs Redis nothing and other keys little. While Redis does not
answer, requests pass uncounted: what changes anything needs Redis itself and fails by itself, and a read must not fail
because nobody can count it.

This module must never count a request before it is known to be the key's, nor keep one waiting for longer than
`ANSWER_S` because it cannot be counted.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Final

import structlog
from redis.asyncio import Redis

from gateway.coalescer import Coalescer
from gateway.keys import ServiceKey
from gateway.metrics import GatewayMetrics
from gateway.problems import Problem
from shared.errors import OutcomeUnknown, Transient
from shared.streams.client import server
from shared.streams.rate import RateLimit, Verdict, take

ANSWER_S: Final = 1.0
"""How long Redis may take to answer before requests pass uncounted."""
AWAY_S: Final = 1.0
"""And for how long it is not asked again then."""
USERS_BLOCKED_MAX: Final = 10_000
"""How many users of a key are remembered to be refused; for any more of them Redis is asked."""
RATE_LIMIT: Final = "RateLimit"
RATE_LIMIT_POLICY: Final = "RateLimit-Policy"
KEY_POLICY: Final = "key"
USER_POLICY: Final = "user"

_log = structlog.get_logger(__name__)

Ask = Coalescer[str | None, Verdict | None]


@dataclass(slots=True)
class _Lane:
    """What is known of a key under one limit; `until` are monotonic times before which nothing passes."""

    limit: RateLimit
    policy: str
    policy_with_user: str
    ask: Ask
    until: float = float("-inf")
    user_until: dict[str, float] = field(default_factory=dict)

    def waits_s(self, user_id: str | None, now: float) -> dict[str, float]:
        """Return the policies that refuse a request without anybody being asked, and for how long each does."""
        waits = {}
        if now < self.until:
            waits[KEY_POLICY] = self.until - now
        if user_id is not None and (until := self.user_until.get(user_id)) is not None:
            if now < until:
                waits[USER_POLICY] = until - now
            else:
                del self.user_until[user_id]
        return waits

    def note(self, user_id: str | None, verdict: Verdict, now: float) -> None:
        """Remember until when a full window refuses."""
        if verdict.key.left == 0:
            self.until = now + verdict.key.wait_ms / 1000
        if user_id is not None and verdict.user is not None and verdict.user.left == 0:
            if len(self.user_until) >= USERS_BLOCKED_MAX:
                self.user_until = {user: until for user, until in self.user_until.items() if now < until}
            if len(self.user_until) < USERS_BLOCKED_MAX:
                self.user_until[user_id] = now + verdict.user.wait_ms / 1000


class Rates:
    """Lets requests through as far as their keys' rates allow.

    Args:
        default: the rate of a key that has none of its own.
    """

    def __init__(
        self,
        *,
        client: Redis,
        default: RateLimit,
        metrics: GatewayMetrics,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._default = default
        self._metrics = metrics
        self._monotonic_s = monotonic_s
        self._lanes: dict[str, _Lane] = {}
        self._away_until = float("-inf")

    async def admit(self, key: ServiceKey, user_id: str | None) -> Mapping[str, str]:
        """Count a request of a key, on behalf of a user or of nobody; return the headers that say what is left.

        Raises:
            Problem: ``rate_limited``; nothing was counted.
        """
        lane = self._lane(key)
        user = user_id if lane.limit.per_user_requests is not None else None
        if waits := lane.waits_s(user, self._monotonic_s()):
            raise self._refusal(key, lane, user, waits)
        try:
            verdict = await lane.ask.submit(user)
        except (Transient, OutcomeUnknown):  # more of them wait for Redis than may
            verdict = None
        policy = lane.policy if user is None else lane.policy_with_user
        if verdict is None:
            self._metrics.rate_unchecked.inc()
            return {RATE_LIMIT_POLICY: policy}
        lane.note(user, verdict, self._monotonic_s())
        left = {KEY_POLICY: verdict.key} | ({} if verdict.user is None else {USER_POLICY: verdict.user})
        if not verdict.passes:
            full = {name: window.wait_ms / 1000 for name, window in left.items() if window.left == 0}
            raise self._refusal(key, lane, user, full)
        standing = ", ".join(
            f'"{name}";r={window.left};t={_whole_s(window.wait_ms / 1000)}' for name, window in left.items()
        )
        return {RATE_LIMIT: standing, RATE_LIMIT_POLICY: policy}

    def _lane(self, key: ServiceKey) -> _Lane:
        """Return the key's lane; a limit that has changed begins a new one, which knows of no refusals."""
        limit = key.permissions.rate or self._default
        lane = self._lanes.get(key.id)
        if lane is None or lane.limit != limit:
            own = f'"{KEY_POLICY}";q={limit.requests};w={limit.per_s}'
            both = f'{own}, "{USER_POLICY}";q={limit.per_user_requests};w={limit.per_s}'
            lane = self._lanes[key.id] = _Lane(limit, own, both, Coalescer(partial(self._carry, key.id, limit)))
        return lane

    def _refusal(self, key: ServiceKey, lane: _Lane, user: str | None, waits_s: Mapping[str, float]) -> Problem:
        for policy in waits_s:
            self._metrics.rate_refused.labels(key.id, policy).inc()
        seconds = _whole_s(max(waits_s.values()))
        allowed = lane.limit.requests if KEY_POLICY in waits_s else lane.limit.per_user_requests
        who = "the key" if KEY_POLICY in waits_s else "this user of the key"
        return Problem(
            "rate_limited",
            f"{who} may send {allowed} requests in {lane.limit.per_s} s; there is room again in {seconds} s",
            headers={
                RATE_LIMIT: ", ".join(f'"{policy}";r=0;t={_whole_s(wait_s)}' for policy, wait_s in waits_s.items()),
                RATE_LIMIT_POLICY: lane.policy if user is None else lane.policy_with_user,
                "Retry-After": str(seconds),
            },
            violated_policies=tuple(waits_s),
        )

    async def _carry(self, key_id: str, limit: RateLimit, users: Sequence[str | None]) -> Sequence[Verdict | None]:
        """Ask Redis for a batch of one key; None for each while it does not answer."""
        if self._monotonic_s() < self._away_until:
            return [None] * len(users)
        self._metrics.rate_batch.observe(len(users))
        try:
            with server():
                async with asyncio.timeout(ANSWER_S):
                    return await take(self._client, service_key=key_id, limit=limit, users=users)
        except (Transient, OutcomeUnknown) as error:
            self._away_until = self._monotonic_s() + AWAY_S
            _log.warning("rates_not_counted", reason=error.code)
            return [None] * len(users)


def _whole_s(seconds: float) -> int:
    """Round up, and to a second at least: whoever waits for less is refused again."""
    return max(1, ceil(seconds))
