"""Rates: how many requests a service key, and each of its users, may send in any stretch of so many seconds.

One script counts for every gateway at once, by the server's own clock, in windows of constant size (see
`lua/rate_window.lua` for what they promise). The counts are a courtesy and no record: they are neither replicated nor
persisted. This module must never let a refused request use anything up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from shared.errors import require
from shared.streams import keys
from shared.streams.client import server
from shared.streams.script import Argument, Script

ASKED_MAX: Final = 256
"""How many requests one call decides."""
REQUESTS_MAX: Final = 10_000_000
PER_S_MAX: Final = 3600

_SCRIPT: Final = Script("rate", "rate_window")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `requests` in any `per_s` seconds; for each user `per_user_requests` of them, or (None) any number."""

    requests: int
    per_s: int
    per_user_requests: int | None = None

    def __post_init__(self) -> None:
        require(1 <= self.requests <= REQUESTS_MAX, "a rate without a bound")
        require(1 <= self.per_s <= PER_S_MAX, "a rate over no time, or over too long a time")
        require(self.per_user_requests is None or 1 <= self.per_user_requests <= self.requests, "a user's rate")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of one window, and in how many ms (1 at least) it will be more."""

    left: int
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one request is let through, and what is left after it; `user` is None where no user was counted."""

    passes: bool
    key: Allowance
    user: Allowance | None


async def take(client: Redis, *, service_key: str, limit: RateLimit, users: Sequence[str | None]) -> list[Verdict]:
    """Ask for up to 256 requests of one key at once, one user or none for each; one verdict each, in order.

    Raises:
        OutcomeUnknown: the reply was lost; some may have been counted.
        Transient: the server takes no writes for now; nothing was counted.
    """
    require(0 < len(users) <= ASKED_MAX, f"a rate decides 1 to {ASKED_MAX} requests, not {len(users)}")
    names = [keys.rate(service_key, limit.per_s)]
    places: dict[str, int] = {}
    if limit.per_user_requests is not None:
        for user in users:
            if user is not None and user not in places:
                names.append(keys.rate(service_key, limit.per_s, user))
                places[user] = len(names)
    owners = [0 if user is None else places.get(user, 0) for user in users]
    args: list[Argument] = [limit.per_s, limit.requests, limit.per_user_requests or 0, *owners]
    with server():
        waits, found = await _SCRIPT.run(client, names, args)
    return [
        Verdict(
            bool(passes),
            Allowance(left, max(1, waits[0])),
            None if owner == 0 else Allowance(own_left, max(1, waits[owner - 1])),
        )
        for owner, passes, left, own_left in zip(owners, found[::3], found[1::3], found[2::3], strict=True)
    ]
