"""Waiting for a decision, so that a client gets its answer in the request that asked for it.

One subscription per process, to `gateway.<instance>`, brings hints: ``<intent id> <state>`` or, of an account that
was asked for, ``<name> OPEN``. What a provider decides comes later, from somebody who does not know who waits: it is
followed on `intent.<id>` for as long as somebody does. A hint is never the answer and may never come: the answer is
read from PostgreSQL, on the hint or at a quarter, a half and the whole of the time the client allows. This module
must never keep a client waiting longer than it asked for.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from shared.errors import OutcomeUnknown, Transient
from shared.streams.client import unreachable
from shared.streams.keys import gateway_channel, intent_channel

WAITING_MAX: Final = 10_000
POLL_SHARES: Final = (0.25, 0.5, 1.0)
LAST_LOOK_S: Final = 1.0
"""How long the look at the end of the time may take; a database that does not answer must not prolong the wait."""
_SILENCE_S: Final = 5.0
"""A subscription that has been silent for this long is asked for a sign of life."""
_RECONNECT_S: Final = (0.05, 0.5)
_INTENT_CHANNEL: Final = intent_channel("").encode()

FoundT = TypeVar("FoundT")

_log = structlog.get_logger(__name__)


class Hints:
    """The subscription of this process, and who waits for which subject: an intent's id or an account's name."""

    def __init__(self, *, client: Redis, instance: str) -> None:
        self.instance = instance
        self.subscribed = asyncio.Event()
        self._client = client
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._followed: Counter[str] = Counter()
        self._follows_change = asyncio.Event()
        self._count = 0
        self._closed = False

    @property
    def open(self) -> bool:
        """Whether there is room for another one to wait."""
        return not self._closed and self._count < WAITING_MAX

    @property
    def closed(self) -> bool:
        """Whether the process is stopping, so that everybody is answered with what is known."""
        return self._closed

    @contextmanager
    def expect(self, subject: str, *, follow: bool = False) -> Iterator[asyncio.Event]:
        """Give an event that every hint about the subject sets, from now to the end of the block.

        Args:
            subject: an intent's id, or an account's name.
            follow: listen on the intent's own channel too, where whoever decides it cannot know who waits.
        """
        event = asyncio.Event()
        self._count += 1
        if follow:
            self._followed[subject] += 1
            self._follows_change.set()
        events = self._waiting.setdefault(subject, set())
        events.add(event)
        try:
            yield event
        finally:
            self._count -= 1
            events.discard(event)
            if not events:
                self._waiting.pop(subject, None)
            if follow:
                self._followed[subject] -= 1
                if not self._followed[subject]:
                    del self._followed[subject]
                self._follows_change.set()

    def hint(self, message: bytes) -> None:
        """Take one message of the channel."""
        subject = message.partition(b" ")[0].decode("ascii", "replace")
        for event in self._waiting.get(subject, ()):
            event.set()

    def close(self) -> None:
        """Wake everybody up: the process is stopping, and what is known now is better than nothing."""
        self._closed = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def run(self) -> None:
        """Listen until cancelled, reconnecting for as long as it takes; meanwhile the polls carry on."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                if not unreachable(error):
                    raise
                self.subscribed.clear()
                _log.warning("hints_interrupted", reason=type(error).__name__)
                await asyncio.sleep(random.uniform(*_RECONNECT_S))  # noqa: S311 - jitter, not a secret

    async def _listen(self) -> None:
        async with self._client.pubsub() as subscription:
            await subscription.subscribe(gateway_channel(self.instance))
            following = asyncio.create_task(self._follow(subscription))
            try:
                await self._hear(subscription)
            finally:
                following.cancel()

    async def _hear(self, subscription: PubSub) -> None:
        own = gateway_channel(self.instance).encode()
        silent = False
        while True:
            message = await subscription.get_message(timeout=_SILENCE_S)
            if message is None:
                if silent:
                    raise RedisConnectionError("the subscription gives no sign of life")
                silent = True
                await subscription.ping()
                continue
            silent = False
            if message["type"] == "message":
                channel: bytes = message["channel"]
                self.hint(message["data"] if channel == own else channel.removeprefix(_INTENT_CHANNEL))
            elif message["type"] == "subscribe":
                self.subscribed.set()

    async def _follow(self, subscription: PubSub) -> None:
        """Keep the subscription at the intents that are followed; many changes make one command."""
        heard: set[str] = set()
        try:
            while True:
                self._follows_change.clear()
                wanted = set(self._followed)
                if new := wanted - heard:
                    await subscription.subscribe(*map(intent_channel, new))
                if old := heard - wanted:
                    await subscription.unsubscribe(*map(intent_channel, old))
                heard = wanted
                await self._follows_change.wait()
        except (RedisError, OSError) as error:
            # Whoever hears finds the connection broken as well, and both begin again.
            _log.warning("intents_not_followed", reason=type(error).__name__)


async def decided(
    hints: Hints,
    event: asyncio.Event,
    *,
    wait_s: float,
    look: Callable[[], Awaitable[FoundT | None]],
    final: Callable[[FoundT], bool],
) -> FoundT | None:
    """Wait until what `look` finds is final, at most `wait_s`; return the latest that was found.

    Args:
        hints: who closes when the process stops.
        event: set by every hint, from `Hints.expect`.
        wait_s: the time the client allows.
        look: reads the primary; None where there is nothing yet.
        final: whether to stop waiting.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    polls = deque(start + share * wait_s for share in POLL_SHARES)
    found: FoundT | None = None
    while polls:
        await _until(event, polls[0])
        event.clear()
        while polls and polls[0] <= loop.time():
            polls.popleft()
        found = await _look_by(start + wait_s + LAST_LOOK_S, look) or found
        if hints.closed or (found is not None and final(found)):
            return found
    return found


async def _look_by(deadline: float, look: Callable[[], Awaitable[FoundT | None]]) -> FoundT | None:
    try:
        async with asyncio.timeout_at(deadline):
            return await tolerant(look)
    except TimeoutError:
        return None


async def tolerant(look: Callable[[], Awaitable[FoundT | None]]) -> FoundT | None:
    """Read something about what has been accepted already: trouble with the read is no answer to that."""
    try:
        return await look()
    except (Transient, OutcomeUnknown) as error:
        _log.warning("accepted_but_unread", reason=error.code)
        return None


async def _until(event: asyncio.Event, deadline: float) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await event.wait()
    except TimeoutError:
        return
